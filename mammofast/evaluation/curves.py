"""Detection at every threshold: FROC and average precision.

Both take all candidates of all images: their confidences, and which of them found a mass (see ``match_boxes``).
Candidates of equal confidence pass a threshold together.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FROC:
    """Free-response operating points by falling threshold, the first one that lets nothing through.

    fp_per_image, sensitivity, thresholds: (n,) float64; thresholds[0] is inf.
    """

    fp_per_image: npt.NDArray[np.float64]
    sensitivity: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]

    def sensitivity_at(self, fp_per_image: float) -> float:
        """Return the highest sensitivity at no more than so many false positives per image."""
        return float(self.sensitivity[self.fp_per_image <= fp_per_image].max())

    def threshold_at(self, fp_per_image: float) -> float:
        """Return the lowest threshold that lets through no more than so many false positives per image."""
        return float(self.thresholds[self.fp_per_image <= fp_per_image].min())


def froc(confidences: npt.ArrayLike, hits: npt.ArrayLike, n_masses: int, n_images: int) -> FROC:
    """Return sensitivity over masses against false positives per image (Bunch et al. 1978).

    n_masses: all masses, found or not. n_images: all images, those without masses or candidates included.
    """
    if n_masses < 1 or n_images < 1:
        raise ValueError(f"n_masses, n_images: got {n_masses} and {n_images}, expected 1 or more of each")
    thresholds, true, false = _steps(confidences, hits)
    zero = np.zeros(1)
    return FROC(
        np.concatenate([zero, false / n_images]),
        np.concatenate([zero, true / n_masses]),
        np.concatenate([[np.inf], thresholds]),
    )


def average_precision(confidences: npt.ArrayLike, hits: npt.ArrayLike, n_masses: int) -> float:
    """Return the area under precision against recall, as the sum of steps Σ (R_k - R_{k-1}) · P_k, not interpolated."""
    if n_masses < 1:
        raise ValueError(f"n_masses: got {n_masses}, expected 1 or more")
    _, true, false = _steps(confidences, hits)
    gained = np.diff(true, prepend=0) / n_masses
    return float(np.sum(gained * true / np.maximum(true + false, 1)))


def _steps(
    confidences: npt.ArrayLike, hits: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return distinct confidences, falling, and how many true and false candidates pass each."""
    scores, found = np.asarray(confidences, dtype=np.float64), np.asarray(hits, dtype=bool)
    if scores.ndim != 1 or scores.shape != found.shape:
        raise ValueError(f"hits: got shape {found.shape}, expected that of confidences, {scores.shape}, and 1-D")
    if np.isnan(scores).any():
        raise ValueError("confidences: got NaN, expected numbers")
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], found[order]
    last = np.flatnonzero(np.diff(scores, append=-np.inf) != 0)
    return scores[last], np.cumsum(found)[last], np.cumsum(~found)[last]
