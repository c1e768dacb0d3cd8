"""Which side of a picture is which of the patient's."""

import itertools

import numpy as np
import pytest

from mammofast.report.directions import Sides, letters, rises, sides_across, sides_through

# What the standard's own words say of each axis (PS3.3 C.7.6.2.1.1: x to the left, y to posterior, z to the head).
UNIT = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}


def test_axes_have_one_letter():
    for letter, direction in UNIT.items():
        assert letters(direction) == letter
        assert letters(np.array(direction) * 7) == letter


def test_what_lies_between_axes_has_several_letters_the_nearest_first():
    """Every mix of up to three axes, against sorting by hand."""
    for (a, u), (b, v), (c, w) in itertools.permutations(UNIT.items(), 3):
        if len({abs(np.argmax(np.abs(unit))) for unit in (u, v, w)}) == 3:
            assert letters(np.array(u) * 3 + np.array(v) * 2 + np.array(w)) == a + b + c
            assert letters(np.array(u) * 3 + np.array(v) * 2) == a + b
            assert letters(np.array(u) * 30 + np.array(v) * 2) == a


def test_a_tilt_of_more_than_six_degrees_is_told():
    for degrees, expected in ((0, "L"), (6, "L"), (6.01, "LP"), (45.01, "PL"), (83.99, "PL"), (84, "P")):
        tilt = np.radians(degrees)
        assert letters((np.cos(tilt), np.sin(tilt), 0)) == expected


@pytest.mark.parametrize(
    ("row", "column", "through", "rising", "across"),
    [
        ("L", "P", "RLAP", True, "RLHF"),  # axial, as most are
        ("L", "F", "RLHF", False, "RLAP"),  # coronal: slices rise to the back, the first is on top
        ("P", "F", "APHF", False, "APLR"),  # sagittal: slices rise to the right
        ("R", "A", "LRPA", True, "LRHF"),  # axial, prone scanned feet first
        ("L", "A", "RLPA", False, "RLHF"),  # axial, slices rise to the feet
    ],
)
def test_sides_of_stacks(row, column, through, rising, across):
    orientation = (*UNIT[row], *UNIT[column])
    assert sides_through(orientation) == Sides(*through)
    assert rises(orientation) is rising
    assert sides_across(orientation, last_on_top=rising) == Sides(*across)
