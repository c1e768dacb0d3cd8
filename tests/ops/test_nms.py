"""NMS against the NumPy reference and a brute force of its own."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import reference
from tests.ops import cases


def brute_force(boxes, scores, threshold, groups):
    """Pairwise, in Python's floats."""
    rank = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i))
    kept = []
    for i in rank:
        for j in kept:
            a, b = boxes[i].astype(float).tolist(), boxes[j].astype(float).tolist()
            inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
            union = (b[2] - b[0]) * (b[3] - b[1]) + (a[2] - a[0]) * (a[3] - a[1]) - inter
            if groups[i] == groups[j] and union and inter / union > threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(backend, seed):
    nms = backend(ops.nms)
    rng = np.random.default_rng(seed)
    for _ in range(backend.cases(2500)):
        n = int(rng.integers(0, 30)) if rng.random() < 0.95 else int(rng.integers(60, 300))
        boxes, scores = cases.some(rng, n, 16)
        threshold = float(rng.choice([0, 0.25, 1 / 3, 0.45, 0.5, 0.6, 1]))
        groups = [
            None,
            rng.integers(0, 3, n),
            rng.integers(0, 3, n).astype(rng.choice(["uint8", "int16", "uint32"])),
            rng.choice([-(2**62), 0, 2**62], n),
        ][rng.integers(4)]
        kept = nms(boxes, scores, threshold, groups)
        assert kept.dtype == np.int64
        assert kept.tolist() == reference.nms(boxes, scores, threshold, groups).tolist()


def test_equals_a_brute_force(backend):
    nms = backend(ops.nms)
    rng = np.random.default_rng(7)
    for _ in range(backend.cases(200)):
        n = int(rng.integers(0, 40))
        boxes, scores = cases.some(rng, n, 16)
        groups = rng.integers(0, 2, n)
        threshold = float(rng.choice([0, 0.3, 0.5]))
        assert nms(boxes, scores, threshold, groups).tolist() == brute_force(boxes, scores, threshold, groups)


def test_many_spread_out_and_one_that_covers_all(backend):
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 40_000, (5_000, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, 900, (5_000, 2))]).astype(np.float32)
    boxes[17] = 0, 0, 40_000, 40_000
    scores = rng.uniform(0, 1, 5_000).astype(np.float32)
    for threshold in (0.0, 0.3):
        assert backend(ops.nms)(boxes, scores, threshold).tolist() == reference.nms(boxes, scores, threshold).tolist()


@pytest.mark.parametrize("n", [63, 64, 65, 2048, 4095, 4096, 4097, 8193])
def test_where_one_part_of_the_ranks_ends_and_the_next_begins(backend, n):
    rng = np.random.default_rng(n)
    boxes = cases.random_boxes(rng, n, 2.0 * n**0.5, 1)
    boxes[:, 2:] = np.minimum(boxes[:, 2:], boxes[:, :2] + rng.integers(1, 6, (n, 2)))  # many of them are kept
    scores, groups = rng.choice(np.linspace(0, 1, 50), n).astype(np.float32), rng.integers(0, 2, n)
    for group in (None, groups):
        kept = backend(ops.nms)(boxes, scores, 0.2, group).tolist()
        assert len(kept) > n / 5
        assert kept == reference.nms(boxes, scores, 0.2, group).tolist()


@pytest.mark.parametrize("rising", [False, True])
def test_chains_in_which_every_second_box_stays(backend, rising):
    left = np.arange(300, dtype=np.float32)
    boxes = np.stack([left, 0 * left, left + 2, 0 * left + 1], axis=1)  # each overlaps the next one by a third
    scores = np.linspace(0.9, 0.1, 300).astype(np.float32)[:: -1 if rising else 1]
    kept = sorted(backend(ops.nms)(boxes, scores, 0.3).tolist())
    assert kept == list(range(300))[1 if rising else 0 :: 2]


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(1 / 3, [0, 1]), (np.nextafter(1 / 3, 0), [0]), (np.nextafter(1 / 3, 1), [0, 1])],
)
def test_a_hair_around_the_threshold(backend, threshold, kept):
    boxes = np.array([[0, 0, 2, 1], [1, 0, 3, 1]], np.float32)  # IoU is 1/3
    assert backend(ops.nms)(boxes, np.array([0.9, 0.8], np.float32), float(threshold)).tolist() == kept


@pytest.mark.parametrize("seed", range(8))
def test_a_hair_around_thresholds_of_boxes_off_the_grid(backend, seed):
    rng = np.random.default_rng(seed)
    for _ in range(backend.cases(200)):
        boxes = cases.random_boxes(rng, 2, 1000, 0)
        boxes[1] = boxes[0] + rng.normal(0, 20, 4).astype(np.float32)
        boxes = np.sort(boxes.reshape(2, 2, 2), axis=1).reshape(2, 4)
        a, b = boxes.astype(np.float64)
        width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        inter = max(width, 0) * max(height, 0)
        iou = inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)
        for threshold, kept in [(np.nextafter(iou, 0), 1), (iou, 2), (iou * (1 - 2e-5), 1), (iou * (1 + 2e-5), 2)]:
            if 0 < iou < 1:
                assert len(backend(ops.nms)(boxes, np.ones(2, np.float32), float(threshold))) == kept


