"""Where a picture's sides lie in the patient, as letters (PS3.3 C.7.6.1.1.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import radians, sin

import numpy as np
import numpy.typing as npt

# DICOM's x rises to the patient's left, y to the back, z to the head.
_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
# What part of a direction goes along an axis before its letter is told: one that is tilted by 6 degrees has no second.
_TOLD = sin(radians(6)) + 1e-9


@dataclass(frozen=True, slots=True)
class Sides:
    """What the sides of a picture are towards."""

    left: str
    right: str
    top: str
    bottom: str


def letters(direction: npt.ArrayLike) -> str:
    """Return a direction in the patient, (x, y, z), as up to three letters, what it goes along most first."""
    parts = np.asarray(direction, dtype=np.float64)
    parts = parts / np.linalg.norm(parts)
    order = sorted(range(3), key=lambda axis: -abs(parts[axis]))
    return "".join(_LETTERS[axis][int(parts[axis] < 0)] for axis in order if abs(parts[axis]) > _TOLD)


def rises(orientation: Sequence[float]) -> bool:
    """Return whether slices rise towards the head; orientation: Image Orientation (Patient)."""
    normal = _normal(orientation)
    return bool(normal[2] > 0 and normal[2] == np.abs(normal).max())


def sides_through(orientation: Sequence[float]) -> Sides:
    """Return the sides of a slice, or of a projection along the slices: columns to the right, rows downwards."""
    along_row, along_column = np.reshape(orientation, (2, 3))
    return Sides(letters(-along_row), letters(along_row), letters(-along_column), letters(along_column))


def sides_across(orientation: Sequence[float], last_on_top: bool) -> Sides:
    """Return the sides of a projection along columns: columns to the right, slices upwards or downwards."""
    along_row, upwards = np.asarray(orientation[:3]), _normal(orientation) * (1 if last_on_top else -1)
    return Sides(letters(-along_row), letters(along_row), letters(upwards), letters(-upwards))


def _normal(orientation: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the direction in which slices rise."""
    return np.cross(orientation[:3], orientation[3:])
