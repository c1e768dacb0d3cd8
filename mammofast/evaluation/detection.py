"""Detection over patients: FROC and average precision with intervals, by bootstrap over patients.

What a candidate is and what it has to hit is not said here: boxes in images and boxes in volumes are counted alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.evaluation.curves import FROC, average_precision, froc
from mammofast.evaluation.statistics import draw_groups

Values = npt.NDArray[np.float64]
# Draws that are worked on at once, so that thousands of candidates need no gigabytes.
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Detections:
    """All candidates of a set of images (or volumes), and whose they are.

    patients: (p,) names, rising. n_images, n_masses: (p,) of each patient. confidences, hits: (n,) of all candidates.
    owners: (n,) index of each candidate's patient.
    """

    patients: tuple[str, ...]
    n_images: npt.NDArray[np.int64]
    n_masses: npt.NDArray[np.int64]
    confidences: Values
    hits: npt.NDArray[np.bool_]
    owners: npt.NDArray[np.int64]

    @classmethod
    def of(cls, images: Iterable[tuple[str, npt.ArrayLike, npt.ArrayLike, int]]) -> "Detections":
        """Put images together: patient, confidences (n,), hits (n,), number of masses, for each image."""
        images = list(images)
        patients = tuple(sorted({patient for patient, *_ in images}))
        number = {patient: i for i, patient in enumerate(patients)}
        owners = np.array([number[patient] for patient, *_ in images], dtype=np.int64)
        counts = [np.size(confidences) for _, confidences, _, _ in images]
        masses = np.array([n for *_, n in images], dtype=np.int64)
        return cls(
            patients,
            np.bincount(owners, minlength=len(patients)),
            np.bincount(owners, masses, len(patients)).astype(np.int64),
            np.concatenate([np.asarray(c, dtype=np.float64).ravel() for _, c, _, _ in images] or [np.empty(0)]),
            np.concatenate([np.asarray(h, dtype=bool).ravel() for *_, h, _ in images] or [np.empty(0, bool)]),
            np.repeat(owners, counts),
        )

    def froc(self) -> FROC:
        """Return the curve over all images; see :func:`mammofast.evaluation.froc`."""
        return froc(self.confidences, self.hits, int(self.n_masses.sum()), int(self.n_images.sum()))

    def average_precision(self) -> float:
        """Return the step-sum average precision; see :func:`mammofast.evaluation.average_precision`."""
        return average_precision(self.confidences, self.hits, int(self.n_masses.sum()))

    @property
    def tells_spread(self) -> bool:
        """Whether two patients or more have a mass: of one no interval can be said."""
        return int(np.count_nonzero(self.n_masses)) > 1

    def intervals(
        self, at: Sequence[float] = (), *, samples: int = 2000, level: float = 0.95, seed: int = 0
    ) -> dict[str, Any]:
        """Return percentile intervals by bootstrap over patients, JSON-ready.

        at: false positives per image at which the curve is read.

        Returns
        -------
        average_precision: [low, high]. sensitivity_at: [low, high] by each of ``at``, as text. None where fewer than
        two patients have a mass.

        """
        if not self.tells_spread:
            return {"average_precision": None, "sensitivity_at": {str(f): None for f in at}}
        precision, sensitivity = self.resample(draw_groups(len(self.patients), samples, seed), at)
        known = ~np.isnan(precision)
        sides = [50 * (1 - level), 50 * (1 + level)]
        spread = np.percentile(sensitivity[known], sides, axis=0).T.tolist() if len(at) else []
        return {
            "average_precision": np.percentile(precision[known], sides).tolist(),
            "sensitivity_at": {str(f): interval for f, interval in zip(at, spread, strict=True)},
        }

    def resample(self, weights: npt.NDArray[np.int64], at: Sequence[float] = ()) -> tuple[Values, Values]:
        """Return average precision (draws,) and sensitivity (draws, len(at)) of draws of patients.

        weights: (draws, p), how often each patient was drawn. NaN where no patient drawn has a mass.
        """
        order = np.argsort(-self.confidences, kind="stable")
        scores, hits, owners = self.confidences[order], self.hits[order], self.owners[order]
        last = np.flatnonzero(np.diff(scores, append=-np.inf) != 0)
        parts = [
            _measure(part[:, owners], hits, last, part @ self.n_masses, part @ self.n_images, at)
            for part in np.split(weights, range(_AT_ONCE, len(weights), _AT_ONCE))
        ]
        return np.concatenate([p for p, _ in parts]), np.concatenate([s for _, s in parts])


def _measure(
    drawn: npt.NDArray[np.int64],
    hits: npt.NDArray[np.bool_],
    last: npt.NDArray[np.int64],
    masses: npt.NDArray[np.int64],
    images: npt.NDArray[np.int64],
    at: Sequence[float],
) -> tuple[Values, Values]:
    """Return what ``resample`` does. drawn: (draws, n) how often each candidate counts, by falling confidence."""
    true = np.cumsum(drawn * hits, axis=1)[:, last]
    false = np.cumsum(drawn * ~hits, axis=1)[:, last]
    whole = np.where(masses > 0, masses, np.nan)
    gained = np.diff(true, axis=1, prepend=0)
    precision = np.sum(gained * true / np.maximum(true + false, 1), axis=1) / whole
    sensitivity = np.empty((len(drawn), len(at)))
    for i, limit in enumerate(at):
        allowed = false / images[:, None] <= limit
        sensitivity[:, i] = np.max(np.where(allowed, true, 0), axis=1, initial=0) / whole
    return precision, sensitivity
