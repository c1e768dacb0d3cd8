"""Components of a batch on the device: each mask as scikit-image labels it."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import device
from tests.ops.test_label_mask import SHAPES, by_skimage


def assert_labelled(label_mask, masks, capacity):
    """Label them as one batch, hold each against scikit-image; returns how many components each has."""
    found = label_mask(masks, capacity)
    assert [a.dtype for a in found] == [np.int32, np.int32, np.int64, np.int32, np.int32]
    expected = [by_skimage(mask) for mask in masks]
    for image, want in enumerate(expected):
        k = min(len(want.areas), capacity)
        assert found.counts[image] == k
        assert found.status[image] == (device.OVERFLOW if len(want.areas) > capacity else 0)
        assert np.array_equal(found.labels[image], want.labels)
        for got, wanted in [(found.boxes, want.boxes), (found.areas, want.areas)]:
            assert np.array_equal(got[image, :k], wanted[:k])
            assert not got[image, k:].any()
    return [len(want.areas) for want in expected]


def test_equals_skimage_image_by_image(device_backend):
    rng = np.random.default_rng(2)
    for cols in (70, 1100):  # more words than a warp has lanes
        masks = rng.random((6, 25, cols)) < np.array([0.1, 0, 0.4, 1, 0.6, 0.02])[:, np.newaxis, np.newaxis]
        assert assert_labelled(device_backend(device.label_mask), masks, 4000)[1:4:2] == [0, 1]


@pytest.mark.parametrize("name", ["spiral", "comb", "nested", "chess board"])
def test_turned_every_way(device_backend, name):
    mask = SHAPES[name][:60, :60]
    side = max(mask.shape)
    mask = np.pad(mask, [(0, side - n) for n in mask.shape])
    turned = [np.rot90(mask, k) for k in range(4)]
    masks = np.stack([*turned, *(m[:, ::-1] for m in turned), ~mask])
    assert_labelled(device_backend(device.label_mask), masks, 2000)


def test_more_components_than_room(device_backend):
    rng = np.random.default_rng(4)
    masks = rng.random((3, 40, 90)) < np.array([0.1, 0.001, 0.2])[:, np.newaxis, np.newaxis]
    found = assert_labelled(device_backend(device.label_mask), masks, 20)
    assert found[0] > 20 > found[1]
    assert_labelled(device_backend(device.label_mask), masks, 0)
    assert_labelled(device_backend(device.label_mask), masks, found[0])  # just as many


def test_more_rows_than_are_summed_at_once(device_backend):
    masks = np.random.default_rng(8).random((2, 1100, 7)) < 0.25
    assert min(assert_labelled(device_backend(device.label_mask), masks, 2000)) > 600


def test_more_components_than_the_waiting_form_expects(device_backend):
    mask = np.zeros((70, 70), dtype=bool)
    mask[::2, ::2] = True
    found = device_backend(ops.label_mask)(mask)
    assert len(found.areas) == 35 * 35
    assert all(np.array_equal(a, b) for a, b in zip(found, by_skimage(mask), strict=True))


@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (1, 1, 1)])
def test_nothing_set(device_backend, shape):
    found = device_backend(device.label_mask)(np.zeros(shape, dtype=bool), 3)
    assert found.labels.shape == shape
    assert not any(part.any() for part in found)
    assert [part.shape for part in found[1:]] == [(shape[0], 3, 4), (shape[0], 3), (shape[0],), (shape[0],)]


def test_true_by_any_byte(device_backend):
    mask = np.array([[[1, 0, 255, 2, 0, 128]]], np.uint8).view(bool)
    found = device_backend(device.label_mask)(mask, 3)
    assert found.labels[0, 0].tolist() == [1, 0, 2, 2, 0, 3]


def test_writes_where_it_is_told(device_backend):
    masks = np.random.default_rng(0).random((2, 9, 40)) < 0.3
    label_mask = device_backend(device.label_mask)
    found = label_mask(masks, 50)
    again = label_mask(masks, 50, out=tuple(np.full_like(part, 9) for part in found))
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize(("masks", "message"), [
    (np.zeros((2, 2), bool), r"masks: got bool of shape \(2, 2\), expected bool of shape \(n, rows, cols\)"),
    (np.zeros((1, 2, 2), np.uint8), r"masks: got uint8 of shape \(1, 2, 2\)"),
])  # fmt: skip
def test_bad_masks(device_backend, masks, message):
    with pytest.raises(ValueError, match=message):
        device_backend(device.label_mask)(masks, 4)
