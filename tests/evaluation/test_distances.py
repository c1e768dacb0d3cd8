"""Distances between masks against all pairs of pixels, and against scikit-image."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance

from mammofast.evaluation import hausdorff


def by_pairs(p, t, spacing, percentile):
    distances = cdist(np.argwhere(p) * spacing, np.argwhere(t) * spacing)
    return max(np.percentile(distances.min(axis=axis), percentile) for axis in (0, 1))


def test_a_thousand_random_masks():
    rng = np.random.default_rng(0)
    tried = 0
    while tried < 1000:
        shape = tuple(rng.integers(1, 9, size=rng.integers(1, 4)))
        p, t = (rng.random(shape) < rng.choice([0, 0.05, 0.3, 0.8]) for _ in range(2))
        assert hausdorff(p, t) == pytest.approx(hausdorff_distance(p, t), abs=1e-9)  # of empty ones too
        if p.any() and t.any():
            tried += 1
            spacing = tuple(rng.choice([0.07, 1.0, 2.5], size=len(shape)))
            percentile = rng.choice([0.0, 50.0, 95.0, 100.0])
            expected = by_pairs(p, t, np.array(spacing), percentile)
            assert hausdorff(p, t, spacing, percentile) == pytest.approx(expected, abs=1e-9)


def test_empty_masks():
    some, none = np.eye(3), np.zeros((3, 3))
    assert hausdorff(none, none) == 0
    assert hausdorff(some, none) == hausdorff(none, some) == np.inf


def test_a_stray_pixel_is_forgiven_by_a_percentile():
    truth = np.zeros((100, 100))
    truth[40:60, 40:60] = 1
    stray = truth.copy()
    stray[0, 0] = 1
    assert hausdorff(stray, truth) == pytest.approx(40 * 2**0.5)
    assert hausdorff(stray, truth, percentile=95) == 0


def test_millimetres_are_pixels_times_spacing():
    p, t = np.zeros((2, 9, 9), bool)
    p[0, 0] = t[3, 4] = True
    assert hausdorff(p, t) == 5
    assert hausdorff(p, t, (0.1, 0.2)) == pytest.approx((0.3**2 + 0.8**2) ** 0.5)


@pytest.mark.parametrize(
    "arguments, words",
    [(((1, 2), (1, 3)), r"prediction: got shape \(1, 2\)"), (((1, 2), (1, 2), 1.0, 101), "percentile: got 101")],
)
def test_misuse(arguments, words):
    p, t, *rest = arguments
    with pytest.raises(ValueError, match=words):
        hausdorff(np.ones(p), np.ones(t), *rest)
