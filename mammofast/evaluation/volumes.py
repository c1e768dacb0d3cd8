"""Results of volumes against truth, as P5 measures: the breast region's fit, and masses found in three dimensions.

P5 says "for each validation image" of the region's measures and "from 15 different cases" of their means; a case is its
unit elsewhere, so the measures are of a whole volume here, and their means over slices stand beside them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import ResultsError
from mammofast.evaluation.detection import Detections
from mammofast.evaluation.masks import dice, iou, sensitivity
from mammofast.evaluation.matching import match_boxes
from mammofast.evaluation.measuring import entries_of_one_run
from mammofast.evaluation.statistics import ratio_interval
from mammofast.evaluation.volume_truth import OUTSIDE, VolumeTruth, mass_boxes
from mammofast.screening import open_results
from mammofast.screening.entry import Entry

# P5: "greater than 0.5".
IOU_THRESHOLD = 0.5
# 3.4 is P5's operating point.
FROC_AT = (0.5, 1.0, 2.0, 3.4, 4.0, 8.0)
_REGION = {"dice": dice, "iou": iou, "sensitivity": sensitivity}


@dataclass(frozen=True, slots=True)
class MeasuredVolumes:
    """A run's volumes that have truth, measured, by SOP Instance UID. run: its summary, with bundle_id and settings_id.

    counts: n_studies, n_failed, n_without_truth, n_outside_split.
    """

    run: dict[str, Any]
    volumes: dict[str, "MeasuredVolume"]
    counts: dict[str, int]
    notices: list[str]

    def summary(self, samples: int = 2000, seed: int = 0) -> dict[str, Any]:
        """Return :func:`summarize` of them, and counts, bundle_id, settings_id and notices."""
        ids = {name: self.run[name] for name in ("bundle_id", "settings_id")}
        measures = summarize(list(self.volumes.values()), samples, seed)
        return {**measures, **self.counts, **ids, "notices": self.notices}


def evaluate_volumes(
    results: str | Path,
    truth: VolumeTruth,
    *,
    bundle_id: str | None = None,
    settings_id: str | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return :func:`measure_volumes`' summary; parameters and errors as there.

    samples, seed: of the bootstrap.
    """
    measured = measure_volumes(results, truth, bundle_id=bundle_id, settings_id=settings_id)
    return measured.summary(samples, seed)


def measure_volumes(
    results: str | Path,
    truth: VolumeTruth,
    *,
    bundle_id: str | None = None,
    settings_id: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MeasuredVolumes:
    """Measure results of volumes against truth.

    A candidate's box finds a mass where their IoU in three dimensions is above 0.5, one candidate finding a mass (see
    ``match_boxes``). Every volume that was screened and has truth counts, those without a mass too. A volume that
    failed counts as one in which nothing was found, no breast either; one that was skipped does not count.

    Parameters
    ----------
    results: a results folder. truth: see :class:`VolumeTruth`.
    bundle_id, settings_id: which run's results; needed where there are several.
    progress: called with the number of volumes just measured, and of all there are.

    Raises
    ------
    ResultsError
        When there are no results, no truth for them, or several runs and no word of which.

    """
    opened = open_results(results)
    entries = entries_of_one_run(opened, bundle_id, settings_id)
    known = [entry for entry in entries if str(entry.image.sop_uid) in truth]
    outside = sum(truth.outside_split(str(entry.image.sop_uid)) for entry in entries)
    if outside and not known:
        raise ResultsError(f"none of the {outside} screened volumes with truth tests in this split")
    if not known:
        raise ResultsError(
            "there is no truth for any screened volume; expected SOP_INSTANCE_UID.npy files, named by the first slice "
            "of the first phase, as `mammofast phantom --kind dce-mri` writes them"
        )
    volumes = {}
    for entry in known:
        volumes[str(entry.image.sop_uid)] = _measure(entry, truth)
        if progress is not None:
            progress(1, len(known))
    counts = {
        "n_studies": len({entry.image.study_uid or entry.image.sop_uid for entry in known}),
        "n_failed": sum(entry.status == "failed" for entry in known),
        "n_without_truth": len(entries) - len(known) - outside,
        "n_outside_split": outside,
    }
    ids = {"bundle_id": known[0].run.bundle_id, "settings_id": known[0].run.settings_id}
    run = next((each for each in opened.runs() if ids.items() <= each.items()), ids)
    return MeasuredVolumes(run, volumes, counts, opened.notices())


def _measure(entry: Entry, truth: VolumeTruth) -> "MeasuredVolume":
    image, uid = entry.image, str(entry.image.sop_uid)
    # What was lost before it could be read, or with its result, has no size.
    shape = None
    if image.slices is not None and image.rows is not None and image.cols is not None:
        shape = image.slices, image.rows, image.cols
    labels = truth.labels(uid, shape)
    try:
        region = entry.region_mask()
        findings = [stored.volume_finding() for stored in entry.findings]
    except ValueError as error:
        raise ResultsError(f"{uid}: its findings cannot be read: {error}") from error
    boxes = [[*f.box[:2], f.z_min, *f.box[2:], f.z_max] for f in findings]
    return measure_volume(
        truth.patient(uid) or image.study_uid or uid,
        boxes,
        [finding.confidence for finding in findings],
        np.zeros(labels.shape, dtype=bool) if region is None else region,
        labels,
    )


@dataclass(frozen=True, slots=True)
class MeasuredVolume:
    """One volume measured.

    patient: whose volume it is, as far as known; else its study. confidences, hits: of its candidates. region: by
    measure. slices: the same of each slice in which the true region or the predicted one has a pixel. NaN where a
    measure would divide by nothing.
    """

    patient: str
    confidences: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    n_masses: int
    region: dict[str, float]
    slices: dict[str, npt.NDArray[np.float64]]


def measure_volume(
    patient: str,
    boxes: npt.ArrayLike,
    confidences: npt.ArrayLike,
    region: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.integer[Any]],
) -> MeasuredVolume:
    """Measure one volume.

    Parameters
    ----------
    patient: whose volume it is: the bootstrap draws patients, with all their volumes.
    boxes: (n, 6), (x_min, y_min, z_min, x_max, y_max, z_max), half-open, in voxels. confidences: (n,).
    region: bool (slices, rows, cols), the breast as found. labels: as of :class:`VolumeTruth`.
    """
    ranks = np.asarray(confidences, dtype=np.float64)
    masses = mass_boxes(labels)
    hits = match_boxes(boxes, ranks, masses, IOU_THRESHOLD, strict=True) >= 0
    truth = labels != OUTSIDE
    pairs = [(p, t) for p, t in zip(region, truth, strict=True) if p.any() or t.any()]
    return MeasuredVolume(
        patient,
        ranks,
        hits,
        len(masses),
        {name: of(region, truth) for name, of in _REGION.items()},
        {name: np.array([of(p, t) for p, t in pairs]) for name, of in _REGION.items()},
    )


