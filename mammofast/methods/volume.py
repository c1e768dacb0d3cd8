"""Slices to a volume: breast region, mask, detection slice by slice, boxes linked across slices. Zhou et al. 2021, P5.

1. A segmentation network finds the breasts in every slice; all else is cut out of what the detector sees.
2. Faster R-CNN looks at each slice that has breast in it: trunk and proposals, RoI Align, head, NMS.
3. Boxes of neighbouring slices are linked to candidates of the volume (:mod:`mammofast.methods.linking`).

Networks run at fixed batches of slices, and the head at fixed batches of proposals, whichever slices these are of; no
batch holds two volumes, so that nothing but the volume itself decides what is found in it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.engine import Engine
from mammofast.methods import faster_rcnn
from mammofast.methods.faster_rcnn import Anchors, Detections
from mammofast.methods.linking import Linking, link_slices
from mammofast.methods.parameters import as_record, is_number, is_whole
from mammofast.methods.probability_map import probabilities
from mammofast.methods.stages import Outcome, batches, blaming, check_network, finite, run_rows
from mammofast.methods.volume_inputs import Input, Region, Values
from mammofast.records import VolumeFinding, VolumeResult, VolumeSource
from mammofast.settings import Settings
from mammofast.tracing import span

REGION, TRUNK, HEAD = "region", "trunk", "head"
# Proposals in one run of the head, whichever slices they are of.
_HEAD_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeParameters:
    """What a volume bundle's manifest states.

    region, detection: what the two networks read. region_threshold: probability from which a pixel is breast.
    anchors, candidates ... detections: see :class:`mammofast.methods.faster_rcnn.Settings`; detections, of one slice.
    linking: see :class:`mammofast.methods.linking.Linking`.
    """

    region: Input
    detection: Input
    region_threshold: float = 0.5
    anchors: Anchors = field(default_factory=Anchors)
    candidates: int = 6000
    proposals: int = 300
    proposal_iou: float = 0.7
    box_std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    score_threshold: float = 0.05
    final_iou: float = 0.3
    detections: int = 100
    linking: Linking = field(default_factory=Linking)

    def __post_init__(self) -> None:
        for name, kind in (("region", Input), ("detection", Input), ("anchors", Anchors), ("linking", Linking)):
            object.__setattr__(self, name, as_record(kind, getattr(self, name), name))
        for name in ("region_threshold", "proposal_iou", "score_threshold", "final_iou"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= 1:
                raise ValueError(f"{name}: got {value!r}, expected a number in 0..1")
        for name in ("candidates", "proposals", "detections"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ValueError(f"{name}: got {value!r}, expected an integer >= 1")
        if not isinstance(self.box_std, tuple) or len(self.box_std) != 4 or not all(map(is_number, self.box_std)):
            raise ValueError(f"box_std: got {self.box_std!r}, expected four numbers")

    @property
    def rcnn(self) -> faster_rcnn.Settings:
        """What Faster R-CNN is run with."""
        return faster_rcnn.Settings(
            anchors=self.anchors,
            candidates=self.candidates,
            proposals=self.proposals,
            proposal_iou=self.proposal_iou,
            box_std=self.box_std,
            score_threshold=self.score_threshold,
            final_iou=self.final_iou,
            detections=self.detections,
        )


@dataclass(slots=True)
class _Case:
    """A volume's error, where it has one."""

    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Proposed:
    """The proposals of one slice: boxes (k, 4), and the map (1, c, h, w) that their features are cut out of."""

    slice: int
    boxes: Values
    features: Values


