"""NMS of a batch on the device: each image as the reference does it alone."""

import numpy as np
import pytest

from mammofast.ops import device, reference
from tests.ops import cases


def batch(rng, n, capacity, extent):
    """Padded boxes, scores and groups of n images; the padding is what no box may be."""
    boxes = np.full((n, capacity, 4), np.nan, np.float32)
    scores = np.full((n, capacity), 7, np.float32)
    counts = rng.integers(0, capacity + 1, n).astype(np.int32)
    counts[:2] = 0, capacity
    for image, count in enumerate(counts):
        boxes[image, :count], scores[image, :count] = cases.some(rng, count, extent)
    return boxes, scores, counts, rng.integers(0, 3, (n, capacity)).astype(np.int32)


def one_by_one(boxes, scores, counts, threshold, groups=None):
    """The results that the loop gives."""
    indices = np.full(scores.shape, -1, np.int32)
    for image, n in enumerate(counts):
        group = None if groups is None else groups[image, :n]
        kept = reference.nms(boxes[image, :n], scores[image, :n], threshold, group)
        indices[image, : len(kept)] = kept
    return indices, np.count_nonzero(indices >= 0, axis=1)


@pytest.mark.parametrize(("n", "capacity"), [(2, 1), (9, 31), (5, 64), (4, 200), (3, 4500)])
@pytest.mark.parametrize("grouped", [False, True])
def test_equals_the_reference_image_by_image(device_backend, n, capacity, grouped):
    boxes, scores, counts, groups = batch(np.random.default_rng(capacity), n, capacity, 60)
    arguments = (boxes, scores, counts, 0.4, groups) if grouped else (boxes, scores, counts, 0.4)
    indices, kept, status = device_backend(device.nms)(*arguments)
    assert (indices.dtype, kept.dtype, status.dtype) == (np.int32, np.int32, np.int32)
    expected, many = one_by_one(*arguments)
    assert np.array_equal(indices, expected)
    assert kept.tolist() == many.tolist()
    assert not status.any()


def test_more_images_than_are_taken_at_once(device_backend):
    rng = np.random.default_rng(2)
    n, capacity = 34, 4100  # of 2 MiB each, 16 at once
    boxes, scores = np.full((n, capacity, 4), np.nan, np.float32), np.full((n, capacity), 7, np.float32)
    counts = rng.integers(0, 6, n).astype(np.int32)
    for image, count in enumerate(counts):
        boxes[image, :count], scores[image, :count] = cases.some(rng, count, 9)
    # Two of the last ones go on into a second stripe, where the first one's kept box strikes some and spares others.
    counts[32:], scores[32:] = capacity, 0.9
    boxes[32], boxes[33] = (50, 50, 51, 51), (100, 100, 101, 101)
    boxes[32, -1], scores[32, -1] = (0, 0, 9, 9), 0.01
    boxes[33, -2:], scores[33, -4:] = [(0, 0, 9, 9), (20, 20, 30, 30)], [0.2, 0.2, 0.1, 0.05]
    indices, kept, status = device_backend(device.nms)(boxes, scores, counts, 0.3)
    assert kept[32:].tolist() == [2, 3]
    expected, many = one_by_one(boxes, scores, counts, 0.3)
    assert np.array_equal(indices, expected)
    assert kept.tolist() == many.tolist()
    assert not status.any()


def test_unsound_images_say_so_and_leave_the_others_alone(device_backend):
    boxes = np.tile(np.array([1, 1, 4, 4], np.float32), (8, 2, 1))
    scores, counts = np.full((8, 2), 0.5, np.float32), np.array([2, 2, 2, 2, 2, 3, -1, 2], np.int32)
    boxes[1, 1, 2], boxes[2, 0, 0], scores[3, 1], scores[4, 0] = np.nan, 5, 1.5, np.nan
    boxes[7, 1, 3] = np.inf
    indices, kept, status = device_backend(device.nms)(boxes, scores, counts, 0.5)
    assert status.tolist() == [0] + [device.UNSOUND] * 7
    assert kept.tolist() == [1] + [0] * 7
    assert indices.tolist() == [[0, -1]] + [[-1, -1]] * 7


def test_an_unsound_box_far_down_empties_the_image(device_backend):
    rng = np.random.default_rng(5)
    boxes, scores = cases.random_boxes(rng, 9000, 2000, 0)[None], rng.uniform(0.1, 1, (1, 9000)).astype(np.float32)
    boxes[0, 8990, 1] = np.nan
    scores[0, 8990] = 0.01
    indices, kept, status = device_backend(device.nms)(boxes, scores, np.array([9000], np.int32), 0.5)
    assert (status.tolist(), kept.tolist()) == ([device.UNSOUND], [0])
    assert (indices == -1).all()


def test_writes_where_it_is_told(device_backend):
    boxes, scores, counts, _ = batch(np.random.default_rng(0), 3, 20, 20)
    nms = device_backend(device.nms)
    out = np.full((3, 20), 9, np.int32), np.full(3, 9, np.int32), np.full(3, 9, np.int32)
    for got, expected in zip(nms(boxes, scores, counts, 0.3, out=out), nms(boxes, scores, counts, 0.3), strict=True):
        assert np.array_equal(got, expected)
    with pytest.raises(ValueError, match=r"out counts: got int32 of shape \(2,\), expected int32 of shape \(3,\)"):
        nms(boxes, scores, counts, 0.3, out=(out[0], out[1][:2].copy(), out[2]))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_no_images_and_no_boxes(device_backend, shape):
    counts = np.zeros(shape[0], np.int32)
    results = device_backend(device.nms)(np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32), counts, 0.5)
    assert [part.shape for part in results] == [shape, shape[:1], shape[:1]]
    assert not results.counts.any()
    assert not results.status.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"boxes": np.zeros((2, 3), np.float32)},
            r"boxes: got float32 of shape \(2, 3\), expected .*\(n, capacity, 4\)",
        ),
        ({"scores": np.zeros((2, 4), np.float32)}, r"scores: got .*\(2, 4\), expected float32 of shape \(2, 3\)"),
        ({"counts": np.zeros(2, np.int64)}, r"counts: got int64 .*, expected int32 of shape \(2,\)"),
        ({"groups": np.zeros((3, 2), np.int32)}, r"groups: got .*\(3, 2\), expected int32 of shape \(2, 3\)"),
        ({"groups": np.zeros((2, 3), np.float32)}, r"groups: got float32, expected integers"),
        ({"iou_threshold": 1.5}, r"iou_threshold: got 1.5, expected a number in \[0, 1\]"),
    ],
)
def test_bad_arguments(device_backend, change, message):
    arguments = {
        "boxes": np.zeros((2, 3, 4), np.float32),
        "scores": np.zeros((2, 3), np.float32),
        "counts": np.zeros(2, np.int32),
        "iou_threshold": 0.5,
    }
    with pytest.raises(ValueError, match=message):
        device_backend(device.nms)(**{**arguments, **change})
