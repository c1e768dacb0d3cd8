import numpy as np
import pytest
import skimage.draw
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mammofast.records import Finding
from mammofast.report.dicom.contour import MAX_POINTS, centre, contour
from mammofast.report.outline import enclosed_area, polygons
from tests.report.dicom.conftest import ellipse


def filled(shape, polygon):
    """Which pixels' centres a polygon encloses, by other people's drawing."""
    return skimage.draw.polygon2mask(shape, polygon[:, ::-1] - 0.5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.1, 0.95))
def test_borders_enclose_exactly_the_mask(rows, cols, seed, density):
    mask = np.random.default_rng(seed).random((rows, cols)) < density
    found = polygons(mask)
    inside = np.zeros(mask.shape, dtype=int)
    for polygon in found:
        inside += np.sign(enclosed_area(polygon)) * filled(mask.shape, polygon).astype(int)
    assert np.array_equal(inside, mask.astype(int))
    assert sum(map(enclosed_area, found)) == mask.sum()
    assert sum(enclosed_area(polygon) > 0 for polygon in found) == ndimage.label(mask)[1]
    for polygon in found:
        steps = np.diff(np.vstack([polygon, polygon[:1]]), axis=0)
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert (steps[1:, 0] * steps[:-1, 0] == 0).all(), "a corner that is none"


def test_a_single_pixel_is_a_square_around_its_centre():
    finding = Finding((7, 3, 8, 4), 1.0, 1.0, np.ones((1, 1), bool))
    assert contour(finding).tolist() == [[7, 3], [8, 3], [8, 4], [7, 4], [7, 3]]
    assert centre(finding) == (7.5, 3.5)


def test_the_largest_part_is_drawn_and_holes_are_not():
    mask = np.zeros((20, 30), bool)
    mask[:3, :3] = True
    mask[5:19, 8:28] = True
    mask[8:12, 10:20] = False
    drawn = contour(Finding((100, 200, 130, 220), 1.0, 1.0, mask))
    assert drawn[:-1].tolist() == [[108, 205], [128, 205], [128, 219], [108, 219]]
    assert (drawn[-1] == drawn[0]).all()


def test_an_empty_mask_gives_its_box():
    finding = Finding((10, 20, 14, 30), 1.0, 1.0, np.zeros((10, 4), bool))
    assert contour(finding).tolist() == [[10, 20], [14, 20], [14, 30], [10, 30], [10, 20]]
    assert centre(finding) == (12, 25)


def test_the_centre_is_that_of_the_pixels():
    finding = Finding((10, 20, 21, 29), 1.0, 1.0, ellipse(9, 11))
    assert centre(finding) == pytest.approx((15.5, 24.5))


def test_a_ragged_border_is_followed_more_coarsely():
    comb = np.ones((6000, 40), bool)
    comb[1::2, 20:] = False
    (border,) = polygons(comb)
    assert len(border) > MAX_POINTS
    drawn = contour(Finding((5, 7, 45, 6007), 1.0, 1.0, comb))
    assert drawn.tolist() == [[5, 7], [45, 7], [45, 6007], [5, 6007], [5, 7]]
