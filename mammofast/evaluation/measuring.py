"""One run's results against truth, image by image; what is said of all of them together is ``evaluate``'s."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import ResultsError
from mammofast.evaluation.detection import Detections
from mammofast.evaluation.fusion import Candidates, can_fuse, fused_candidates
from mammofast.evaluation.masks import dice
from mammofast.evaluation.matching import match_boxes
from mammofast.evaluation.segmentation import Fit, fit
from mammofast.evaluation.truth import Labels, Truth, label_boxes, open_truth
from mammofast.records import Box, Finding, combine_masks
from mammofast.screening import Results, open_results
from mammofast.screening.entry import Entry
from mammofast.screening.summaries import in_words

IOU_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class MeasuredMass:
    """One true mass. found: by a finding. dice: its pixels against that finding's mask; 0 where it was missed.

    length_mm: the longer side of its box, None where the size of pixels is not known. attributes: what the data set
    says of it and of its image.
    """

    found: bool
    dice: float
    length_mm: float | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """One image.

    patient: whose it is, as far as known; else its study. confidences, hits: of all findings, (n,). dice: all findings'
    masks against all masses; None where it has none. fit: where masks were asked for. area_mm2: predicted and true;
    None where the size of pixels is not known. fused: candidates by λ, where the method fuses and masks were asked for.
    """

    sop_uid: str
    study_uid: str
    patient: str
    failed: bool
    confidences: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    masses: tuple[MeasuredMass, ...]
    dice: float | None
    fit: Fit | None = None
    area_mm2: tuple[float, float] | None = None
    fused: Mapping[float, Candidates] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """All images of one run that have truth. run: one of ``Results.runs()``, with its ids at least.

    n_outside_split: images whose truth was left out because they do not test in the split.
    """

    images: tuple[MeasuredImage, ...]
    run: Mapping[str, Any]
    notices: tuple[str, ...]
    n_without_truth: int
    n_outside_split: int = 0

    def detections(self) -> Detections:
        """Return all findings, by patient."""
        return Detections.of((i.patient, i.confidences, i.hits, len(i.masses)) for i in self.images)

    def fused(self, threshold: float) -> Detections:
        """Return all candidates at another λ; see :attr:`MeasuredImage.fused`."""
        return Detections.of((i.patient, *i.fused[threshold], len(i.masses)) for i in self.images)


def measure(
    results: str | Path,
    truth: str | Path | Truth,
    *,
    bundle_id: str | None = None,
    settings_id: str | None = None,
    masks: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Measure every image of a run that has truth; the parameters are those of ``mammofast.evaluation.evaluate``.

    Raises
    ------
    ResultsError
        When there are no results, no truth for them, or several runs and no word of which.

    """
    opened = open_results(results)
    known_truth = open_truth(truth) if isinstance(truth, str | Path) else truth
    entries = entries_of_one_run(opened, bundle_id, settings_id)
    known = [entry for entry in entries if str(entry.image.sop_uid) in known_truth]
    outside = sum(known_truth.outside_split(str(entry.image.sop_uid)) for entry in entries)
    if outside and not known:
        raise ResultsError(f"none of the {outside} screened images with truth tests in this split")
    if not known:
        raise ResultsError(
            "there is no truth for any screened image; expected SOP_INSTANCE_UID.png files, or the data set that was "
            "screened and its layout"
        )
    ids = asdict(known[0].run)
    run: Mapping[str, Any] = next((run for run in opened.runs() if ids.items() <= run.items()), ids)
    n_scales = len(run["parameters"]["scales"]) if can_fuse(run) else None
    images = []
    for entry in known:
        images.append(_measure(entry, known_truth, masks, n_scales))
        if progress is not None:
            progress(1, len(known))
    without = len(entries) - len(known) - outside
    return Measured(tuple(images), run, tuple(opened.notices()), without, outside)


