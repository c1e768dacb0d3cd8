"""Detect at several scales, fuse, segment the candidates: Yan et al. 2020 (arXiv 2002.12079), P4 in the documentation.

1. The image is stretched to each scale and the detector finds boxes there; NMS within each scale.
2. ``fuse_boxes`` (the paper's eq. 1 and threshold) turns the boxes of all scales into candidates.
3. The native pixels under each candidate are stretched to the segmenter's input, equalized and segmented.
4. The probabilities are stretched back to native resolution and cut at a threshold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.engine import Engine
from mammofast.errors import BrokenImage
from mammofast.methods.contrast import Contrast
from mammofast.methods.parameters import as_record, is_number
from mammofast.methods.stages import Case, all_finite, are_sizes, check_network, coarsest_level, run_batch
from mammofast.pipeline import Stage, each, run_serially
from mammofast.records import Box, Finding, GreyPipeline, ImageResult, ImageSource, tight_box
from mammofast.settings import Settings

BOX_FUSED, BOX_MASK = "fused", "mask"


@dataclass(frozen=True, slots=True)
class TwoStageParameters:
    """What a two-stage bundle's manifest states.

    grey, contrast: from stored values to 0..1. scales: (rows, cols) of the detector's inputs.
    strides, anchors: the detector's heads, see :func:`mammofast.ops.decode_yolo`.
    confidence_threshold, nms_iou: within a scale. fusion_threshold: the paper's λ.
    crop_margin: how far a candidate's window goes past its box, as a part of the box's side, on each side.
    crop_shape: (rows, cols) of the segmenter's input. mask_threshold: probability from which a pixel is mass.
    box: "fused", the paper's, reports the candidate; "mask" reports the tight box of its mask (the candidate where the
    mask is empty), so that a mask wider than the agreement of the scales is not cut.
    """

    grey: GreyPipeline
    contrast: Contrast
    scales: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]
    anchors: tuple[tuple[float, float], ...]
    confidence_threshold: float
    nms_iou: float
    fusion_threshold: float
    crop_margin: float
    crop_shape: tuple[int, int]
    mask_threshold: float
    box: str = BOX_FUSED

    def __post_init__(self) -> None:
        object.__setattr__(self, "grey", as_record(GreyPipeline, self.grey, "grey"))
        object.__setattr__(self, "contrast", as_record(Contrast, self.contrast, "contrast"))
        if not are_sizes(self.strides):
            raise ValueError(f"strides: got {self.strides}, expected at least one size in pixels")
        if not _are_pairs(self.scales) or not all(
            are_sizes(s, 2) and not any(n % max(self.strides) for n in s) for s in self.scales
        ):
            raise ValueError(f"scales: got {self.scales}, expected (rows, cols) in multiples of {max(self.strides)}")
        if not are_sizes(self.crop_shape, 2):
            raise ValueError(f"crop_shape: got {self.crop_shape}, expected (rows, cols)")
        if self.box not in (BOX_FUSED, BOX_MASK):
            raise ValueError(f"box: got {self.box!r}, expected {BOX_FUSED!r} or {BOX_MASK!r}")
        if not is_number(self.crop_margin) or self.crop_margin < 0:
            raise ValueError(f"crop_margin: got {self.crop_margin!r}, expected a number, 0 or more")
        if not is_number(self.confidence_threshold) or not 0 < self.confidence_threshold <= 1:
            raise ValueError(
                f"confidence_threshold: got {self.confidence_threshold!r}, expected a number above 0 and at most 1"
            )
        # The ops know best what they take; on nothing they check their arguments and are done.
        boxes, scores = np.empty((0, 4), np.float32), np.empty(0, np.float32)
        heads = [np.empty((18, 0, 0), np.float32)] * len(self.strides)
        ops.decode_yolo(heads, self.strides, self.anchors, self.confidence_threshold)
        ops.nms(boxes, scores, self.nms_iou)
        ops.fuse_boxes(boxes, scores, len(self.scales), (1, 1), self.fusion_threshold)
        ops.paste_masks(np.empty((0, 1, 1), np.float32), np.empty((0, 4), np.int32), (1, 1), self.mask_threshold)


def _are_pairs(values: object) -> bool:
    """Whether this is at least one pair."""
    return isinstance(values, tuple) and bool(values) and all(isinstance(v, tuple) and len(v) == 2 for v in values)


Rows = npt.NDArray[np.float32]


@dataclass(slots=True)
class TwoStageCase(Case):
    """An image on its way; what a stage adds, a later one may clear.

    pixels: of the detection level. inputs: of the detector, by scale. heads: its outputs, by scale. boxes, scores: in
    native pixels, by scale. parts: candidates, each with what the stages made of it so far.
    """

    pixels: npt.NDArray[np.generic] | None = None
    inputs: list[Rows] = field(default_factory=list)
    heads: list[list[Rows]] = field(default_factory=list)
    boxes: list[Rows] = field(default_factory=list)
    scores: list[Rows] = field(default_factory=list)
    candidates: ops.FusedBoxes | None = None
    parts: list[tuple["Candidate", npt.NDArray[Any]]] = field(default_factory=list)

    def detections(self) -> Rows:
        """Return the boxes of all scales."""
        scales = (np.full((len(scores), 1), scale) for scale, scores in enumerate(self.scores))
        parts = [np.hstack(part) for part in zip(scales, self.boxes, (s[:, None] for s in self.scores), strict=True)]
        return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that the scales agree on, and the part of its image that the segmenter sees."""

    case: TwoStageCase
    box: Box
    window: Box
    score: float
    confidence: float


