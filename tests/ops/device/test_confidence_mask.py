"""Eq. 1 for a batch on the device: each image as the reference draws it."""

import numpy as np
import pytest

from mammofast.ops import device, reference
from tests.ops import cases


def batch(rng, n, capacity, extent):
    """Padded boxes and scores of n images; the padding is what no box may be."""
    boxes = np.full((n, capacity, 4), np.nan, np.float32)
    scores = np.full((n, capacity), 7, np.float32)
    counts = rng.integers(0, capacity + 1, n).astype(np.int32)
    for image, count in enumerate(counts):
        boxes[image, :count], scores[image, :count] = cases.some(rng, count, extent)
    return boxes, scores, counts


@pytest.mark.parametrize(("n", "capacity", "shape"), [(1, 5, (9, 300)), (7, 20, (40, 33)), (3, 600, (17, 130))])
def test_equals_the_reference_image_by_image(device_backend, n, capacity, shape):
    boxes, scores, counts = batch(np.random.default_rng(n), n, capacity, max(shape))
    masks, status = device_backend(device.confidence_mask)(boxes, scores, counts, 3, shape)
    assert masks.dtype == np.float32
    assert status.tolist() == [0] * n
    for mask, corners, confidences, count in zip(masks, boxes, scores, counts, strict=True):
        assert np.array_equal(mask, reference.confidence_mask(corners[:count], confidences[:count], 3, shape))


def test_writes_where_it_is_told(device_backend):
    boxes, scores, counts = batch(np.random.default_rng(0), 2, 4, 20)
    confidence_mask = device_backend(device.confidence_mask)
    masks, _ = confidence_mask(boxes, scores, counts, 3, (20, 30))
    out, _ = confidence_mask(boxes, scores, counts, 3, (20, 30), out=np.ones((2, 20, 30), np.float32))
    assert np.array_equal(out, masks)
    with pytest.raises(ValueError, match=r"out: got float32 of shape \(2, 30, 20\), expected .*\(2, 20, 30\)"):
        confidence_mask(boxes, scores, counts, 3, (20, 30), out=np.ones((2, 30, 20), np.float32))


def test_unsound_images_say_so_and_leave_the_others_alone(device_backend):
    boxes = np.tile(np.array([1, 1, 4, 4], np.float32), (6, 2, 1))
    scores, counts = np.full((6, 2), 0.5, np.float32), np.array([2, 2, 2, 2, 3, -1], np.int32)
    boxes[1, 1, 2], boxes[2, 0, 0], scores[3, 1] = np.nan, 5, 1.5
    masks, status = device_backend(device.confidence_mask)(boxes, scores, counts, 1, (5, 5))
    assert status.tolist() == [0] + [device.UNSOUND] * 5
    assert masks[0].sum() == 9 * 2
    assert masks[1].sum() == 9  # the sound one of two
    assert not masks[4:].any()


def test_no_images(device_backend):
    boxes, scores, counts = np.zeros((0, 3, 4), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, np.int32)
    masks, status = device_backend(device.confidence_mask)(boxes, scores, counts, 1, (5, 6))
    assert (masks.shape, status.shape) == ((0, 5, 6), (0,))