def entries_of_one_run(results: Results, bundle_id: str | None, settings_id: str | None) -> list[Entry]:
    """Return what came out of the images or volumes of one run, each once; those that were skipped left out.

    bundle_id, settings_id: their first digits will do.
    """
    entries = [
        entry
        for entry in results.entries()
        if entry.image.sop_uid is not None
        and entry.status in ("done", "failed")
        and entry.run.has_ids(bundle_id, settings_id)
    ]
    runs = sorted({entry.run for entry in entries}, key=astuple)
    if len(runs) > 1:
        listed = in_words(runs, results.runs())
        raise ResultsError(f"{results.path} holds the results of {len(runs)} runs, say which: {listed}")
    if not entries:
        raise ResultsError(f"{results.path} holds no results of images with these ids; run `mammofast screen` first")
    # A second file of the same UID may have failed beside the image that was kept: an image counts once.
    images: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: (entry.image.study_uid or "", entry.image.sop_uid or "")):
        uid = str(entry.image.sop_uid)
        if entry.status == "done" or uid not in images:
            images[uid] = entry
    return list(images.values())


def _measure(entry: Entry, truth: Truth, masks: bool, n_scales: int | None) -> MeasuredImage:
    image, uid = entry.image, str(entry.image.sop_uid)
    # What was lost before it could be read, or with its result, has no size.
    labels = truth.labels(uid, None if image.rows is None or image.cols is None else (image.rows, image.cols))
    findings = _findings(entry)
    boxes = label_boxes(labels)
    confidences = np.array([finding.confidence for finding in findings], dtype=np.float64)
    matched = match_boxes([finding.box for finding in findings], confidences, boxes, IOU_THRESHOLD)
    known = truth.known(uid)
    study = image.study_uid or uid  # what was lost with its result is a study by itself
    patient = known.patient or study
    place = {name: value for name in ("laterality", "view") if (value := getattr(image, name))}
    masses = _masses(labels, boxes, findings, matched, {**place, **known.image}, known.masses, image.pixel_spacing)
    measured, areas = None, None
    if masks or len(boxes):
        mask = combine_masks(findings, labels.shape)
    if masks:
        measured = fit(patient, mask, labels > 0, image.pixel_spacing)
        if image.pixel_spacing is not None:
            pixel = image.pixel_spacing[0] * image.pixel_spacing[1]
            areas = measured.predicted * pixel, measured.true * pixel
    fused = {}
    if masks and n_scales is not None:
        fused = fused_candidates(entry.detection_rows(), n_scales, labels.shape, boxes, IOU_THRESHOLD)
    return MeasuredImage(
        *(uid, study, patient, entry.status == "failed", confidences, matched >= 0, masses),
        dice=dice(mask, labels) if len(boxes) else None,
        fit=measured,
        area_mm2=areas,
        fused=fused,
    )


def _findings(entry: Entry) -> list[Finding]:
    try:
        return [stored.finding() for stored in entry.findings]
    except (ValueError, IndexError) as error:
        raise ResultsError(f"{entry.image.sop_uid}: its masks cannot be read: {error}") from error


def _masses(
    labels: Labels,
    boxes: npt.NDArray[np.int64],
    findings: Sequence[Finding],
    matched: npt.NDArray[np.int64],
    of_image: Mapping[str, str],
    of_masses: Sequence[Mapping[str, str]],
    spacing: tuple[float, float] | None,
) -> tuple[MeasuredMass, ...]:
    """Measure every mass; boxes: by rising label, as ``label_boxes`` gives them."""
    masses = []
    finders = {int(mass): finding for mass, finding in zip(matched, findings, strict=True) if mass >= 0}
    for number, label in enumerate(np.unique(labels[labels != 0]).tolist()):
        x_min, y_min, x_max, y_max = boxes[number].tolist()
        finder = finders.get(number)
        attributes = of_masses[label - 1] if label <= len(of_masses) else {}
        masses.append(
            MeasuredMass(
                finder is not None,
                0.0 if finder is None else _dice_of_mass(labels, label, (x_min, y_min, x_max, y_max), finder),
                None if spacing is None else max((y_max - y_min) * spacing[0], (x_max - x_min) * spacing[1]),
                {**of_image, **attributes},
            )
        )
    return tuple(masses)


def _dice_of_mass(labels: Labels, label: int, box: Box, finding: Finding) -> float:
    """Return the Dice of one mass and the finding that found it, both within the box that holds both."""
    x_min, y_min = min(box[0], finding.box[0]), min(box[1], finding.box[1])
    x_max, y_max = max(box[2], finding.box[2]), max(box[3], finding.box[3])
    truth = labels[y_min:y_max, x_min:x_max] == label
    left, top, right, bottom = finding.box
    prediction = np.zeros_like(truth)
    prediction[top - y_min : bottom - y_min, left - x_min : right - x_min] = finding.mask
    return dice(prediction, truth)