@pytest.mark.parametrize(("threshold", "kept"), [(0.0, [0]), (1.0, [0, 1, 2])])
def test_extreme_thresholds(backend, threshold, kept):
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [3, 3, 9, 9]], np.float32)
    assert backend(ops.nms)(boxes, np.full(3, 0.5, np.float32), threshold).tolist() == kept


def test_decides_in_double(backend):
    # In float32 the small area vanishes beside the large one.
    boxes = np.array([[0, 0, 4096, 4097], [0, 0, 4096, 4096.9995]], np.float32)
    area, inter = 4096.0 * 4097.0, 4096.0 * float(boxes[1, 3])
    threshold = inter / area
    assert len(backend(ops.nms)(boxes, np.ones(2, np.float32), threshold)) == 2
    assert len(backend(ops.nms)(boxes, np.ones(2, np.float32), float(np.nextafter(threshold, 0)))) == 1


def test_huge_and_tiny_coordinates(backend):
    boxes = np.array([[-3e38, -3e38, 3e38, 3e38], [-3e38, -3e38, 3e38, 3e38], [0, 0, 1e-45, 1e-45]] * 2, np.float32)
    assert backend(ops.nms)(boxes, np.ones(6, np.float32), 0.5).tolist() == [0, 2]


def test_a_threshold_that_float32_cannot_hold(backend):
    boxes = np.array([[0, 0, 1e10, 1e10], [0, 0, 4e-13, 3e-13]], np.float32)  # IoU is 1.2e-45
    for threshold, kept in [(1e-45, [0]), (1.1e-45, [0]), (1.3e-45, [0, 1]), (1e-60, [0])]:
        assert backend(ops.nms)(boxes, np.ones(2, np.float32), threshold).tolist() == kept


@pytest.mark.parametrize("exponent", [-149, -100, -76, -75, -74, 60, 62, 63, 64, 126])
def test_areas_that_float32_cannot_hold(backend, exponent):
    rng = np.random.default_rng(6)
    for _ in range(backend.cases(50)):
        n = int(rng.integers(2, 20))
        boxes = np.ldexp(cases.random_boxes(rng, n, 3, 1), exponent).astype(np.float32)
        scores = cases.random_scores(rng, n)
        for threshold in (0.1, 0.3, 0.5):
            assert (
                backend(ops.nms)(boxes, scores, threshold).tolist() == reference.nms(boxes, scores, threshold).tolist()
            )


def test_ties_go_to_the_lower_index_and_minus_zero_is_zero(backend):
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10]], np.float32)
    assert backend(ops.nms)(boxes, np.array([-0.0, 0.0, -0.0], np.float32), 0.5).tolist() == [0, 1, 2]


def test_empty_in_empty_out(backend):
    kept = backend(ops.nms)(cases.NO_BOXES, cases.NO_SCORES, 0.5, np.zeros(0, np.int64))
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_views_are_welcome():
    rng = np.random.default_rng(1)
    boxes, scores = cases.random_boxes(rng, 40, 16, 0), cases.random_scores(rng, 40)
    expected = ops.nms(boxes[::2].copy(), scores[::2].copy(), 0.3, np.arange(20, dtype=np.int64) % 2)
    got = ops.nms(boxes[::2], scores[::2], 0.3, np.arange(40, dtype=np.uint8)[::2] // 2 % 2)
    assert got.tolist() == expected.tolist()


@pytest.mark.parametrize(("boxes", "scores", "message"), cases.BAD_BOXES_AND_SCORES)
def test_bad_boxes_and_scores(backend, boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        backend(ops.nms)(boxes, scores, 0.5)


@pytest.mark.parametrize("threshold", [np.nan, -0.1, 1.1, np.inf, "0.5", None, True])
def test_bad_thresholds(threshold):
    with pytest.raises(ValueError, match=r"iou_threshold: got .* expected a number in \[0, 1\]"):
        ops.nms(cases.ONE_BOX, cases.ONE_SCORE, threshold)


@pytest.mark.parametrize("groups", [np.zeros(2, np.int64), np.zeros(1), [0], np.zeros((1, 1), np.int64)])
def test_bad_groups(groups):
    with pytest.raises(ValueError, match=r"groups: got .* expected integers of shape \(1,\)"):
        ops.nms(cases.ONE_BOX, cases.ONE_SCORE, 0.5, groups)


@pytest.mark.parametrize("groups", [np.zeros(2, np.int64), np.zeros(1), [0], np.zeros((1, 1), np.int64)])
def test_bad_groups_on_a_device(device_backend, groups):
    with pytest.raises(
        ValueError, match=r"groups: got .* expected (integers|int64 of shape \(1,\)|an array on a CUDA)"
    ):
        device_backend(ops.nms)(cases.ONE_BOX, cases.ONE_SCORE, 0.5, groups)


def test_all_arrays_are_on_the_device_or_none(device_backend):
    def nms(boxes):
        return ops.nms(boxes, cases.ONE_SCORE, 0.5)

    with pytest.raises(ValueError, match=r"scores: got ndarray, expected float32 .* on a CUDA device"):
        device_backend(nms)(cases.ONE_BOX)
