"""Fusion of a batch on the device: each image as the reference fuses it, padded with zeros."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import device, reference
from tests.ops import cases


def stacked(images, shape):
    """Boxes, scores, counts and shapes of the images; the padding is what no box may be."""
    room = max(len(scores) for _, scores in images) + 2
    boxes = np.full((len(images), room, 4), np.nan, np.float32)
    scores = np.full((len(images), room), 7, np.float32)
    for image, (corners, confidences) in enumerate(images):
        boxes[image, : len(corners)], scores[image, : len(corners)] = corners, confidences
    counts = np.array([len(scores) for _, scores in images], np.int32)
    return boxes, scores, counts, np.tile(np.array(shape, np.int32), (len(images), 1))


def assert_fused(fuse_boxes, images, n_scales, shape, threshold, capacity, truth=reference.fuse_boxes):
    """Fuse them as one batch, hold each against the truth; returns how many boxes came out of each."""
    boxes, scores, counts, shapes = stacked(images, shape)
    fused = fuse_boxes(boxes, scores, counts, n_scales, shapes, threshold, capacity)
    n = len(images)
    assert [a.dtype for a in fused] == [np.int32, np.float32, np.float32, np.int32, np.int32]
    assert [a.shape for a in fused] == [(n, capacity, 4), (n, capacity), (n, capacity), (n,), (n,)]
    assert not fused.status.any()
    for image, (corners, confidences) in enumerate(images):
        expected = truth(corners, confidences, n_scales, shape, threshold)
        k = len(expected.scores)
        assert fused.counts[image] == k
        for got, want in zip(fused, expected, strict=False):
            assert np.array_equal(got[image, :k], want)
            assert not got[image, k:].any()
    return fused.counts


def crossing_bars(rng, n, extent):
    """n bars one way, n the other: where two are needed, each crossing is a component."""
    starts = np.arange(n) * (extent / max(n, 1)) + 1
    low, high = np.zeros(n), np.full(n, extent)
    boxes = [[starts, low, starts + 2, high], [low, starts, high, starts + 2]]
    boxes = np.concatenate([np.stack(sides, axis=1) for sides in boxes]).astype(np.float32)
    return boxes[rng.permutation(2 * n)], np.ones(2 * n, np.float32)


@pytest.mark.parametrize("threshold", [0, 0.25, 0.5, 0.6, 1])
def test_equals_the_reference_image_by_image(device_backend, threshold):
    rng = np.random.default_rng(3)
    images = [cases.some(rng, n, 24) for n in (9, 0, 14, 1, 0, 5, 20)]
    assert_fused(device_backend(device.fuse_boxes), images, 3, (24, 19), threshold, 60)


def test_images_of_different_shapes(device_backend):
    shapes = np.array([[4, 9], [9, 4], [0, 7], [2**31 - 1, 2**31 - 1]], np.int32)
    boxes = np.tile(np.array([[1, 1, 2.0**31, 2.0**31]], np.float32), (4, 1, 1))
    counts = np.ones(4, np.int32)
    fused = device_backend(device.fuse_boxes)(boxes, np.ones((4, 1), np.float32), counts, 1, shapes, 1, 1)
    assert fused.boxes[:, 0].tolist() == [[1, 1, 9, 4], [1, 1, 4, 9], [0, 0, 0, 0], [1, 1, 2**31 - 1, 2**31 - 1]]
    assert fused.counts.tolist() == [1, 1, 0, 1]


def test_more_components_than_boxes(device_backend):
    images = [crossing_bars(np.random.default_rng(n), n, 80) for n in (8, 3, 12)]
    fuse_boxes = device_backend(device.fuse_boxes)
    found = assert_fused(fuse_boxes, images, 1, (80, 80), 1.5, 144, ops.fuse_boxes)
    assert found.tolist() == [64, 9, 144]
    boxes, scores, counts, shapes = stacked(images, (80, 80))
    fused = fuse_boxes(boxes, scores, counts, 1, shapes, 1.5, 143)
    assert fused.counts.tolist() == [64, 9, 0]
    assert fused.status.tolist() == [0, 0, device.OVERFLOW]
    assert not fused.boxes[2].any()
    assert not fused.scores[2].any()
    one_by_one = ops.fuse_boxes(*images[2], 1, (80, 80), 1.5)  # here the caller gives no capacity
    waiting = device_backend(ops.fuse_boxes)(*images[2], 1, (80, 80), 1.5)
    assert all(np.array_equal(a, b) for a, b in zip(waiting, one_by_one, strict=True))


@pytest.mark.parametrize("mirrored", [False, True])
def test_touching_at_corners_only(device_backend, mirrored):
    low = np.arange(0, 40, 2)
    x = low[::-1] if mirrored else low
    stairs = np.stack([x, low, x + 2, low + 2], axis=1).astype(np.float32)
    scores = np.full(len(low), 0.25, np.float32)
    images = [(stairs, scores), (stairs[::2], scores[::2]), (stairs[::-1], scores)]
    found = assert_fused(device_backend(device.fuse_boxes), images, 1, (40, 40), 1, 20)
    assert found.tolist() == [1, 10, 1]


@pytest.mark.parametrize("n", [1, 2, 16, 17, 54])
def test_equal_boxes(device_backend, n):
    boxes, scores = np.tile(cases.one_box(2, 3, 7, 5), (n, 1)), np.full(n, 0.7, np.float32)
    fuse_boxes = device_backend(device.fuse_boxes)
    images = [(boxes, scores), (boxes[:1], scores[:1])]
    assert assert_fused(fuse_boxes, images, 5, (9, 9), n / 5, 3).tolist() == [1, n == 1]  # a tie with n votes
    assert assert_fused(fuse_boxes, images, 5, (9, 9), 0, 3).tolist() == [1, 1]


def test_components_that_begin_in_one_row(device_backend):
    """Their order is by x_min, which may lie in a row further down, then by y_max."""
    hook = [[8, 0, 9, 9], [0, 8, 9, 9]]  # begins right, reaches left below the others
    others = [[0, 0, 1, 3], [3, 0, 4, 3], [5, 0, 6, 7]]
    boxes = np.array(hook + others, np.float32)
    images = [(boxes[order], np.ones(5, np.float32)) for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1])]
    found = assert_fused(device_backend(device.fuse_boxes), images, 1, (9, 9), 0, 8)
    assert found.tolist() == [4, 4]


@pytest.mark.parametrize("capacity", [70, 4000])
def test_more_boxes_than_shared_memory_holds(device_backend, capacity):
    rng = np.random.default_rng(7)
    images = []
    for n in (90, 3, 120, 54):
        corners = rng.integers(0, 380, (n, 2))
        boxes = np.hstack([corners, corners + rng.integers(1, 90, (n, 2))]).astype(np.float32)
        images.append((boxes, rng.uniform(0.1, 1, n).astype(np.float32)))
    found = assert_fused(device_backend(device.fuse_boxes), images, 2, (400, 390), 0.7, capacity, ops.fuse_boxes)
    assert found.max() > 10


def test_rows_do_not_run_into_each_other(device_backend):
    """What lies at the right end of a row is no neighbour of what lies at the left end of it, or of the next one."""
    boxes = [[0, 2, 2, 4], [5, 2, 7, 4], [3, 0, 4, 1], [3, 8, 4, 9], [0, 5, 2, 6], [5, 6, 7, 7]]
    images = [(np.array(boxes[:n], np.float32), np.ones(n, np.float32)) for n in range(1, 7)]
    found = assert_fused(device_backend(device.fuse_boxes), images, 1, (9, 9), 0, 6)
    assert found.tolist() == [1, 2, 3, 4, 5, 6]


def test_images_that_take_turns_in_global_memory(device_backend):
    images = [crossing_bars(np.random.default_rng(n), n, 120) for n in (30, 3, 0, 28)]
    boxes, scores, counts, shapes = stacked(images, (120, 120))
    more = 2047 - boxes.shape[1]  # room for so many boxes that there is memory for one grid only
    boxes, scores = np.pad(boxes, ((0, 0), (0, more), (0, 0))), np.pad(scores, ((0, 0), (0, more)))
    fused = device_backend(device.fuse_boxes)(boxes, scores, counts, 1, shapes, 2, 900)
    assert fused.counts.tolist() == [900, 9, 0, 784]
    for image in (0, 3):
        expected = ops.fuse_boxes(*images[image], 1, (120, 120), 2)
        assert np.array_equal(fused.boxes[image, : counts[image] ** 2 // 4], expected.boxes)


def test_images_whose_grids_find_no_room_beside_the_others(device_backend):
    """Three of them fill what there is: the fourth waits, the fifth, which is small, too."""
    rng = np.random.default_rng(11)
    images = []
    for n in (520, 520, 520, 520, 70, 9):
        corners = rng.integers(0, 4000, (n, 2))
        boxes = np.hstack([corners, corners + rng.integers(1, 300, (n, 2))]).astype(np.float32)
        images.append((boxes, rng.uniform(0.1, 1, n).astype(np.float32)))
    found = assert_fused(device_backend(device.fuse_boxes), images, 1, (4300, 4300), 0.4, 520, ops.fuse_boxes)
    assert found.min() > 3


def test_as_many_boxes_as_sums_have_room_for(device_backend):
    boxes, scores = np.tile(cases.one_box(0, 0, 4, 4), (2048, 1)), np.ones(2048, np.float32)
    fuse_boxes = device_backend(device.fuse_boxes)
    assert assert_fused(fuse_boxes, [(boxes[1:], scores[1:])], 1, (9, 9), 2047, 1, ops.fuse_boxes) == 1
    batch = stacked([(boxes, scores), (boxes[:1], scores[:1])], (9, 9))
    fused = fuse_boxes(*batch[:3], 1, batch[3], 1, 4)
    assert fused.counts.tolist() == [0, 1]
    assert fused.status.tolist() == [device.OVERFLOW, 0]
    with pytest.raises(ValueError, match="boxes: got 2048 boxes, expected at most 2047 on a CUDA device"):
        device_backend(ops.fuse_boxes)(boxes, scores, 1, (9, 9), 1)


def test_unsound_images_say_so_and_leave_the_others_alone(device_backend):
    boxes = np.tile(np.array([1, 1, 4, 4], np.float32), (9, 2, 1))
    scores, counts = np.full((9, 2), 0.5, np.float32), np.array([2, 2, 2, 2, 2, 3, -1, 2, 1], np.int32)
    shapes = np.full((9, 2), 5, np.int32)
    boxes[1, 1, 2], boxes[2, 0, 0], scores[3, 1], boxes[4, 0, 3], shapes[7, 1] = np.nan, 5, 1.5, np.inf, -1
    boxes[8, 1], scores[8, 1] = np.nan, np.nan  # behind the count
    fused = device_backend(device.fuse_boxes)(boxes, scores, counts, 1, shapes, 0, 2)
    assert fused.status.tolist() == [0] + [device.UNSOUND] * 7 + [0]
    assert fused.counts.tolist() == [1] + [0] * 7 + [1]
    assert fused.boxes[:, 0].tolist() == [[1, 1, 4, 4]] + [[0] * 4] * 7 + [[1, 1, 4, 4]]
    assert fused.confidence[:, 0].tolist() == [1] + [0] * 7 + [0.5]


def test_writes_where_it_is_told(device_backend):
    images = [cases.some(np.random.default_rng(seed), 6, 20) for seed in range(3)]
    boxes, scores, counts, shapes = stacked(images, (20, 20))
    fuse_boxes = device_backend(device.fuse_boxes)
    arguments = boxes, scores, counts, 2, shapes, 0.5, 8
    fused = fuse_boxes(*arguments)
    again = fuse_boxes(*arguments, out=tuple(np.full_like(part, 9) for part in fused))
    assert all(np.array_equal(a, b) for a, b in zip(fused, again, strict=True))
    with pytest.raises(
        ValueError, match=r"out\[1\]: got float32 of shape \(3, 9\), expected float32 of shape \(3, 8\)"
    ):
        fuse_boxes(*arguments, out=(fused[0], np.zeros((3, 9), np.float32), *fused[2:]))
    with pytest.raises(ValueError, match="out: got tuple, expected None or 5 arrays"):
        fuse_boxes(*arguments, out=fused[:4])


@pytest.mark.parametrize("capacity", [0, 3])
def test_no_images_and_no_room(device_backend, capacity):
    fuse_boxes = device_backend(device.fuse_boxes)
    none = stacked([(cases.ONE_BOX, cases.ONE_SCORE)], (9, 9))
    fused = fuse_boxes(*(a[:0] for a in none[:3]), 1, none[3][:0], 0, capacity)
    assert fused.boxes.shape == (0, capacity, 4)
    fused = fuse_boxes(*none[:3], 1, none[3], 0, capacity)
    assert fused.status.tolist() == [device.OVERFLOW if capacity == 0 else 0]
    fused = fuse_boxes(np.zeros((2, 0, 4), np.float32), np.zeros((2, 0), np.float32), np.zeros(2, np.int32), 1,
                       np.ones((2, 2), np.int32), 0, capacity)  # fmt: skip
    assert (fused.counts.tolist(), fused.status.tolist()) == ([0, 0], [0, 0])


@pytest.mark.parametrize(("change", "message"), [
    ({"n_scales": 0}, "n_scales: got 0"),
    ({"threshold": 1e-7}, "threshold: got 1e-07"),
    ({"capacity": -1}, "capacity: got -1"),
    ({"counts": np.zeros(2, np.int64)}, r"counts: got int64 of shape \(2,\), expected int32 of shape \(2,\)"),
    ({"shapes": np.zeros((1, 2), np.int32)}, r"shapes: got int32 of shape \(1, 2\), expected int32 of shape \(2, 2\)"),
    ({"scores": np.zeros((2, 4), np.float32)}, r"scores: got float32 of shape \(2, 4\)"),
    ({"boxes": np.zeros((3, 4), np.float32)}, r"boxes: got float32 of shape \(3, 4\), expected .*\(n, capacity, 4\)"),
])  # fmt: skip
def test_bad_arguments(device_backend, change, message):
    arguments = {
        "boxes": np.zeros((2, 3, 4), np.float32),
        "scores": np.zeros((2, 3), np.float32),
        "counts": np.zeros(2, np.int32),
        "n_scales": 1,
        "shapes": np.ones((2, 2), np.int32),
        "threshold": 0.5,
        "capacity": 2,
    }
    with pytest.raises(ValueError, match=message):
        device_backend(device.fuse_boxes)(**arguments | change)