class Volume:
    """The method over loaded engines; ``screen`` is all of it."""

    networks = (REGION, TRUNK, HEAD)
    parameters_type = VolumeParameters

    def __init__(self, parameters: VolumeParameters, engines: Mapping[str, Engine], settings: Settings) -> None:
        self._parameters, self._engines, self._rcnn = parameters, engines, parameters.rcnn
        self._region_batch, self._trunk_batch = settings.segmentation_batch, settings.detection_batch
        for name, read, outputs, batch in (
            (REGION, parameters.region, ["mask"], self._region_batch),
            (TRUNK, parameters.detection, ["features", "objectness", "deltas"], self._trunk_batch),
        ):
            row = (len(read.channels), *read.shape)
            check_network(name, engines[name], "image", row, outputs, batch)
        size = self._rcnn.roi_size
        rois = engines[HEAD].inputs[0]
        channels = rois.shape[1] if len(rois.shape) == 4 else None
        check_network(HEAD, engines[HEAD], "rois", (channels or 1, size, size), ["classes", "deltas"], _HEAD_BATCH)

    def screen(self, volumes: Sequence[VolumeSource]) -> list[VolumeResult]:
        """Screen volumes, one after the other; one that fails has a result with ``error`` set."""
        return [self._screen(volume) for volume in volumes]

    def _screen(self, volume: VolumeSource) -> VolumeResult:
        case = _Case()
        with blaming(case):
            region = self._find_region(volume)
            return VolumeResult(volume.shape, self._find_masses(volume, region), None, self._native(region, volume))
        return VolumeResult(volume.shape, error=case.error)

    def _find_region(self, volume: VolumeSource) -> Values:
        """Return the breasts' probability in every slice, (slices, rows, cols) at the network's size."""
        read = self._parameters.region
        with span("prepare"):
            rows = read.rows(volume)
        found = np.empty((len(rows), *read.shape), np.float32)
        for number, output in enumerate(self._run(REGION, rows, self._region_batch)):
            found[number] = probabilities(output, read.shape)
        return found

    def _native(self, region: Values, volume: VolumeSource) -> Region:
        return self._cut(region, (volume.shape[1], volume.shape[2]))

    def _cut(self, region: Values, shape: tuple[int, int]) -> Region:
        """Return the region as a mask (slices, rows, cols) at a size of slices: probabilities stretched, then cut."""
        box = np.array([[0, 0, shape[1], shape[0]]], np.int32)
        threshold = self._parameters.region_threshold
        return np.stack([ops.paste_masks(each[None], box, shape, threshold) for each in region])

    def _find_masses(self, volume: VolumeSource, region: Values) -> tuple[VolumeFinding, ...]:
        read = self._parameters.detection
        with span("prepare"):
            mask = self._cut(region, read.shape)
            rows = read.rows(volume, mask)
        found = list(self._detect(rows, mask))
        boxes = np.concatenate([np.empty((0, 4), np.float32), *(each.boxes for _, each in found)])
        scores = np.concatenate([np.empty(0, np.float32), *(each.scores for _, each in found)])
        slices = np.repeat([number for number, _ in found], [len(each.boxes) for _, each in found]).astype(np.int64)
        with span("link"):
            candidates = link_slices(boxes, scores, slices, self._parameters.linking)
        _, native_rows, native_cols = volume.shape
        across, down = native_cols / read.shape[1], native_rows / read.shape[0]
        findings = []
        for each in candidates:
            x_min, y_min, z_min, x_max, y_max, z_max = each.box
            # To the nearest pixel, and one at least: rounded outwards, boxes of small masses are a third too large.
            left, top = (min(round(x_min * across), native_cols - 1), min(round(y_min * down), native_rows - 1))
            box = (left, top, max(round(x_max * across), left + 1), max(round(y_max * down), top + 1))
            box = (box[0], box[1], min(box[2], native_cols), min(box[3], native_rows))
            findings.append(VolumeFinding(box, z_min, z_max, each.score, each.score))
        return tuple(findings)

    def _detect(self, rows: Values, mask: Region) -> Iterator[tuple[int, Detections]]:
        """Yield what is found in each slice, in their order."""
        shape = self._parameters.detection.shape
        waiting: deque[_Proposed] = deque()

        def features() -> Iterator[Values]:
            for proposed in self._propose(rows, mask):
                if len(proposed.boxes):
                    waiting.append(proposed)
                    yield from self._align(proposed)

        mine: list[Outcome] = []
        # The head's batches are filled from as many slices as it takes.
        for output in self._run(HEAD, features(), _HEAD_BATCH):
            mine.append(output)
            if len(mine) == len(waiting[0].boxes):
                each = waiting.popleft()
                logits, shifts = (np.stack([finite(one, name, HEAD) for one in mine]) for name in ("classes", "deltas"))
                with span("classify"):
                    yield each.slice, faster_rcnn.classify(logits, shifts, each.boxes, shape, self._rcnn)
                mine = []

    def _propose(self, rows: Values, mask: Region) -> Iterator[_Proposed]:
        """Yield the proposals of each slice; where there is no breast, there is nothing but zeros to look at."""
        seen = np.flatnonzero(mask.any(axis=(1, 2)))
        settings, shape = self._rcnn, self._parameters.detection.shape
        for number, output in zip(seen.tolist(), self._run(TRUNK, rows[seen], self._trunk_batch), strict=True):
            features = finite(output, "features", TRUNK)[None]
            objectness, deltas = (finite(output, name, TRUNK) for name in ("objectness", "deltas"))
            with span("propose"):
                boxes, _ = faster_rcnn.propose(objectness, deltas, shape, settings)
            yield _Proposed(number, boxes[hold_any(mask[number], boxes)], features)

    def _align(self, proposed: _Proposed) -> Iterator[Values]:
        """Yield the features (c, 7, 7) of each proposal; those of a whole slice would be 150 MB at P5's width."""
        size, scale = (self._rcnn.roi_size, self._rcnn.roi_size), 1 / self._rcnn.anchors.stride
        for first in range(0, len(proposed.boxes), _HEAD_BATCH):
            boxes = proposed.boxes[first : first + _HEAD_BATCH]
            place = np.zeros(len(boxes), np.int64)
            with span("align"):
                cut = ops.roi_align(proposed.features, boxes, place, size, scale, self._rcnn.sampling_ratio)
            yield from cut

    def _run(self, name: str, rows: Iterable[Values], batch: int) -> Iterator[Outcome]:
        """Yield what a network gives for each row; a batch is taken from ``rows`` when the one before is used up."""
        engine = self._engines[name]
        for part in batches(rows, batch):
            with span(name, len(part)):
                outputs = run_rows(engine, engine.inputs[0].name, np.stack(part), batch)
            yield from outputs


def hold_any(mask: npt.NDArray[np.bool_], boxes: Values) -> npt.NDArray[np.bool_]:
    """Return which boxes (k, 4) hold a pixel of a mask (rows, cols)."""
    sums = np.pad(mask, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    x_min, y_min = np.floor(boxes[:, :2]).astype(np.int64).T
    x_max, y_max = np.ceil(boxes[:, 2:]).astype(np.int64).T
    held: npt.NDArray[np.int64] = sums[y_max, x_max] - sums[y_min, x_max] - sums[y_max, x_min] + sums[y_min, x_min]
    return held > 0
