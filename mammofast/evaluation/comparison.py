"""Two systems on the same images, or volumes: what differs, and whether that could be chance."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mammofast.errors import ResultsError
from mammofast.evaluation.detection import Detections
from mammofast.evaluation.measuring import Measured
from mammofast.evaluation.segmentation import MEASURES
from mammofast.evaluation.statistics import draw_groups, ratio_interval, sums_interval, wilcoxon
from mammofast.evaluation.volumes import MeasuredVolume

Values = npt.NDArray[np.float64]


class _Detected(Protocol):
    """An image or a volume, whose it is, and how sure its candidates were and which of them were right."""

    @property
    def patient(self) -> str: ...

    @property
    def confidences(self) -> Values: ...

    @property
    def hits(self) -> npt.NDArray[np.bool_]: ...


def compare(ours: Measured, other: Measured, samples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Return the differences, ours minus the other's, on the images that both were measured on; JSON-ready.

    Both have to be measured with masks.

    Returns
    -------
    dict
        n_images, n_patients: that both have. detection: sensitivity, fp_per_image and average_precision, each with
        ours, other, difference and its interval. masks: by measure, over images with a mass on which both have it, n,
        ours, other, difference (of the means) and interval, and p, two-sided by Wilcoxon's signed-rank test, of images
        as P2 tests (p_images) and of patients' means (p_patients): images of one patient are not independent, so that
        p_images claims too much. Intervals: 95 % by bootstrap over patients, None where fewer than two tell.

    Raises
    ------
    ResultsError
        When they have no image in common.

    """
    left, right = ({image.sop_uid: image for image in measured.images} for measured in (ours, other))
    common = sorted(left.keys() & right.keys())
    if not common:
        raise ResultsError("the two results have no image with truth in common; expected the same images")
    a, b = [left[uid] for uid in common], [right[uid] for uid in common]
    fits = [
        (image.patient, image.fit.values, twin.fit.values)
        for image, twin in zip(a, b, strict=True)
        if image.masses and image.fit is not None and twin.fit is not None
    ]
    return {
        "n_images": len(common),
        "n_patients": len({image.patient for image in a}),
        "detection": _detection(a, b, [len(image.masses) for image in a], samples, seed),
        "masks": {
            name: _paired(((patient, one[index], two[index]) for patient, one, two in fits), samples, seed)
            for index, name in enumerate(MEASURES)
            if all(image.fit is not None for image in (*a, *b))
        },
    }


def compare_volumes(
    ours: Mapping[str, MeasuredVolume], other: Mapping[str, MeasuredVolume], samples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Return the same of two systems on volumes, by SOP Instance UID; masks are of the breast region, of all volumes.

    Raises
    ------
    ResultsError
        When they have no volume in common.

    """
    common = sorted(ours.keys() & other.keys())
    if not common:
        raise ResultsError("the two results have no volume with truth in common; expected the same volumes")
    a, b = [ours[uid] for uid in common], [other[uid] for uid in common]
    return {
        "n_images": len(common),
        "n_patients": len({volume.patient for volume in a}),
        "detection": _detection(a, b, [volume.n_masses for volume in a], samples, seed),
        "masks": {
            name: _paired(
                ((v.patient, v.region[name], twin.region[name]) for v, twin in zip(a, b, strict=True)), samples, seed
            )
            for name in a[0].region
        },
    }


def _paired(pairs: Iterable[tuple[str, float, float]], samples: int, seed: int) -> dict[str, Any]:
    known = [pair for pair in pairs if not np.isnan(pair[1:]).any()]
    patients = [patient for patient, _, _ in known]
    values = np.array([pair[1:] for pair in known], dtype=np.float64).reshape(-1, 2)
    difference = values[:, 0] - values[:, 1]
    interval = ratio_interval(difference, np.ones(len(known)), patients, samples=samples, seed=seed)
    names, which = np.unique(np.array(patients, dtype=str), return_inverse=True)
    sums = np.stack([np.bincount(which, column, len(names)) for column in values.T], axis=1) if len(known) else values
    means = sums / np.maximum(np.bincount(which, minlength=len(names)), 1)[:, None]
    return {
        "n": len(known),
        **_sides(*(values.mean(axis=0).tolist() if len(known) else (None, None))),
        "interval": interval and list(interval),
        "p_images": wilcoxon(*values.T) if len(known) else None,
        "p_patients": wilcoxon(*means.T) if len(known) else None,
    }


def _detection(
    a: Sequence[_Detected], b: Sequence[_Detected], masses: Sequence[int], samples: int, seed: int
) -> dict[str, Any]:
    # One truth, so one set of patients and masses: a draw of patients is the same for both.
    sides = [
        Detections.of((a[i].patient, each.confidences, each.hits, masses[i]) for i, each in enumerate(side))
        for side in (a, b)
    ]
    patients = [image.patient for image in a]
    hits, candidates = (
        np.array([[count(image.hits), count(twin.hits)] for image, twin in zip(a, b, strict=True)], dtype=np.float64)
        for count in (np.count_nonzero, len)
    )
    false = candidates - hits
    found: dict[str, Any] = {}
    for name, parts, wholes in (("sensitivity", hits, masses), ("fp_per_image", false, [1] * len(a))):
        rates = parts.sum(axis=0) / sum(wholes) if sum(wholes) else (None, None)
        interval = sums_interval(
            np.column_stack([parts[:, 0] - parts[:, 1], wholes]),
            patients,
            lambda sums: sums[:, 0] / sums[:, 1],
            samples=samples,
            seed=seed,
        )
        found[name] = {**_sides(*rates), "interval": interval and list(interval)}
    precision: dict[str, Any] = {**_sides(None, None), "interval": None}
    if sum(masses):
        precision.update(_sides(*(side.average_precision() for side in sides)))
    if sides[0].tells_spread:
        weights = draw_groups(len(sides[0].patients), samples, seed)
        drawn = np.subtract(*(side.resample(weights)[0] for side in sides))
        precision["interval"] = np.percentile(drawn[~np.isnan(drawn)], [2.5, 97.5]).tolist()
    return {**found, "average_precision": precision}


def _sides(ours: float | None, other: float | None) -> dict[str, float | None]:
    if ours is None or other is None:
        return {"ours": ours, "other": other, "difference": None}
    return {"ours": float(ours), "other": float(other), "difference": float(ours) - float(other)}
