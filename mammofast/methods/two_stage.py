"""Detect at several scales, fuse, segment the candidates: Yan et al. 2020 (arXiv 2002.12079), P4 in the documentation.

1. The image is stretched to each scale and the detector finds boxes there; NMS within each scale.
2. ``fuse_boxes`` (the paper's eq. 1 and threshold) turns the boxes of all scales into candidates.
3. The native pixels under each candidate are stretched to the segmenter's input, equalized and segmented.
4. The probabilities are stretched back to native resolution and cut at a threshold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.engine import Engine
from mammofast.methods import yolo
from mammofast.methods.contrast import Contrast
from mammofast.methods.parameters import as_record, is_number
from mammofast.methods.stages import (
    Case,
    are_sizes,
    batches,
    blaming,
    check_network,
    coarsest_level,
    finite,
    run_rows,
    sound,
)
from mammofast.records import Box, Finding, GreyPipeline, ImageResult, ImageSource, tight_box
from mammofast.settings import Settings
from mammofast.tracing import span

BOX_FUSED, BOX_MASK = "fused", "mask"


@dataclass(frozen=True, slots=True)
class TwoStageParameters:
    """What a two-stage bundle's manifest states.

    grey, contrast: from stored values to 0..1. scales: (rows, cols) of the detector's inputs.
    strides, anchors: the detector's heads, see :func:`mammofast.methods.yolo.decode`.
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
        if not _are_pairs(self.anchors) or not all(is_number(side) and side > 0 for a in self.anchors for side in a):
            raise ValueError(f"anchors: got {self.anchors!r}, expected (width, height), both numbers above 0")
        if len(self.anchors) != yolo.ANCHORS_PER_HEAD * len(self.strides):
            raise ValueError(
                f"anchors: got {len(self.anchors)}, expected {yolo.ANCHORS_PER_HEAD} for each stride of {self.strides}"
            )
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
        ops.nms(boxes, scores, self.nms_iou)
        ops.fuse_boxes(boxes, scores, len(self.scales), (1, 1), self.fusion_threshold)
        ops.paste_masks(np.empty((0, 1, 1), np.float32), np.empty((0, 4), np.int32), (1, 1), self.mask_threshold)


def _are_pairs(values: object) -> bool:
    """Whether this is at least one pair."""
    return isinstance(values, tuple) and bool(values) and all(isinstance(v, tuple) and len(v) == 2 for v in values)


