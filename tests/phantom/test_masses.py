"""Masses: size, outline and contrast to noise as stated."""

import numpy as np
import pytest
from scipy import ndimage

from mammofast.phantom.fields import power_law
from mammofast.phantom.masses import DIAMETER_MM, MARGINS, SHAPES, Mass, paint_mass

SPACING = 0.28


def background(seed):
    return 0.4 + 0.06 * power_law((420, 420), SPACING, np.random.default_rng(seed), outer=25.0)


def painted(mass, seed=0):
    before = background(seed)
    after = before.copy()
    patch, inside = paint_mass(after, mass, (58.0, 60.0), SPACING, np.random.default_rng(seed))
    return before, after, patch, inside


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_longest_side_is_the_diameter(shape, margin):
    mass = Mass(30.0, shape, margin, 2.0, False, 0.5, seed=3)
    _, _, _, inside = painted(mass)
    rows, cols = np.nonzero(inside > 0)
    assert SPACING * (max(np.ptp(rows), np.ptp(cols)) + 1) == pytest.approx(30.0, abs=2 * SPACING)
    labels, count = ndimage.label(inside > 0)
    assert count == 1
    np.testing.assert_array_equal(ndimage.binary_fill_holes(labels > 0), labels > 0)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("cnr", [0.9, 2.5])
def test_contrast_to_noise_is_as_stated(margin, cnr):
    mass = Mass(36.0, "irregular", margin, cnr, False, 0.5, seed=4)
    before, after, patch, inside = painted(mass, seed=1)
    mask = np.zeros(before.shape, bool)
    mask[patch.rows, patch.cols] = inside > 0
    distance = ndimage.distance_transform_edt(~mask) * SPACING
    # The definition: grey added on average inside, over the deviation of what lies around, a quarter diameter wide.
    ring = (distance > 1) & (distance < 0.25 * 36 + 3)
    added = (after - before)[mask].mean()
    assert added / before[ring].std() == pytest.approx(cnr, rel=0.15)
    # Texture under the mass is pushed aside, by half at most.
    residue = (after - before)[mask] + 0.5 * (before[mask] - before[mask].mean())
    assert residue.std() < 0.75 * (after - before)[mask].std() + 0.5 * before[mask].std()


def test_nothing_is_painted_far_outside_but_spicules():
    for margin in MARGINS:
        before, after, patch, inside = painted(Mass(30.0, "irregular", margin, 2.0, False, 0.5, seed=9))
        beyond = (after - before)[patch.rows, patch.cols][inside < -4.5]
        assert (np.abs(beyond).max() > 1e-6) == (margin == "spiculated")
        outside = np.ones(before.shape, bool)
        outside[patch.rows, patch.cols] = False
        np.testing.assert_array_equal(after[outside], before[outside])


def test_air_stays_air():
    image = background(2)
    image[:, 200:] = 0
    paint_mass(
        image, Mass(40.0, "round", "circumscribed", 2.0, False, 0.5, 1), (58.0, 60.0), SPACING, np.random.default_rng(0)
    )
    assert not image[:, 200:].any()


def test_draws_stay_in_the_papers_sizes_and_spicules_grow_on_irregular_masses():
    rng = np.random.default_rng(0)
    masses = [Mass.draw(rng, subtle=i % 2 == 0) for i in range(400)]
    assert all(DIAMETER_MM[0] <= m.diameter <= DIAMETER_MM[1] for m in masses)
    assert {m.shape for m in masses} == set(SHAPES)
    assert {m.margin for m in masses} == set(MARGINS)
    assert all(m.shape == "irregular" for m in masses if m.margin == "spiculated")
    assert max(m.cnr for m in masses if m.subtle) < min(m.cnr for m in masses if not m.subtle)
