"""P4's method on a graphics card: pixels go up once, boxes and the bits of masks come down.

The steps are those of :mod:`mammofast.methods.two_stage`; here images are worked on many at a time, and reading,
detection and segmentation at the same time, each on other images.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.engine.lanes import Lanes
from mammofast.engine.on_device import DeviceEngine
from mammofast.errors import BrokenImage, Reason
from mammofast.machine import cores
from mammofast.methods.admission import Admitted
from mammofast.methods.device_flow import LANES, OnDevice
from mammofast.methods.device_steps import contrast_windows, on_host, unpacked, unusable
from mammofast.methods.two_stage import Candidate, TwoStage, TwoStageCase, TwoStageParameters, keep, result_of
from mammofast.ops import device
from mammofast.ops._detection import ANCHORS_PER_HEAD
from mammofast.ops._detection import CHANNELS as HEAD_CHANNELS
from mammofast.pipeline import Stage, each
from mammofast.records import Box, Finding
from mammofast.settings import Settings

# Of an image that are fused on a card, which takes 2047, but 134 MB for the grid of so many, and 34 MB for these; more
# are fused on the host.
MOST_BOXES = 1023

Pixels = npt.NDArray[np.generic]
_Part = tuple[device.DecodedBatch, device.KeptBatch]


class TwoStageOnDevice(OnDevice, TwoStage):
    """P4's method over two engines on a card; results do not depend on which images share a call."""

    def __init__(self, parameters: TwoStageParameters, engines: Mapping[str, DeviceEngine], settings: Settings) -> None:
        TwoStage.__init__(self, parameters, engines, settings)
        self._readers = cores()
        inputs = [{"image": (settings.detection_batch, 1, *scale)} for scale in parameters.scales]
        crops = [{"crop": (settings.segmentation_batch, 1, *parameters.crop_shape)}]
        with ExitStack() as made:
            self._detectors = made.enter_context(closing(Lanes(engines["detector"], LANES, inputs)))
            self._segmenters = made.enter_context(closing(Lanes(engines["segmenter"], LANES, crops)))
            self.start(self.stages(), [self._detectors, self._segmenters], self._pinned(), "detect", made)

    def stages(self) -> list[Stage]:
        """Return the method as stages of a pipeline: an ``ImageSource`` in, its ``ImageResult`` out."""
        return [
            Stage(name="read", work=each(self._read_level), workers=self._readers),
            Stage(
                name="detect",
                work=self._detect_batch,
                batch=self._settings.detection_batch,
                workers=LANES,
                device=True,
            ),
            Stage(
                name="read native",
                split=self._candidates,
                work=each(self._read_native),
                join=keep("parts"),
                workers=self._readers,
            ),
            Stage(
                name="segment",
                split=attrgetter("parts"),
                work=self._segment_batch,
                join=result_of,
                batch=self._settings.segmentation_batch,
                workers=LANES,
                device=True,
            ),
        ]

    def _pinned(self) -> tuple[int, int]:
        """Return how many images are read or wait to be uploaded, and the bytes of what is read of a usual one.

        The level is less than twice as large as the largest scale, both ways where the shapes are alike; pixels have 16
        bits.
        """
        largest = max(rows * cols for rows, cols in self._parameters.scales)
        return self._readers + 2 * LANES * self._settings.detection_batch, 4 * largest * 2

    def _read_level(self, admitted: Admitted) -> TwoStageCase:
        """Read the detection level into pinned memory."""
        case = self._read(admitted.image)
        case.pixels = admitted.placed(_pixels(case))
        return case

    def _detect_batch(self, cases: Sequence[TwoStageCase]) -> list[TwoStageCase | BrokenImage]:
        """Take images from their pixels to candidates."""
        with self._detectors.one() as engine:
            stream = engine.stream
            images = [device.to_device(_pixels(case), stream, engine.card) for case in cases]
            pixels, tables = [_pixels(case) for case in cases], [case.table for case in cases]
            windows = contrast_windows(self._parameters.contrast, pixels, images, tables, engine)
            parts, unfit = self._scales(engine, cases, images, windows)
            together = device.collect_boxes(parts, MOST_BOXES, stream=stream)
            fused = device.fuse_boxes(
                together.boxes,
                together.scores,
                together.counts,
                len(self._parameters.scales),
                device.to_device(np.array([case.image.shape for case in cases], np.int32), stream, engine.card),
                self._parameters.fusion_threshold,
                MOST_BOXES,
                stream=stream,
            )
            there = on_host((windows, unfit), stream), on_host(together, stream), on_host(fused, stream)
            detected = [self._detected(case, i, *there, parts, stream) for i, case in enumerate(cases)]
        for case in detected:
            if isinstance(case, TwoStageCase):
                case.pixels = None  # only now: where the call fails, its images are detected again
        return detected

    def _scales(
        self, engine: DeviceEngine, cases: Sequence[TwoStageCase], images: Sequence[Any], windows: Any
    ) -> tuple[list[_Part], Any]:
        """Enqueue the detector at every scale; return what it finds and keeps at each, and the images' status."""
        p, n, stream = self._parameters, len(cases), engine.stream
        batch = self._settings.detection_batch
        inputs = [engine.buffers({"image": (batch, 1, *scale)})["image"] for scale in p.scales]
        rows = [device.view(array, (n, 1, *scale)) for array, scale in zip(inputs, p.scales, strict=True)]
        _, status = device.detection_inputs(
            images,
            [case.table for case in cases],
            windows,
            p.scales,
            dtype=engine.inputs[0].dtype,
            stream=stream,
            out=(*rows, None),
        )
        frames = device.to_device(np.array([case.frame for case in cases], np.int32), stream, engine.card)
        parts = []
        for array, (height, width) in zip(inputs, p.scales, strict=True):
            outputs = engine.run_on_device({"image": array}, stream)
            shapes = [(height // stride, width // stride) for stride in p.strides]
            # The outputs are the engine's memory until its next run: they are read before that, on its stream.
            found = device.decode_yolo(
                [
                    device.view(outputs[name], (n, HEAD_CHANNELS, *shape))
                    for name, shape in zip(self._heads, shapes, strict=True)
                ],
                p.strides,
                p.anchors,
                p.confidence_threshold,
                sum(ANCHORS_PER_HEAD * height * width for height, width in shapes),
                frames=frames,
                stream=stream,
            )
            parts.append((found, device.nms(found.boxes, found.scores, found.counts, p.nms_iou, stream=stream)))
        return parts, status

    def _detected(
        self,
        case: TwoStageCase,
        i: int,
        read: tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]],
        together: Any,
        fused: Any,
        parts: Sequence[_Part],
        stream: int,
    ) -> TwoStageCase | BrokenImage:
        """Return image i of a batch with its boxes and candidates.

        read: windows, and the status of what the detector was shown. together, fused: as the ops give them. All on the
        host; parts: on the card still.
        """
        windows, unfit = read
        if unfit[i]:
            return unusable()
        if together.status[i] & device.NOT_FINITE:
            return BrokenImage(Reason.NOT_FINITE, "the detector gave NaN or infinity for this image")
        case.low, case.high = map(float, windows[i])
        if together.status[i] or fused.status[i]:
            self._fuse_on_host(case, i, parts, stream)
            return case
        count = together.counts[i]
        boxes, scores, scale_of = (array[i, :count] for array in together[:3])
        of_scales = [scale_of == scale for scale in range(len(parts))]
        case.boxes = [boxes[of_scale] for of_scale in of_scales]
        case.scores = [scores[of_scale] for of_scale in of_scales]
        count = fused.counts[i]
        case.candidates = ops.FusedBoxes(*(array[i, :count] for array in fused[:3]))
        return case

    def _fuse_on_host(self, case: TwoStageCase, i: int, parts: Sequence[_Part], stream: int) -> None:
        """Fuse more boxes than a card takes; of the batch, only this image's come down."""
        case.boxes, case.scores = [], []
        for found, kept in parts:
            wanted = found.boxes, found.scores, kept.indices, kept.counts
            boxes, scores, indices, count = (device.to_host(device.row(array, i), stream) for array in wanted)
            chosen = indices[: int(count)]
            case.boxes.append(boxes[chosen])
            case.scores.append(scores[chosen])
        self._fuse(case)

    def _segment_batch(self, parts: Sequence[tuple[Candidate, Pixels]]) -> list[Finding | BrokenImage]:
        """Take candidates from their native pixels to findings."""
        p, k = self._parameters, len(parts)
        cases = [candidate.case for candidate, _ in parts]
        with self._segmenters.one() as engine:
            stream = engine.stream
            crops = [device.to_device(pixels, stream, engine.card) for _, pixels in parts]
            windows = device.to_device(
                np.array([(case.low, case.high) for case in cases], np.float64), stream, engine.card
            )
            shape = (1, *p.crop_shape)
            inputs = engine.buffers({"crop": (self._settings.segmentation_batch, *shape)})
            _, status = device.segmentation_inputs(
                crops,
                [case.table for case in cases],
                windows,
                range(k),
                p.crop_shape,
                dtype=engine.inputs[0].dtype,
                stream=stream,
                out=(device.view(inputs["crop"], (k, *shape)), None),
            )
            probabilities = device.view(engine.run_on_device(inputs, stream)["mask"], (k, *p.crop_shape))
            shapes = [_size(candidate.window) for candidate, _ in parts]
            packed = on_host(device.paste_packed(probabilities, shapes, p.mask_threshold, stream=stream), stream)
            unfit = device.to_host(status, stream)
        return [
            unusable()
            if unfit[i]
            else BrokenImage(Reason.NOT_FINITE, "the segmenter gave NaN or infinity for this image")
            if packed.status[i] & device.NOT_FINITE
            else self._found(candidate, unpacked(packed.bits, packed.offsets, i, shapes[i]))
            for i, (candidate, _) in enumerate(parts)
        ]


def _pixels(case: TwoStageCase) -> Pixels:
    assert case.pixels is not None
    return case.pixels


def _size(window: Box) -> tuple[int, int]:
    """Return (rows, cols)."""
    return window[3] - window[1], window[2] - window[0]
