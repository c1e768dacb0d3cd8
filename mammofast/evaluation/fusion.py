"""P4's table 2: what fusion would have found at other values of λ, from the boxes that results keep of all scales."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.evaluation.matching import match_boxes

# P4's four. At 0 the union of all scales' boxes is kept, though P4 says "all the detections".
LAMBDAS = (0.0, 0.5, 0.6, 0.7)
# Confidences and which of them found a mass.
Candidates = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def can_fuse(run: Mapping[str, Any]) -> bool:
    """Say whether a run (one of ``Results.runs()``) is of a method that fuses, and says at how many scales."""
    return run.get("method") == "two_stage" and "scales" in run.get("parameters", {})


def fused_candidates(
    detections: npt.NDArray[np.float32], n_scales: int, shape: tuple[int, int], masses: npt.ArrayLike, iou: float
) -> dict[float, Candidates]:
    """Return an image's candidates by λ, the fused boxes themselves as P4 counts them.

    Parameters
    ----------
    detections: see :attr:`mammofast.ImageResult.detections`. n_scales: scales that were run. shape: (rows, cols).
    masses: boxes of the true masses (m, 4). iou: from which a box finds a mass.

    """
    boxes = np.ascontiguousarray(detections[:, 1:5])
    scores = np.ascontiguousarray(detections[:, 5])
    found = {}
    for threshold in LAMBDAS:
        fused = ops.fuse_boxes(boxes, scores, n_scales, shape, threshold)
        confidences = fused.confidence.astype(np.float64)
        found[threshold] = (confidences, match_boxes(fused.boxes, confidences, masses, iou) >= 0)
    return found
