"""Results against truth: masses found, false positives, and how well masks fit."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import ResultsError
from mammofast.evaluation.curves import average_precision, froc
from mammofast.evaluation.masks import dice
from mammofast.evaluation.matching import match_boxes
from mammofast.evaluation.segmentation import Fit, fit, summarize
from mammofast.evaluation.truth import Truth, label_boxes, open_truth
from mammofast.screening import Results, open_results

IOU_THRESHOLD = 0.5
_SAMPLES = 2000
_FROC_AT = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class _Image:
    """One image measured. ``dice``: None where it has no mass. ``fit``: where masks were asked for as well."""

    study_uid: str
    confidences: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    n_masses: int
    dice: float | None
    fit: Fit | None = None


def evaluate(
    results: str | Path,
    truth: str | Path | Truth,
    *,
    bundle_id: str | None = None,
    settings_id: str | None = None,
    masks: bool = False,
    samples: int = _SAMPLES,
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
    samples, seed: of the bootstrap, which draws studies with replacement.
    progress: called with the number of images just measured, and of all there are.

    Returns
    -------
    dict, JSON-ready
        sensitivity: masses found / masses. fp_per_image: findings that found none / images. dice_mean: over images with
        a mass, all findings' masks against all masses; a missed image counts 0. average_precision, froc_sensitivity
        (by false positives per image). intervals: 95 % of sensitivity, fp_per_image and dice_mean. n_images, n_studies,
        n_masses, n_findings, n_failed, n_without_truth. masks: where asked for. What nothing can be said of is None.

    Raises
    ------
    ResultsError
        When there are no results, no truth for them, or several runs and no word of which.

    """
    opened = open_results(results)
    known_truth = open_truth(truth) if isinstance(truth, str | Path) else truth
    rows = _rows_of_one_run(opened, bundle_id, settings_id)
    boxes = defaultdict(list)
    for finding in opened.findings().to_pylist():
        boxes[(finding["sop_uid"], finding["bundle_id"], finding["settings_id"])].append(finding)
    known = [row for row in rows if row["sop_uid"] in known_truth]
    if not known:
        raise ResultsError(
            "there is no truth for any screened image; expected SOP_INSTANCE_UID.png files, or the data set that was "
            "screened and its layout"
        )
    images = []
    for row in known:
        found = boxes[(row["sop_uid"], row["bundle_id"], row["settings_id"])]
        images.append(_measure(opened, row, found, known_truth, masks))
        if progress is not None:
            progress(1, len(known))
    confidences = np.concatenate([image.confidences for image in images])
    hits = np.concatenate([image.hits for image in images])
    n_masses = sum(image.n_masses for image in images)
    curve = froc(confidences, hits, n_masses, len(images)) if n_masses else None
    values, intervals = _with_intervals(images, samples, seed)
    return {
        **values,
        "average_precision": average_precision(confidences, hits, n_masses) if n_masses else None,
        "froc_sensitivity": {str(at): curve.sensitivity_at(at) for at in _FROC_AT} if curve else None,
        "intervals": intervals,
        "n_images": len(images),
        "n_studies": len({image.study_uid for image in images}),
        "n_masses": n_masses,
        "n_findings": len(hits),
        "n_failed": sum(row["status"] == "failed" for row in known),
        "n_without_truth": len(rows) - len(known),
        "bundle_id": rows[0]["bundle_id"],
        "settings_id": rows[0]["settings_id"],
        "notices": opened.notices(),
        **({"masks": summarize([i.fit for i in images if i.fit is not None], samples, seed)} if masks else {}),
    }


def _rows_of_one_run(results: Results, bundle_id: str | None, settings_id: str | None) -> list[dict[str, Any]]:
    rows = [
        row
        for row in results.images().to_pylist()
        if row["sop_uid"] is not None
        and row["status"] in ("done", "failed")
        and bundle_id in (None, row["bundle_id"])
        and settings_id in (None, row["settings_id"])
    ]
    runs = {(row["bundle_id"], row["settings_id"]) for row in rows}
    if len(runs) > 1:
        listed = "; ".join(f"bundle_id {b}, settings_id {s}" for b, s in sorted(runs))
        raise ResultsError(f"{results.path} holds the results of {len(runs)} runs, say which: {listed}")
    if not rows:
        raise ResultsError(f"{results.path} holds no results of images with these ids; run `mammofast screen` first")
    # A second file of the same UID may have failed beside the image that was kept: an image counts once.
    images: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["status"] == "done" or row["sop_uid"] not in images:
            images[row["sop_uid"]] = row
    return list(images.values())


def _measure(
    results: Results, row: dict[str, Any], findings: list[dict[str, Any]], truth: Truth, masks: bool
) -> _Image:
    # What was lost before it could be read, or with its result, has no size.
    shape = None if row["rows"] is None else (row["rows"], row["cols"])
    labels = truth.labels(row["sop_uid"], shape)
    masses = label_boxes(labels)
    boxes = [[finding[name] for name in ("x_min", "y_min", "x_max", "y_max")] for finding in findings]
    confidences = np.array([finding["confidence"] for finding in findings], dtype=np.float64)
    hits = match_boxes(boxes, confidences, masses, IOU_THRESHOLD) >= 0
    study = row["study_uid"] or row["sop_uid"]  # what was lost with its result is a study by itself
    if not len(masses):
        return _Image(study, confidences, hits, 0, None)
    mask = np.zeros(labels.shape, np.bool_)
    run = row["bundle_id"], row["settings_id"]
    if findings:
        mask = results.mask(row["sop_uid"], *run)
    measured = None
    if masks:
        spacing = results.pixel_spacing(row["sop_uid"], *run) if findings else None
        measured = fit(study, mask, labels > 0, spacing)
    return _Image(study, confidences, hits, len(masses), dice(mask, labels), measured)


def _with_intervals(
    images: list[_Image], samples: int, seed: int
) -> tuple[dict[str, float | None], dict[str, list[float] | None]]:
    """Return the measures and their 95 % intervals: percentiles over studies drawn with replacement.

    All measures are ratios of sums over studies, so that a draw is a weight for each study.
    """
    sums = _sums_by_study(images)
    weights = np.random.default_rng(seed).multinomial(
        len(sums), np.full(len(sums), 1 / len(sums)), size=samples if len(sums) > 1 else 0
    )
    values: dict[str, float | None] = {}
    intervals: dict[str, list[float] | None] = {}
    for name, part, whole in _ratios(sums):
        values[name] = float(part.sum() / whole.sum()) if whole.sum() else None
        wholes = weights @ whole
        drawn = (weights @ part)[wholes > 0] / wholes[wholes > 0]
        intervals[name] = [float(v) for v in np.percentile(drawn, [2.5, 97.5])] if len(drawn) else None
    return values, intervals


def _ratios(
    sums: npt.NDArray[np.float64],
) -> Iterator[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    n_found, n_masses, n_false, n_images, dices, n_dices = sums.T
    yield "sensitivity", n_found, n_masses
    yield "fp_per_image", n_false, n_images
    yield "dice_mean", dices, n_dices


def _sums_by_study(images: list[_Image]) -> npt.NDArray[np.float64]:
    """Return (studies, 6): masses found, masses, false positives, images, sum of Dice, images with a mass."""
    studies: dict[str, npt.NDArray[np.float64]] = defaultdict(lambda: np.zeros(6))
    for image in images:
        found = int(image.hits.sum())
        studies[image.study_uid] += (
            found,
            image.n_masses,
            len(image.hits) - found,
            1,
            image.dice or 0.0,
            image.dice is not None,
        )
    return np.array([studies[uid] for uid in sorted(studies)])
