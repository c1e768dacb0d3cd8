"""Results against truth: masses found, false positives, and how well masks fit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mammofast.evaluation.fusion import LAMBDAS
from mammofast.evaluation.groups import breakdown
from mammofast.evaluation.measuring import Measured, MeasuredImage, measure
from mammofast.evaluation.segmentation import summarize as summarize_masks
from mammofast.evaluation.statistics import ratio_interval
from mammofast.evaluation.truth import Truth

SAMPLES = 2000
FROC_AT = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


def evaluate(
    results: str | Path,
    truth: str | Path | Truth,
    *,
    bundle_id: str | None = None,
    settings_id: str | None = None,
    masks: bool = False,
    by: Sequence[str] = (),
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure results against truth.

    A finding's box finds a mass where their IoU is at least 0.5, one finding a mass (see ``match_boxes``). Every image
    that was screened and has truth counts, those without a mass too. An image that failed counts as one on which
    nothing was found; one that was skipped does not count.

    Parameters
    ----------
    results: a results folder.
    truth: a folder of SOP_UID.png, 8-bit, native size, 0 = no mass, k = mass k; or what ``open_truth`` returns.
    bundle_id, settings_id: which run's results; needed where there are several.
    masks: measure how well masks fit as well, which takes SciPy and time: see
        :func:`mammofast.evaluation.segmentation.summarize`.
    by: kinds of masses to tell apart, see :func:`mammofast.evaluation.groups.breakdown`.
    samples, seed: of the bootstrap, which draws patients with replacement; where the truth does not say whose an image
        is, its study stands for the patient.
    progress: called with the number of images just measured, and of all there are.

    Returns
    -------
    dict, JSON-ready
        As :func:`summarize`.

    Raises
    ------
    ResultsError
        When there are no results, no truth for them, several runs and no word of which, or nothing is said of any mass
        by which they are to be told apart.

    """
    measured = measure(results, truth, bundle_id=bundle_id, settings_id=settings_id, masks=masks, progress=progress)
    return summarize(measured, by=by, samples=samples, seed=seed)


def summarize(measured: Measured, *, by: Sequence[str] = (), samples: int = SAMPLES, seed: int = 0) -> dict[str, Any]:
    """Return what can be said of all images together, JSON-ready.

    Returns
    -------
    dict
        sensitivity: masses found / masses. fp_per_image: findings that found none / images. dice_mean: over images with
        a mass, all findings' masks against all masses; a missed image counts 0. average_precision, froc_sensitivity
        (by false positives per image). intervals: 95 % of these five. n_images, n_studies, n_patients, n_masses,
        n_findings, n_failed, n_without_truth, n_outside_split (images of which only a split keeps the truth back).
        masks, by, fusion (P4's table 2, by λ): where asked for. What nothing can be said of is None, and so is an
        interval where fewer than two patients have anything to say.

    """
    images, found = measured.images, measured.detections()
    n_masses = int(found.n_masses.sum())
    curve = found.froc() if n_masses else None
    values, intervals = _ratios(images, samples, seed)
    spread = found.intervals(FROC_AT, samples=samples, seed=seed)
    return {
        **values,
        "average_precision": found.average_precision() if n_masses else None,
        "froc_sensitivity": {str(at): curve.sensitivity_at(at) for at in FROC_AT} if curve else None,
        "intervals": {
            **intervals,
            "average_precision": spread["average_precision"],
            "froc_sensitivity": spread["sensitivity_at"] if curve else None,
        },
        "n_images": len(images),
        "n_studies": len({image.study_uid for image in images}),
        "n_patients": len(found.patients),
        "n_masses": n_masses,
        "n_findings": len(found.hits),
        "n_failed": sum(image.failed for image in images),
        "n_without_truth": measured.n_without_truth,
        "n_outside_split": measured.n_outside_split,
        "bundle_id": measured.run["bundle_id"],
        "settings_id": measured.run["settings_id"],
        "notices": list(measured.notices),
        **({"by": {kind: breakdown(images, kind, samples, seed) for kind in by}} if by else {}),
        **_of_masks(measured, samples, seed),
    }


def _ratios(
    images: Sequence[MeasuredImage], samples: int, seed: int
) -> tuple[dict[str, float | None], dict[str, list[float] | None]]:
    """Return the measures that are ratios of sums over images, and their intervals."""
    patients = [image.patient for image in images]
    found = [int(image.hits.sum()) for image in images]
    columns: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "sensitivity": (found, [len(image.masses) for image in images]),
        "fp_per_image": ([len(image.hits) - n for image, n in zip(images, found, strict=True)], [1] * len(images)),
        "dice_mean": ([image.dice or 0.0 for image in images], [image.dice is not None for image in images]),
    }
    values: dict[str, float | None] = {}
    intervals: dict[str, list[float] | None] = {}
    for name, (parts, wholes) in columns.items():
        values[name] = float(sum(parts) / sum(wholes)) if sum(wholes) else None
        interval = ratio_interval(parts, wholes, patients, samples=samples, seed=seed)
        intervals[name] = interval and list(interval)
    return values, intervals


def _of_masks(measured: Measured, samples: int, seed: int) -> dict[str, Any]:
    """Return what was asked for with masks, if it was."""
    fits = [image.fit for image in measured.images if image.fit is not None]
    if not fits:
        return {}
    found: dict[str, Any] = {"masks": summarize_masks(fits, samples, seed)}
    if all(image.fused for image in measured.images):
        found["fusion"] = {str(threshold): _at(measured, threshold, samples, seed) for threshold in LAMBDAS}
    return found


def _at(measured: Measured, threshold: float, samples: int, seed: int) -> dict[str, Any]:
    """Return TPR@FPavg at a λ, and intervals."""
    fused = measured.fused(threshold)
    patients = [image.patient for image in measured.images]
    hits = [int(image.fused[threshold][1].sum()) for image in measured.images]
    false = [len(image.fused[threshold][1]) - n for image, n in zip(measured.images, hits, strict=True)]
    masses = [len(image.masses) for image in measured.images]
    pairs = {"sensitivity": (hits, masses), "fp_per_image": (false, [1] * len(masses))}
    intervals = {name: ratio_interval(*pair, patients, samples=samples, seed=seed) for name, pair in pairs.items()}
    n_masses = int(fused.n_masses.sum())
    return {
        "sensitivity": sum(hits) / n_masses if n_masses else None,
        "fp_per_image": sum(false) / len(masses),
        "intervals": {name: interval and list(interval) for name, interval in intervals.items()},
    }