def summarize(volumes: Sequence[MeasuredVolume], samples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Return the measures of volumes, JSON-ready.

    Parameters
    ----------
    volumes: at least one.
    samples, seed: of the bootstrap, which draws patients with replacement.

    Returns
    -------
    dict
        sensitivity: masses found / masses. fp_per_image: candidates that found none / volumes, P5's "false positives
        per case". dice_mean: the breast region's, mean over volumes. average_precision, froc_sensitivity (by false
        positives per volume). intervals: 95 % of these five. region: dice, iou and sensitivity, each with its mean over
        volumes, the 95 % interval of that, its mean over slices, and n, the volumes it is of. n_images (volumes),
        n_patients, n_masses, n_findings. What nothing can be said of is None, and so is an interval where fewer than
        two patients have anything to say.

    """
    patients = [volume.patient for volume in volumes]

    def ratio(parts: Sequence[float], wholes: Sequence[float]) -> tuple[float | None, list[float] | None]:
        interval = ratio_interval(parts, wholes, patients, samples=samples, seed=seed)
        return float(np.sum(parts) / np.sum(wholes)) if np.sum(wholes) else None, interval and list(interval)

    detections = Detections.of((v.patient, v.confidences, v.hits, v.n_masses) for v in volumes)
    found = [int(volume.hits.sum()) for volume in volumes]
    masses = [volume.n_masses for volume in volumes]
    sensitivity_of_masses, of_sensitivity = ratio(found, masses)
    fp_per_case, of_fp = ratio([len(v.hits) - n for v, n in zip(volumes, found, strict=True)], [1] * len(volumes))
    curve = detections.froc() if sum(masses) else None
    spread = detections.intervals(FROC_AT, samples=samples, seed=seed)
    region = {}
    for name in _REGION:
        values = np.array([volume.region[name] for volume in volumes])
        slices = np.concatenate([volume.slices[name] for volume in volumes])
        mean, interval = ratio(np.nan_to_num(values).tolist(), (~np.isnan(values)).tolist())
        region[name] = {
            "mean": mean,
            "interval": interval,
            "mean_over_slices": None if np.isnan(slices).all() else float(np.nanmean(slices)),
            "n": int(np.count_nonzero(~np.isnan(values))),
        }
    return {
        "kind": "volumes",
        "sensitivity": sensitivity_of_masses,
        "fp_per_image": fp_per_case,
        "dice_mean": region["dice"]["mean"],
        "average_precision": detections.average_precision() if curve else None,
        "froc_sensitivity": {str(at): curve.sensitivity_at(at) for at in FROC_AT} if curve else None,
        "intervals": {
            "sensitivity": of_sensitivity,
            "fp_per_image": of_fp,
            "dice_mean": region["dice"]["interval"],
            "average_precision": spread["average_precision"],
            "froc_sensitivity": spread["sensitivity_at"] if curve else None,
        },
        "region": region,
        "n_images": len(volumes),
        "n_patients": len(detections.patients),
        "n_masses": sum(masses),
        "n_findings": len(detections.hits),
    }


def average(folds: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return the means over folds, as P5's tables have them in their last row.

    folds: of each fold what :func:`summarize` returned of the volumes that tested in it.

    Returns
    -------
    sensitivity, fp_per_image, average_precision, region_dice, region_iou, region_sensitivity; and sensitivity_at_3.4
    and the like, P5's averaged curve. None where a fold has none.

    """
    columns = [as_columns(fold) for fold in folds]
    names = [name for name in columns[0] if name != "intervals"]
    values = {name: [column[name] for column in columns] for name in names}
    return {name: None if None in found else float(np.mean(found)) for name, found in values.items()}


def as_columns(measures: dict[str, Any]) -> dict[str, Any]:
    """Return measures by the names of the columns of P5's tables, and their intervals under "intervals"."""
    points = measures["froc_sensitivity"] or {str(at): None for at in FROC_AT}
    spread = measures["intervals"]["froc_sensitivity"] or {}
    region = measures["region"].items()
    names = ("sensitivity", "fp_per_image", "average_precision")
    return {
        **{name: measures[name] for name in names},
        **{f"region_{name}": cell["mean"] for name, cell in region},
        **{f"sensitivity_at_{at}": value for at, value in points.items()},
        "intervals": {
            **{name: measures["intervals"][name] for name in names},
            **{f"region_{name}": cell["interval"] for name, cell in region},
            **{f"sensitivity_at_{at}": spread.get(at) for at in points},
        },
    }
