"""How well masks fit, image by image and all pixels together: P1's, P2's, P3's and P4's measures.

P1 and P2 do not say which of the two they average. P1's pair DI .7697 and IOU .6041 is possible of neither: IoU is
Dice / (2 - Dice), a convex function, so the mean IoU of images whose Dice is .7697 on average is at least .6256.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.evaluation.distances import hausdorff
from mammofast.evaluation.masks import dice, iou, relative_area_difference, sensitivity
from mammofast.evaluation.statistics import ratio_interval, sums_interval

MEASURES = ("dice", "iou", "sensitivity", "relative_area_difference", "hausdorff_px", "hausdorff_mm")
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """One image's predicted mask against the true one.

    patient: whose image it is. values: by ``MEASURES``; NaN where they divide by nothing, for a distance where one of
    the masks is empty, and in mm where the size of pixels is not known. both, predicted, true, total: pixels.
    """

    patient: str
    values: tuple[float, ...]
    both: int
    predicted: int
    true: int
    total: int


def fit(
    patient: str,
    prediction: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.bool_],
    spacing: tuple[float, float] | None,
) -> Fit:
    """Measure one image; spacing: mm between rows and between columns, where known."""
    anything = bool(prediction.any() and truth.any())
    values = (
        dice(prediction, truth),
        iou(prediction, truth),
        sensitivity(prediction, truth),
        relative_area_difference(prediction, truth),
        hausdorff(prediction, truth) if anything else float("nan"),
        hausdorff(prediction, truth, spacing) if anything and spacing else float("nan"),
    )
    both, predicted, true = (int(np.count_nonzero(m)) for m in (prediction & truth, prediction, truth))
    return Fit(patient, values, both, predicted, true, truth.size)


def summarize(fits: Sequence[Fit], samples: int, seed: int) -> dict[str, Any]:
    """Return the measures of masks, JSON-ready.

    Returns
    -------
    n_images: those with a mass, of which are
    per_image: by measure its mean over images, the 95 % interval of it by bootstrap over patients, and n, the images
    that it is of; distances leave out images on which nothing was predicted.
    pooled, pooled_intervals: dice, iou, sensitivity and relative_area_difference of these images' pixels together.
    classes: of all images, those without a mass too, breast and mass as two classes: pixel_accuracy, mean_iou and
    mean_class_accuracy as P3 has them, of all pixels together, and classes_per_image, their means over images.
    Intervals are None where fewer than two patients say anything.

    """
    diseased, patients = [f for f in fits if f.true], [f.patient for f in fits]
    per_image = {
        name: _mean([f.values[index] if f.true else float("nan") for f in fits], patients, samples, seed)
        for index, name in enumerate(MEASURES)
    }
    sums = np.array([(f.both, f.predicted, f.true) for f in diseased], dtype=np.float64).reshape(-1, 3)
    pooled, pooled_intervals = _of_sums(sums, [f.patient for f in diseased], _POOLED, samples, seed)
    all_sums = np.array([(f.both, f.predicted, f.true, f.total) for f in fits], dtype=np.float64).reshape(-1, 4)
    classes, class_intervals = _of_sums(all_sums, patients, _CLASSES, samples, seed)
    return {
        "n_images": len(diseased),
        "per_image": per_image,
        "pooled": pooled,
        "pooled_intervals": pooled_intervals,
        "n_images_classes": len(fits),
        "classes": classes,
        "classes_intervals": class_intervals,
        "classes_per_image": {
            name: _mean(of(all_sums).tolist(), patients, samples, seed) for name, of in _CLASSES.items()
        },
    }


def _mean(values: Sequence[float], patients: Sequence[str], samples: int, seed: int) -> dict[str, Any]:
    """Return the mean of what is not NaN; all patients are drawn from, those of whom nothing is known too."""
    numbers = np.array(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    interval = ratio_interval(np.where(known, numbers, 0), known, patients, samples=samples, seed=seed)
    return {
        "mean": float(numbers[known].mean()) if known.any() else None,
        "interval": interval and list(interval),
        "n": int(known.sum()),
    }


def _of_sums(
    sums: Values, patients: Sequence[str], measures: dict[str, Callable[[Values], Values]], samples: int, seed: int
) -> tuple[dict[str, float] | None, dict[str, list[float] | None]]:
    """Return measures of the sums over images, and their intervals."""
    if not len(sums):
        return None, dict.fromkeys(measures)
    whole = sums.sum(axis=0, keepdims=True)
    values = {name: float(of(whole)[0]) for name, of in measures.items()}
    intervals = {}
    for name, of in measures.items():
        interval = sums_interval(sums, patients, of, samples=samples, seed=seed)
        intervals[name] = interval and list(interval)
    return values, intervals


# Of sums (n, 3): pixels in both masks, predicted, true.
_POOLED: dict[str, Callable[[Values], Values]] = {
    "dice": lambda s: 2 * s[:, 0] / (s[:, 1] + s[:, 2]),
    "iou": lambda s: s[:, 0] / (s[:, 1] + s[:, 2] - s[:, 0]),
    "sensitivity": lambda s: s[:, 0] / s[:, 2],
    "relative_area_difference": lambda s: np.abs(s[:, 1] - s[:, 2]) / s[:, 2],
}


def _cells(s: Values) -> tuple[Values, Values]:
    """Return, class by class, intersections and truths (n, 2), of sums (n, 4): both, predicted, true, all pixels."""
    both, predicted, true, total = s.T
    neither = total - predicted - true + both
    return np.stack([neither, both], axis=1), np.stack([total - true, true], axis=1)


def _pixel_accuracy(s: Values) -> Values:
    right, _ = _cells(s)
    return np.asarray(right.sum(axis=1) / s[:, 3])


def _mean_iou(s: Values) -> Values:
    right, truth = _cells(s)
    predicted = np.stack([s[:, 3] - s[:, 1], s[:, 1]], axis=1)
    return _mean_known(right, truth + predicted - right)


def _mean_class_accuracy(s: Values) -> Values:
    return _mean_known(*_cells(s))


def _mean_known(part: Values, whole: Values) -> Values:
    """Return the mean over classes of part / whole (n,), classes without a whole left out."""
    ratios = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return np.asarray(ratios.sum(axis=1) / (whole > 0).sum(axis=1))


_CLASSES: dict[str, Callable[[Values], Values]] = {
    "pixel_accuracy": _pixel_accuracy,
    "mean_iou": _mean_iou,
    "mean_class_accuracy": _mean_class_accuracy,
}