def keep(name: str) -> Callable[[TwoStageCase, Sequence[Any]], TwoStageCase]:
    """Return a stage's join that keeps the outcomes of a case's units in one of its fields."""

    def join(case: TwoStageCase, outcomes: Sequence[Any]) -> TwoStageCase:
        setattr(case, name, list(outcomes))
        return case

    return join


def result_of(case: TwoStageCase, findings: Sequence[Finding]) -> ImageResult:
    """Return a case with what the last stage found."""
    case.findings = list(findings)
    return case.result()


class TwoStage:
    """P4's method over two engines; results do not depend on which images share a call."""

    parameters_type = TwoStageParameters
    networks = ("detector", "segmenter")

    def __init__(self, parameters: TwoStageParameters, engines: Mapping[str, Engine], settings: Settings) -> None:
        self._parameters = parameters
        self._detector = engines["detector"]
        self._segmenter = engines["segmenter"]
        self._settings = settings
        self._heads = [f"stride_{stride}" for stride in parameters.strides]
        for shape in parameters.scales:
            check_network("detector", self._detector, "image", (1, *shape), self._heads, settings.detection_batch)
        check_network(
            "segmenter", self._segmenter, "crop", (1, *parameters.crop_shape), ["mask"], settings.segmentation_batch
        )

    def screen(self, images: Sequence[ImageSource]) -> list[ImageResult]:
        """Screen images, batched across them; an image that fails has a result with ``error`` set."""
        results: list[ImageResult | None] = [None] * len(images)
        for outcome in run_serially(self.stages(), images):
            failed = outcome.error is not None
            shape = images[outcome.index].shape
            results[outcome.index] = ImageResult(shape, error=outcome.error) if failed else outcome.item
        return [result for result in results if result is not None]

    def stages(self) -> list[Stage]:
        """Return the method as stages of a pipeline: an ``ImageSource`` in, its ``ImageResult`` out."""
        detection, segmentation = self._settings.detection_batch, self._settings.segmentation_batch
        parts, keep_parts = attrgetter("parts"), keep("parts")
        return [
            Stage(name="read", work=each(self._read)),
            Stage(name="prepare", work=each(self._prepare)),
            Stage(
                name="detect",
                split=lambda case: [(case, scale) for scale in range(len(case.inputs))],
                key=itemgetter(1),
                work=self._detect,
                join=keep("heads"),
                batch=detection,
            ),
            Stage(name="decode", work=each(self._decode)),
            Stage(name="fuse", work=each(self._fuse)),
            Stage(name="read native", split=self._candidates, work=each(self._read_native), join=keep_parts),
            Stage(name="crop", split=parts, work=self._crop, join=keep_parts, batch=segmentation),
            Stage(name="segment", split=parts, work=self._segment, join=keep_parts, batch=segmentation),
            Stage(name="paste", split=parts, work=each(self._finding), join=result_of),
        ]

    def detection_level(self, shape: tuple[int, int]) -> int:
        """Return the coarsest level that is not smaller than the largest scale; 0 where even the native image is."""
        rows, cols = (max(sizes) for sizes in zip(*self._parameters.scales, strict=True))
        return coarsest_level(shape, (rows, cols))

    def _read(self, image: ImageSource) -> TwoStageCase:
        """Read the detection level."""
        level = self.detection_level(image.shape)
        pixels = image.read(level=level)
        frame = (pixels.shape[0] << level, pixels.shape[1] << level)
        return TwoStageCase(image, table=image.grey_table(self._parameters.grey), frame=frame, pixels=pixels)

    def _prepare(self, case: TwoStageCase) -> TwoStageCase:
        """Resample the detection level to all scales in one pass."""
        p = self._parameters
        assert case.pixels is not None
        case.low, case.high = p.contrast.window(case.pixels, case.table)
        case.inputs = ops.detection_inputs(case.pixels, case.table, case.low, case.high, p.scales)
        case.pixels = None
        return case

    def _detect(self, units: Sequence[tuple[TwoStageCase, int]]) -> list[Any]:
        """Return the detector's heads for images at one scale."""
        images = np.stack([case.inputs[scale] for case, scale in units])[:, None]
        outputs = run_batch(self._detector, "image", images, self._settings.detection_batch)
        return [all_finite(output, self._heads, "detector") for output in outputs]

    def _decode(self, case: TwoStageCase) -> TwoStageCase:
        p = self._parameters
        case.boxes, case.scores = [], []
        for heads in case.heads:
            boxes, scores = ops.decode_yolo(heads, p.strides, p.anchors, p.confidence_threshold, case.frame)
            kept = ops.nms(boxes, scores, p.nms_iou)
            case.boxes.append(boxes[kept])
            case.scores.append(scores[kept])
        case.inputs, case.heads = [], []
        return case

    def _fuse(self, case: TwoStageCase) -> TwoStageCase:
        case.candidates = ops.fuse_boxes(
            np.concatenate(case.boxes),
            np.concatenate(case.scores),
            len(self._parameters.scales),
            case.image.shape,
            self._parameters.fusion_threshold,
        )
        return case

    def _candidates(self, case: TwoStageCase) -> list[Candidate]:
        fused = case.candidates
        assert fused is not None
        candidates = []
        for box, score, confidence in zip(fused.boxes, fused.scores, fused.confidence, strict=True):
            x_min, y_min, x_max, y_max = map(int, box)
            dx = round((x_max - x_min) * self._parameters.crop_margin)
            dy = round((y_max - y_min) * self._parameters.crop_margin)
            rows, cols = case.image.shape
            window = (max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, cols), min(y_max + dy, rows))
            candidates.append(Candidate(case, (x_min, y_min, x_max, y_max), window, float(score), float(confidence)))
        return candidates

    def _read_native(self, candidate: Candidate) -> tuple[Candidate, npt.NDArray[np.generic]]:
        return candidate, candidate.case.image.read(window=candidate.window)

    def _crop(self, parts: Sequence[tuple[Candidate, npt.NDArray[np.generic]]]) -> list[tuple[Candidate, Rows]]:
        """Return the segmenter's inputs, from the native pixels under candidates."""
        cases = [candidate.case for candidate, _ in parts]
        crops = ops.segmentation_inputs(
            [pixels for _, pixels in parts],
            [case.table for case in cases],
            [case.low for case in cases],
            [case.high for case in cases],
            self._parameters.crop_shape,
        )
        return [(candidate, crop) for (candidate, _), crop in zip(parts, crops, strict=True)]

    def _segment(self, parts: Sequence[tuple[Candidate, Rows]]) -> list[Any]:
        """Return the candidates' maps of probabilities."""
        crops = np.stack([crop for _, crop in parts])
        outputs = run_batch(self._segmenter, "crop", crops, self._settings.segmentation_batch)
        maps = (all_finite(output, ["mask"], "segmenter") for output in outputs)
        return [
            found if isinstance(found, BrokenImage) else (candidate, found[0])
            for (candidate, _), found in zip(parts, maps, strict=True)
        ]

    def _finding(self, part: tuple[Candidate, Rows]) -> Finding:
        candidate, probabilities = part
        x, y, x_end, y_end = candidate.window
        shape = (y_end - y, x_end - x)
        whole = np.array([[0, 0, shape[1], shape[0]]], dtype=np.int32)
        return self._found(candidate, ops.paste_masks(probabilities, whole, shape, self._parameters.mask_threshold))

    def _found(self, candidate: Candidate, mask: npt.NDArray[np.bool_]) -> Finding:
        """Return a candidate as a finding. mask: of its window."""
        x, y = candidate.window[:2]
        box = candidate.box
        if self._parameters.box == BOX_MASK and mask.any():
            box = tight_box(mask, x, y)
        inside = mask[box[1] - y : box[3] - y, box[0] - x : box[2] - x]
        return Finding(box, candidate.score, candidate.confidence, np.ascontiguousarray(inside))