@dataclass(slots=True)
class _Case(Case):
    inputs: list[npt.NDArray[np.float32]] = field(default_factory=list)
    boxes: list[npt.NDArray[np.float32]] = field(default_factory=list)
    scores: list[npt.NDArray[np.float32]] = field(default_factory=list)
    candidates: ops.FusedBoxes | None = None

    def detections(self) -> npt.NDArray[np.float32]:
        """Return the boxes of all scales."""
        scales = (np.full((len(scores), 1), scale) for scale, scores in enumerate(self.scores))
        parts = [np.hstack(part) for part in zip(scales, self.boxes, (s[:, None] for s in self.scores), strict=True)]
        return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Candidate:
    case: _Case
    box: Box
    window: Box
    score: float
    confidence: float


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
        cases = [_Case(image) for image in images]
        for case in cases:
            with blaming(case):
                self._prepare(case)
        self._detect(cases)
        for case in sound(cases):
            with blaming(case), span("fuse"):
                self._fuse(case)
        self._segment(cases)
        return [case.result() for case in cases]

    def detection_level(self, shape: tuple[int, int]) -> int:
        """Return the coarsest level that is not smaller than the largest scale; 0 where even the native image is."""
        rows, cols = (max(sizes) for sizes in zip(*self._parameters.scales, strict=True))
        return coarsest_level(shape, (rows, cols))

    def _prepare(self, case: _Case) -> None:
        """Read the detection level and resample it to all scales in one pass."""
        p = self._parameters
        level = self.detection_level(case.image.shape)
        with span("read"):
            pixels = case.image.read(level=level)
            case.table = case.image.grey_table(p.grey)
        case.frame = (pixels.shape[0] << level, pixels.shape[1] << level)
        with span("prepare"):
            case.low, case.high = p.contrast.window(pixels, case.table)
            case.inputs = ops.detection_inputs(pixels, case.table, case.low, case.high, p.scales)

    def _detect(self, cases: Sequence[_Case]) -> None:
        p = self._parameters
        for scale, (rows, cols) in enumerate(p.scales):
            for batch in batches(list(sound(cases)), self._settings.detection_batch):
                images = np.stack([case.inputs[scale] for case in batch])[:, None]
                with span("detect", len(batch)):
                    rows_out = run_rows(self._detector, "image", images, self._settings.detection_batch)
                for case, output in zip(batch, rows_out, strict=True):
                    with blaming(case), span("decode"):
                        heads = [finite(output, head, "detector") for head in self._heads]
                        boxes, scores = yolo.decode(heads, p.strides, p.anchors, p.confidence_threshold)
                        kept = ops.nms(boxes, scores, p.nms_iou)
                        to_native = np.array([case.frame[1] / cols, case.frame[0] / rows] * 2)
                        case.boxes.append((boxes[kept] * to_native).astype(np.float32))
                        case.scores.append(scores[kept])
        for case in cases:
            case.inputs.clear()

    def _fuse(self, case: _Case) -> None:
        case.candidates = ops.fuse_boxes(
            np.concatenate(case.boxes),
            np.concatenate(case.scores),
            len(self._parameters.scales),
            case.image.shape,
            self._parameters.fusion_threshold,
        )

    def _segment(self, cases: Sequence[_Case]) -> None:
        candidates = [candidate for case in sound(cases) for candidate in self._candidates(case)]
        for batch in batches(candidates, self._settings.segmentation_batch):
            windows = []
            for candidate in batch:
                with blaming(candidate.case), span("read native"):
                    windows.append((candidate, candidate.case.image.read(window=candidate.window)))
            windows = [(candidate, pixels) for candidate, pixels in windows if candidate.case.error is None]
            if not windows:
                continue
            batch = [candidate for candidate, _ in windows]
            with span("crop", len(batch)):
                crops = ops.segmentation_inputs(
                    [pixels for _, pixels in windows],
                    [candidate.case.table for candidate in batch],
                    [candidate.case.low for candidate in batch],
                    [candidate.case.high for candidate in batch],
                    self._parameters.crop_shape,
                )
            with span("segment", len(batch)):
                rows_out = run_rows(self._segmenter, "crop", crops, self._settings.segmentation_batch)
            for candidate, output in zip(batch, rows_out, strict=True):
                with blaming(candidate.case), span("paste"):
                    candidate.case.findings.append(self._finding(candidate, finite(output, "mask", "segmenter")))

    def _candidates(self, case: _Case) -> Iterator[_Candidate]:
        fused = case.candidates
        assert fused is not None
        for box, score, confidence in zip(fused.boxes, fused.scores, fused.confidence, strict=True):
            x_min, y_min, x_max, y_max = map(int, box)
            dx = round((x_max - x_min) * self._parameters.crop_margin)
            dy = round((y_max - y_min) * self._parameters.crop_margin)
            rows, cols = case.image.shape
            window = (max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, cols), min(y_max + dy, rows))
            yield _Candidate(case, (x_min, y_min, x_max, y_max), window, float(score), float(confidence))

    def _finding(self, candidate: _Candidate, probabilities: npt.NDArray[np.float32]) -> Finding:
        x, y, x_end, y_end = candidate.window
        shape = (y_end - y, x_end - x)
        whole = np.array([[0, 0, shape[1], shape[0]]], dtype=np.int32)
        mask = ops.paste_masks(probabilities, whole, shape, self._parameters.mask_threshold)
        box = candidate.box
        if self._parameters.box == BOX_MASK and mask.any():
            box = tight_box(mask, x, y)
        inside = mask[box[1] - y : box[3] - y, box[0] - x : box[2] - x]
        return Finding(box, candidate.score, candidate.confidence, np.ascontiguousarray(inside))
