"""Candidates of many images against their truth, and what is said of a FROC curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.evaluation import FROC, Detections, match_boxes
from mammofast.evaluation.statistics import draw_groups

AT = (0.01, 0.02, 0.05, 0.10, 0.20, 0.30)
LIMIT = 0.30
SAMPLES = 2000
# Boxes (n, 4) and confidences (n,) of one image.
Found = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Truth:
    """The masses' boxes of every image, and which study each image is of, counted from 0."""

    boxes: Sequence[npt.NDArray[np.int64]]
    studies: npt.NDArray[np.int64]


def marked(found: Sequence[Found], truth: Truth) -> Detections:
    """Return all candidates of one way, by study, and which of them found a mass."""
    studies = [f"{study:08}" for study in truth.studies]
    return Detections.of(
        (study, confidences, match_boxes(boxes, confidences, masses) >= 0, len(masses))
        for study, (boxes, confidences), masses in zip(studies, found, truth.boxes, strict=True)
    )


def describe(curve: FROC) -> dict[str, Any]:
    """Return a curve whole, and what one reads off it."""
    return {
        "sensitivity_at": {str(at): curve.sensitivity_at(at) for at in AT},
        "mean_sensitivity_to_0.30": mean_sensitivity(curve),
        "ends_at_fp_per_image": curve.fp_per_image[-1],
        "ends_at_sensitivity": curve.sensitivity[-1],
        "fp_per_image": corners(curve)[0].tolist(),
        "sensitivity": corners(curve)[1].tolist(),
    }


def mean_sensitivity(curve: FROC) -> float:
    """Return the area under the steps up to ``LIMIT`` over its width; a curve that ends goes on level."""
    x = np.concatenate([np.minimum(curve.fp_per_image, LIMIT), [LIMIT]])
    return float(np.sum(np.diff(x) * curve.sensitivity) / LIMIT)


def corners(curve: FROC) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the curve's points without those between two on the same level or the same upright."""
    x, y = curve.fp_per_image, curve.sensitivity
    level, upright = np.diff(y) == 0, np.diff(x) == 0
    turns = ~((level[:-1] & level[1:]) | (upright[:-1] & upright[1:]))
    kept = np.concatenate([[True], turns, [True]]) if len(x) > 1 else np.ones(len(x), bool)
    return x[kept], y[kept]


def differences(ours: Detections, others: Mapping[str, Detections], seed: int = 0) -> dict[str, Any]:
    """Return ours minus each other's sensitivity at equal false positives per image, with 95 % intervals.

    The bootstrap draws studies, the same for both sides.
    """
    n_studies = len(ours.patients)
    weights = np.concatenate([np.ones((1, n_studies), np.int64), draw_groups(n_studies, SAMPLES, seed)])
    _, mine = ours.resample(weights, AT)
    result: dict[str, Any] = {}
    for name, other in others.items():
        difference = mine - other.resample(weights, AT)[1]
        low, high = np.nanpercentile(difference[1:], [2.5, 97.5], axis=0)
        result[name] = {
            str(at): {"difference": float(d), "interval": [float(a), float(b)]}
            for at, d, a, b in zip(AT, difference[0], low, high, strict=True)
        }
    return result
