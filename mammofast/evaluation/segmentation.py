"""How well the masks of images with a mass fit: P1's, P2's and P4's measures, image by image and pooled.

P1 and P2 do not say which of the two they average. P1's pair DI .7697 and IOU .6041 is possible of neither: IoU is
Dice / (2 - Dice), a convex function, so the mean IoU of images whose Dice is .7697 on average is at least .6256.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.evaluation.distances import hausdorff
from mammofast.evaluation.masks import dice, iou, relative_area_difference, sensitivity
from mammofast.evaluation.statistics import bootstrap_interval

MEASURES = ("dice", "iou", "sensitivity", "relative_area_difference", "hausdorff_px", "hausdorff_mm")


@dataclass(frozen=True, slots=True)
class Fit:
    """One image with a mass: its predicted mask against the true one.

    study_uid: whose image it is. values: by ``MEASURES``; NaN for a distance where nothing was predicted, and in mm
    where the size of pixels is not known. both, predicted, true: pixels.
    """

    study_uid: str
    values: tuple[float, ...]
    both: int
    predicted: int
    true: int


def fit(
    study_uid: str,
    prediction: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.bool_],
    spacing: tuple[float, float] | None,
) -> Fit:
    """Measure one image; spacing: mm between rows and between columns, where known."""
    anything = bool(prediction.any())
    values = (
        dice(prediction, truth),
        iou(prediction, truth),
        sensitivity(prediction, truth),
        relative_area_difference(prediction, truth),
        hausdorff(prediction, truth) if anything else float("nan"),
        hausdorff(prediction, truth, spacing) if anything and spacing else float("nan"),
    )
    both = int(np.count_nonzero(prediction & truth))
    return Fit(study_uid, values, both, int(np.count_nonzero(prediction)), int(np.count_nonzero(truth)))


def summarize(fits: Sequence[Fit], samples: int, seed: int) -> dict[str, Any]:
    """Return the measures of images with a mass, JSON-ready.

    Returns
    -------
    per_image: by measure its mean over images, the 95 % interval of it by bootstrap over studies (None of one study),
    and n, the images that it is of; distances leave out images on which nothing was predicted.
    pooled: dice, iou, sensitivity and relative_area_difference of all images' pixels together.

    """
    per_image = {}
    for index, name in enumerate(MEASURES):
        known = [f for f in fits if not np.isnan(f.values[index])]
        values, studies = [f.values[index] for f in known], [f.study_uid for f in known]
        several = len(set(studies)) > 1
        per_image[name] = {
            "mean": float(np.mean(values)) if values else None,
            "interval": list(bootstrap_interval(values, studies, samples=samples, seed=seed)) if several else None,
            "n": len(values),
        }
    return {"n_images": len(fits), "per_image": per_image, "pooled": _pooled(fits) if fits else None}


def _pooled(fits: Sequence[Fit]) -> dict[str, float]:
    both, predicted, true = (sum(getattr(f, name) for f in fits) for name in ("both", "predicted", "true"))
    return {
        "dice": 2 * both / (predicted + true),
        "iou": both / (predicted + true - both),
        "sensitivity": both / true,
        "relative_area_difference": abs(predicted - true) / true,
    }
