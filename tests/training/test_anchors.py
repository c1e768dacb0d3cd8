"""k-means over 1 - IoU: a fixed point, seeded, ending, none empty; the same bits wherever it runs."""

from fractions import Fraction

import numpy as np
import pytest

from mammofast.compilation.defaults import METHODS, RoleMade
from mammofast.phantom.plan import Mix, Purpose, plan_studies
from mammofast.training.anchors import kmeans_anchors, mean_best_iou, shared_corner_iou
from mammofast.training.phantoms import mass_boxes

DARKNET = [[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [116, 90], [156, 198], [373, 326]]


def iou_by_counting(a, b):
    """Integer boxes laid corner on corner, pixel by pixel."""
    canvas = np.zeros((64, 64), int)
    canvas[: a[1], : a[0]] += 1
    canvas[: b[1], : b[0]] += 1
    return (canvas == 2).sum() / (canvas > 0).sum()


def test_iou_counts_pixels():
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 60, (30, 2)), rng.integers(1, 60, (7, 2))
    expected = [[iou_by_counting(x, y) for y in b] for x in a]
    np.testing.assert_allclose(shared_corner_iou(a, b), expected)
    assert mean_best_iou(a, b) == pytest.approx(np.max(expected, axis=1).mean())


def sizes_of(seed, n=500):
    return np.rint(16 * np.exp(np.random.default_rng(seed).normal(3.5, 0.6, (n, 2)))) / 16


@pytest.mark.parametrize("seed", range(20))
def test_result_is_sorted_and_each_anchor_the_median_of_its_boxes(seed):
    sizes = sizes_of(seed)
    anchors = kmeans_anchors(sizes, 9, seed)
    assert anchors.shape == (9, 2)
    assert (np.diff(anchors.prod(axis=1)) >= 0).all()
    nearest = shared_corner_iou(sizes, anchors).argmax(axis=1)
    for k in range(9):
        np.testing.assert_array_equal(anchors[k], np.median(sizes[nearest == k], axis=0))
    np.testing.assert_array_equal(anchors, kmeans_anchors(sizes, 9, seed))


def exact_anchors(sizes, count, seed):
    """The same clustering in fractions: no rounding that a machine could do otherwise."""
    rng = np.random.default_rng(seed)
    sizes = [tuple(Fraction(float(side)) for side in size) for size in sizes]

    def fit(a, b):
        overlap = min(a[0], b[0]) * min(a[1], b[1])
        return overlap / (a[0] * a[1] + b[0] * b[1] - overlap)

    def median(values):
        values = sorted(values)
        return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2

    centres = [sizes[rng.integers(len(sizes))]]
    while len(centres) < count:
        weights = [int((1 - max(fit(s, c) for c in centres)) ** 2 * 2**20) for s in sizes]
        drawn = int(rng.integers(sum(weights)))
        k = 0
        while drawn >= weights[k]:
            drawn, k = drawn - weights[k], k + 1
        centres.append(sizes[k])
    assigned = None
    while True:
        fits = [[fit(s, c) for c in centres] for s in sizes]
        nearest = [row.index(max(row)) for row in fits]
        if nearest == assigned:
            return sorted(([float(side) for side in c] for c in centres), key=lambda c: (c[0] * c[1], c[0]))
        assigned = nearest
        for k in range(count):
            members = [s for s, n in zip(sizes, nearest, strict=True) if n == k]
            assert members, "none is empty in these cases"
            centres[k] = tuple(median([m[i] for m in members]) for i in range(2))


@pytest.mark.parametrize("seed", range(6))
def test_they_are_those_of_exact_arithmetic(seed):
    sizes = sizes_of(100 + seed, 120)
    np.testing.assert_array_equal(kmeans_anchors(sizes, 9, seed), exact_anchors(sizes, 9, seed))


def test_the_order_of_a_sum_does_not_matter():
    # A machine with wider registers adds in another order; here nothing is added that could be rounded.
    sizes = sizes_of(7, 4001) + np.random.default_rng(7).normal(0, 1e-9, (4001, 2))
    np.testing.assert_array_equal(kmeans_anchors(sizes, 9, 1), kmeans_anchors(np.rint(sizes * 16) / 16, 9, 1))


def test_they_are_these():
    # Computed once, to be found again by every machine that runs the tests.
    sizes = np.random.default_rng(3).integers(100, 2000, (500, 2)) / 16
    assert kmeans_anchors(sizes, 9, 3).tolist() == [
        [21.875, 26.875],
        [11.3125, 89.4375],
        [90.5, 13.125],
        [57.15625, 35.0],
        [26.59375, 96.5625],
        [44.875, 85.6875],
        [99.6875, 50.0],
        [72.625, 75.25],
        [107.03125, 97.75],
    ]


def test_separate_clusters_are_found():
    centres = np.array([[10, 20], [40, 40], [100, 180]])
    rng = np.random.default_rng(1)
    sizes = np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in centres])
    np.testing.assert_allclose(kmeans_anchors(sizes, 3, 0), centres, rtol=0.05)


def test_equal_boxes_end_and_leave_no_anchor_empty():
    anchors = kmeans_anchors(np.full((12, 2), 30.0), 9, 0)
    np.testing.assert_array_equal(anchors, np.full((9, 2), 30.0))


def test_on_phantoms_they_fit_better_than_darknets():
    planned = [view for study in plan_studies(4, 5, Purpose.TRAINING, Mix(1.0, 0.2, 0.3)) for view in study]
    boxes = np.concatenate([mass_boxes(view) for view in planned])
    sizes = (boxes[:, 2:] - boxes[:, :2]) * [416, 832]
    assert len(sizes) >= 16
    made = RoleMade(((832, 416),), 1, {})
    shipped = METHODS["two_stage"].parameters({"detector": made, "segmenter": made})["anchors"]
    assert shipped == DARKNET
    assert mean_best_iou(sizes, kmeans_anchors(sizes, 9, 0)) > mean_best_iou(sizes, np.array(DARKNET, float)) + 0.1


@pytest.mark.parametrize("sizes", [np.ones((3, 2)), np.zeros((20, 2)), np.ones((20, 3)), np.full((20, 2), np.nan)])
def test_misuse(sizes):
    with pytest.raises(ValueError, match="sizes"):
        kmeans_anchors(sizes, 9, 0)
