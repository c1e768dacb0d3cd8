"""Fusion against the dense NumPy reference and scikit-image's label and regionprops."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from skimage.measure import label, regionprops

from mammofast import ops
from mammofast.ops import reference
from tests.ops import cases

THRESHOLDS = [0, 0.2, 0.25, 0.3, 0.333333, 0.4, 0.5, 0.6, 0.7, 0.8, 1, 1.2, 3.5]


def same(got, expected):
    assert [a.dtype for a in got] == [np.int32, np.float32, np.float32]
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert np.array_equal(a, b), (got, expected)


def random_case(rng):
    n = int(rng.integers(0, 14))
    shape = tuple(int(v) for v in rng.integers(1, 18, 2))
    boxes, scores = cases.some(rng, n, max(shape))
    return boxes, scores, int(rng.integers(1, 7)), shape, rng.choice(THRESHOLDS).item()


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_dense_reference(backend, seed):
    fuse_boxes = backend(ops.fuse_boxes)
    rng = np.random.default_rng(seed)
    for _ in range(backend.cases(2500)):
        case = random_case(rng)
        same(fuse_boxes(*case), reference.fuse_boxes(*case))


def raster(boxes, scores, n_scales, shape, threshold):
    """Eq. 1 as the usual way has it: slice sums, a comparison, label, regionprops."""
    votes, top = np.zeros(shape, np.int64), 0
    for (x0, y0, x1, y1), score in zip(boxes.astype(np.float64), scores.astype(np.float64), strict=True):
        left, right = (int(min(max(np.floor(v + 0.5), 0), shape[1])) for v in (x0, x1))
        upper, lower = (int(min(max(np.floor(v + 0.5), 0), shape[0])) for v in (y0, y1))
        vote = int(np.floor(score * 2**20 + 0.5))
        if left < right and upper < lower and vote:
            votes[upper:lower, left:right] += vote
            top = max(top, vote)
    exact = Fraction(str(threshold)) * n_scales * top
    kept = (votes > 0) & (votes * exact.denominator >= exact.numerator)
    found = []
    for region in regionprops(label(kept, connectivity=2), votes):
        y0, x0, y1, x1 = region.bbox
        peak = int(region.intensity_max)
        relative, absolute = np.float32(peak / (n_scales * top)), np.float32(peak / (n_scales * 2**20))
        found.append(((y0, x0, y1, x1), relative, absolute))
    return sorted(found)


def test_equals_label_and_regionprops(backend):
    fuse_boxes = backend(ops.fuse_boxes)
    rng = np.random.default_rng(11)
    for turn in range(backend.cases(300)):
        n = int(rng.integers(1, 200 if turn % 30 == 0 else 30))
        shape = tuple(int(v) for v in rng.integers(1, 120, 2))
        boxes, scores = cases.some(rng, n, max(shape))
        n_scales, threshold = int(rng.integers(1, 6)), rng.choice(THRESHOLDS).item()
        fused = fuse_boxes(boxes, scores, n_scales, shape, threshold)
        got = [((y0, x0, y1, x1), s, c) for (x0, y0, x1, y1), s, c in zip(*map(list, fused), strict=True)]
        assert got == raster(boxes, scores, n_scales, shape, threshold)


def test_scattered_small_boxes_form_many_groups(backend):
    rng = np.random.default_rng(5)
    for n in (50, 400):
        corners = rng.integers(0, 160, (n, 2))
        boxes = np.hstack([corners, corners + rng.integers(1, 5, (n, 2))]).astype(np.float32)
        case = boxes, cases.random_scores(rng, n), 2, (150, 155), 0.3
        same(backend(ops.fuse_boxes)(*case), reference.fuse_boxes(*case))


def test_one_group_that_is_wider_than_a_word_of_cells(backend):
    fuse_boxes = backend(ops.fuse_boxes)
    rng = np.random.default_rng(6)
    for turn in range(20):
        n = (20, 40, 70, 150)[turn % 4]
        corners = rng.integers(0, (390, 25), (n, 2))
        boxes = np.hstack([corners, corners + rng.integers(1, 8, (n, 2))])
        boxes = np.vstack([boxes, [[0, 0, 400, 30]]]).astype(np.float32)  # holds all of them together
        scores = np.append(rng.uniform(0.4, 1, n), 0.1).astype(np.float32)
        case = boxes, scores, 1, (30, 400), 0.6
        same(fuse_boxes(*case), reference.fuse_boxes(*case))
        assert len(fuse_boxes(*case).boxes) > 5


@pytest.mark.parametrize("score", np.linspace(0.01, 1, 100).astype(np.float32))
def test_three_of_five_equal_votes_are_a_tie_and_stay(backend, score):
    fuse_boxes = backend(ops.fuse_boxes)
    boxes = np.tile(cases.one_box(2, 2, 6, 6), (3, 1))
    fused = fuse_boxes(boxes, np.full(3, score), 5, (10, 10), 0.6)
    assert fused.boxes.tolist() == [[2, 2, 6, 6]]
    assert fused.scores == np.float32(0.6)
    assert len(fuse_boxes(boxes, np.full(3, score), 5, (10, 10), 0.600001).boxes) == 0


def test_threshold_zero_is_the_union_not_the_image(backend):
    boxes = np.array([[1, 1, 3, 3], [6, 6, 8, 9]], np.float32)
    fused = backend(ops.fuse_boxes)(boxes, np.array([1, 0.01], np.float32), 5, (20, 20), 0)
    assert fused.boxes.tolist() == [[1, 1, 3, 3], [6, 6, 8, 9]]


@pytest.mark.parametrize(
    ("second", "boxes"),
    [
        ((4, 4, 6, 6), [[2, 2, 6, 6]]),  # a corner
        ((4, 2, 6, 4), [[2, 2, 6, 4]]),  # an edge
        ((0, 4, 2, 6), [[0, 2, 4, 6]]),  # the other corner
        ((5, 4, 7, 6), [[2, 2, 4, 4], [5, 4, 7, 6]]),  # one pixel between
        ((3.5, 4, 6, 6), [[2, 2, 6, 6]]),  # 3.5 is rounded up to 4
        ((4.5, 4, 6, 6), [[2, 2, 4, 4], [5, 4, 6, 6]]),
    ],
)
def test_touching(backend, second, boxes):
    both = np.array([(2, 2, 4, 4), second], np.float32)
    assert backend(ops.fuse_boxes)(both, np.ones(2, np.float32), 1, (10, 10), 0.5).boxes.tolist() == boxes


def test_a_ring_is_one_component_though_it_meets_itself_late(backend):
    boxes = np.array([[0, 0, 1, 9], [8, 0, 9, 9], [4, 2, 5, 5], [0, 8, 9, 9]], np.float32)
    fused = backend(ops.fuse_boxes)(boxes, np.ones(4, np.float32), 1, (9, 9), 0)
    assert fused.boxes.tolist() == [[0, 0, 9, 9], [4, 2, 5, 5]]


def test_order_is_by_y_then_x(backend):
    boxes = np.array([[9, 0, 10, 1], [0, 5, 1, 6], [3, 0, 4, 1], [5, 5, 6, 9], [5, 11, 6, 12]], np.float32)
    fused = backend(ops.fuse_boxes)(boxes, np.ones(5, np.float32), 1, (20, 20), 0)
    assert fused.boxes[:, :2].tolist() == [[3, 0], [9, 0], [0, 5], [5, 5], [5, 11]]


def test_strongest_is_taken_after_dropping_what_does_not_count(backend):
    boxes = np.array([[2, 2, 4, 4], [3.1, 3.1, 3.2, 9], [50, 0, 60, 9]], np.float32)
    fused = backend(ops.fuse_boxes)(boxes, np.array([0.25, 1, 1], np.float32), 1, (10, 10), 1)
    assert fused.boxes.tolist() == [[2, 2, 4, 4]]
    assert fused.scores.tolist() == [1]
    assert fused.confidence.tolist() == [0.25]


@pytest.mark.parametrize("edge", [-0.5, -0.50001, 0.49999997, 0.5, 9.5, 10.5, -3e38, 3e38])
def test_rounding_and_clipping(backend, edge):
    for box in (cases.one_box(min(edge, 5), 0, max(edge, 5), 7), cases.one_box(0, min(edge, 5), 7, max(edge, 5))):
        case = box, cases.ONE_SCORE, 1, (10, 11), 0.5
        same(backend(ops.fuse_boxes)(*case), reference.fuse_boxes(*case))


@pytest.mark.parametrize("n_scales", [1, 5, 2**31 - 1])
@pytest.mark.parametrize("threshold", [0, 0.000001, 1, 2**40, 1e300])
def test_no_overflow(backend, n_scales, threshold):
    case = np.tile(cases.one_box(0, 0, 9, 9), (50, 1)), np.ones(50, np.float32), n_scales, (9, 9), threshold
    same(backend(ops.fuse_boxes)(*case), reference.fuse_boxes(*case))


def test_native_size_and_beyond(backend):
    fuse_boxes = backend(ops.fuse_boxes)
    boxes = np.array([[0, 0, 2.0**31, 2.0**31], [100, 200, 300, 400]], np.float32)
    size = 2**31 - 1
    fused = fuse_boxes(boxes, np.full(2, 0.5, np.float32), 2, (size, size), 0.75)
    assert fused.boxes.tolist() == [[100, 200, 300, 400]]
    fused = fuse_boxes(boxes, np.full(2, 0.5, np.float32), 2, (size, size), 0.5)
    assert fused.boxes.tolist() == [[0, 0, size, size]]


@pytest.mark.parametrize("threshold", [Decimal("0.6"), np.float32(0.6), np.float64(0.6), 0.6])
def test_a_threshold_is_the_decimal_it_prints_as(backend, threshold):
    boxes = np.tile(cases.one_box(2, 2, 6, 6), (3, 1))
    assert len(backend(ops.fuse_boxes)(boxes, np.full(3, 0.7, np.float32), 5, (10, 10), threshold).boxes) == 1


@pytest.mark.parametrize("shape", [(10, 10), (0, 0), (0, 5)])
def test_empty_in_empty_out(backend, shape):
    fuse_boxes = backend(ops.fuse_boxes)
    same(
        fuse_boxes(cases.NO_BOXES, cases.NO_SCORES, 5, shape, 0.5),
        (np.zeros((0, 4), np.int32), cases.NO_SCORES, cases.NO_SCORES),
    )
    assert len(fuse_boxes(cases.ONE_BOX, cases.ONE_SCORE, 1, shape, 0).boxes) == (shape == (10, 10))


@pytest.mark.parametrize(("boxes", "scores", "message"), cases.BAD_BOXES_AND_SCORES)
def test_bad_boxes_and_scores(backend, boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        backend(ops.fuse_boxes)(boxes, scores, 5, (10, 10), 0.5)


@pytest.mark.parametrize("threshold", [np.nan, np.inf, -0.1, 1e-7, 0.1 + 0.2, 1 / 3, "0.5", "x", None, True, [0.5]])
def test_bad_thresholds(threshold):
    with pytest.raises(ValueError, match=r"threshold: got .* expected a decimal number >= 0 with at most 6 decimals"):
        ops.fuse_boxes(cases.ONE_BOX, cases.ONE_SCORE, 5, (10, 10), threshold)


@pytest.mark.parametrize("n_scales", [0, -1, 1.0, True, None, 2**31])
def test_bad_n_scales(n_scales):
    with pytest.raises(ValueError, match=r"n_scales: got .* expected an integer in 1"):
        ops.fuse_boxes(cases.ONE_BOX, cases.ONE_SCORE, n_scales, (10, 10), 0.5)


@pytest.mark.parametrize("shape", [(10,), 10, (10, 10, 3), "ab", None, (10, -1), (10.0, 10), (2**31, 1)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"shape.*: got .* expected"):
        ops.fuse_boxes(cases.ONE_BOX, cases.ONE_SCORE, 5, shape, 0.5)
