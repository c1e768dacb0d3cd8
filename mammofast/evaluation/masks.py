"""Pixel by pixel: a predicted mask against the true one.

Masks are arrays of one shape; what is not zero is mass. Where a measure would divide by nothing it is NaN, but two
empty masks agree: their Dice and IoU are 1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class _Counts:
    both: int
    prediction: int
    truth: int
    pixels: int


def dice(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return 2·|P∩T| / (|P| + |T|)."""
    n = _count(prediction, truth)
    return _ratio(2 * n.both, n.prediction + n.truth, empty=1.0)


def iou(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return |P∩T| / |P∪T|, the Jaccard index."""
    n = _count(prediction, truth)
    return _ratio(n.both, n.prediction + n.truth - n.both, empty=1.0)


def sensitivity(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the part of the true pixels that was predicted."""
    n = _count(prediction, truth)
    return _ratio(n.both, n.truth)


def precision(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the part of the predicted pixels that is true."""
    n = _count(prediction, truth)
    return _ratio(n.both, n.prediction)


def specificity(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return the part of the pixels outside the truth that was left alone."""
    n = _count(prediction, truth)
    return _ratio(n.pixels - n.prediction - n.truth + n.both, n.pixels - n.truth)


def relative_area_difference(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return | |P| - |T| | / |T|, P2's eq. 12; two empty masks differ by 0."""
    n = _count(prediction, truth)
    return _ratio(abs(n.prediction - n.truth), n.truth, empty=float("nan") if n.prediction else 0.0)


def _count(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> _Counts:
    p, t = np.asarray(prediction) != 0, np.asarray(truth) != 0
    if p.shape != t.shape:
        raise ValueError(f"prediction: got shape {p.shape}, expected the truth's {t.shape}")
    return _Counts(int(np.count_nonzero(p & t)), int(np.count_nonzero(p)), int(np.count_nonzero(t)), p.size)


def _ratio(part: int, whole: int, empty: float = float("nan")) -> float:
    return part / whole if whole else empty
