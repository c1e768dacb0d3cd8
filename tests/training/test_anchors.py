"""k-means over 1 - IoU: a fixed point, seeded, ending, none empty."""

import numpy as np
import pytest

from mammofast.training.anchors import kmeans_anchors, shared_corner_iou


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


@pytest.mark.parametrize("seed", range(20))
def test_result_is_sorted_and_each_anchor_the_median_of_its_boxes(seed):
    sizes = np.exp(np.random.default_rng(seed).normal(3.5, 0.6, (500, 2)))
    anchors = kmeans_anchors(sizes, 9, seed)
    assert anchors.shape == (9, 2)
    assert (np.diff(anchors.prod(axis=1)) >= 0).all()
    nearest = shared_corner_iou(sizes, anchors).argmax(axis=1)
    for k in range(9):
        np.testing.assert_allclose(anchors[k], np.median(sizes[nearest == k], axis=0))
    np.testing.assert_array_equal(anchors, kmeans_anchors(sizes, 9, seed))


def test_separate_clusters_are_found():
    centres = np.array([[10, 20], [40, 40], [100, 180]])
    rng = np.random.default_rng(1)
    sizes = np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in centres])
    np.testing.assert_allclose(kmeans_anchors(sizes, 3, 0), centres, rtol=0.05)


def test_equal_boxes_end_and_leave_no_anchor_empty():
    anchors = kmeans_anchors(np.full((12, 2), 30.0), 9, 0)
    np.testing.assert_array_equal(anchors, np.full((9, 2), 30.0))


@pytest.mark.parametrize("sizes", [np.ones((3, 2)), np.zeros((20, 2)), np.ones((20, 3)), np.full((20, 2), np.nan)])
def test_misuse(sizes):
    with pytest.raises(ValueError, match="sizes"):
        kmeans_anchors(sizes, 9, 0)
