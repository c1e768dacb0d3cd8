"""Candidates of many images against their truth, and what is said of a FROC curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.evaluation import FROC, froc, match_boxes

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

    @property
    def masses(self) -> npt.NDArray[np.int64]:
        return np.array([len(boxes) for boxes in self.boxes])


@dataclass(frozen=True)
class Marks:
    """All candidates of one way: confidence, whether it found a mass, and of which study it is."""

    confidences: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    studies: npt.NDArray[np.int64]

    @classmethod
    def of(cls, found: Sequence[Found], truth: Truth) -> "Marks":
        hits = [match_boxes(boxes, c, t) >= 0 for (boxes, c), t in zip(found, truth.boxes, strict=True)]
        counts = [len(confidences) for _, confidences in found]
        return cls(
            np.concatenate([c for _, c in found]).astype(np.float64),
            np.concatenate(hits),
            np.repeat(truth.studies, counts),
        )

    def curve(self, truth: Truth) -> FROC:
        return froc(self.confidences, self.hits, int(truth.masses.sum()), len(truth.boxes))


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


def differences(ours: Marks, others: Mapping[str, Marks], truth: Truth, seed: int = 0) -> dict[str, Any]:
    """Return ours minus each other's sensitivity at equal false positives per image, with 95 % intervals.

    The bootstrap draws studies, the same for both sides.
    """
    n_studies = int(truth.studies.max()) + 1
    weights = np.random.default_rng(seed).multinomial(n_studies, np.full(n_studies, 1 / n_studies), size=SAMPLES)
    weights = np.concatenate([np.ones((1, n_studies), int), weights])
    masses = weights[:, truth.studies] @ truth.masses
    images = weights[:, truth.studies].sum(axis=1)
    mine = _sensitivities(ours, weights, masses, images)
    result: dict[str, Any] = {}
    for name, other in others.items():
        difference = mine - _sensitivities(other, weights, masses, images)
        low, high = np.percentile(difference[1:], [2.5, 97.5], axis=0)
        result[name] = {
            str(at): {"difference": float(d), "interval": [float(a), float(b)]}
            for at, d, a, b in zip(AT, difference[0], low, high, strict=True)
        }
    return result


def _sensitivities(
    marks: Marks, weights: npt.NDArray[Any], masses: npt.NDArray[Any], images: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return (draws, AT): the sensitivity at each allowed number of false positives, in each weighting of studies."""
    order = np.argsort(-marks.confidences, kind="stable")
    confidences, hits = marks.confidences[order], marks.hits[order]
    weight = weights[:, marks.studies[order]]
    last = np.flatnonzero(np.diff(confidences, append=-np.inf) != 0)  # equal ones pass together
    true = np.cumsum(weight * hits, axis=1)[:, last]
    false = np.cumsum(weight * ~hits, axis=1)[:, last]
    found = np.empty((len(weights), len(AT)))
    for i, at in enumerate(AT):
        passing = (false <= at * images[:, None]).sum(axis=1)
        found[:, i] = np.where(passing > 0, np.take_along_axis(true, np.maximum(passing - 1, 0)[:, None], 1)[:, 0], 0)
    return found / np.maximum(masses, 1)[:, None]
