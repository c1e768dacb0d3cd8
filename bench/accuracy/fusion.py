"""Eq. 1's fusion of five scales, each scale alone, and plain suppression over all scales, from the same boxes.

Boxes come twice: as detection gives them, and as the bundle reports findings, the tight box of each candidate's mask;
every way's candidates go through the same segmenter.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.accuracy.curves import Found
from mammofast import ops
from mammofast.archive import ArchiveImage
from mammofast.bundles import Bundle
from mammofast.engine import Engine, load_engine
from mammofast.methods.parameters import read_parameters
from mammofast.methods.two_stage import TwoStage, TwoStageParameters
from mammofast.records import tight_box
from mammofast.settings import Settings

FUSION, NMS = "fusion", "suppression over all scales"


def parameters_of(bundle: Bundle) -> TwoStageParameters:
    return read_parameters(TwoStageParameters, bundle.parameters, bundle.name)


def ways(
    detections: npt.NDArray[np.float32], shape: tuple[int, int], p: TwoStageParameters, threshold: float
) -> dict[str, Found]:
    """Return each way's candidates from the boxes of all scales (n, 6) whose confidence reaches ``threshold``."""
    kept = detections[detections[:, 5] >= np.float32(threshold)]
    scales, boxes, confidences = kept[:, 0], np.ascontiguousarray(kept[:, 1:5]), kept[:, 5].copy()
    fused = ops.fuse_boxes(boxes, confidences, len(p.scales), shape, p.fusion_threshold)
    left = ops.nms(boxes, confidences, p.nms_iou)
    found: dict[str, Found] = {FUSION: (fused.boxes, fused.confidence), NMS: (boxes[left], confidences[left])}
    for scale, (rows, cols) in enumerate(p.scales):
        alone = scales == scale
        found[f"{rows}×{cols} alone"] = (boxes[alone], confidences[alone])
    return found


def mask_boxes(
    images: Sequence[ArchiveImage], found: Mapping[str, Sequence[Found]], bundle: Bundle, workers: int
) -> dict[str, list[Found]]:
    """Return each way's candidates, one entry an image, with the boxes of their masks."""

    def run(first: int) -> list[dict[str, Found]]:
        segmenter = Segmenter.load(bundle)
        return [
            {name: (segmenter.boxes(images[i], by_image[i][0]), by_image[i][1]) for name, by_image in found.items()}
            for i in range(first, len(images), workers)
        ]

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(run, range(workers)))
    return {name: [parts[i % workers][i // workers][name] for i in range(len(images))] for name in found}


@dataclass
class Segmenter:
    """The bundle's second stage, for candidates of any origin: what ``TwoStage`` does, one window at a time."""

    parameters: TwoStageParameters
    engine: Engine
    method: TwoStage
    _known: dict[tuple[Any, ...], tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, bundle: Bundle) -> "Segmenter":
        p = parameters_of(bundle)
        engines = {
            n: load_engine(bundle.read(n), net.backend, "cpu", net.precision) for n, net in bundle.networks.items()
        }
        return cls(p, engines["segmenter"], TwoStage(p, engines, Settings()))

    def boxes(self, image: ArchiveImage, candidates: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the tight box of each candidate's mask; the candidate where that is empty."""
        wanted = [tuple(map(int, np.rint(box))) for box in candidates]
        missing = [box for box in dict.fromkeys(wanted) if (image.record.sop_uid, *box) not in self._known]
        if missing:
            level = image.read(level=self.method.detection_level(image.shape))
            table = image.grey_table(self.parameters.grey)
            contrast = self.parameters.contrast.window(level, table)
            for box in missing:
                self._known[image.record.sop_uid, *box] = self._box(image, box, table, contrast)
        found = [self._known[image.record.sop_uid, *box] for box in wanted]
        return np.array(found, dtype=np.int64).reshape(-1, 4)

    def _box(
        self, image: ArchiveImage, box: tuple[int, ...], table: Any, contrast: tuple[float, float]
    ) -> tuple[int, ...]:
        x_min, y_min, x_max, y_max = _widened(box, self.parameters.crop_margin, image.shape)
        pixels = image.read(window=(x_min, y_min, x_max, y_max))
        low, high = contrast
        crop = ops.segmentation_inputs([pixels], [table], [low], [high], self.parameters.crop_shape)
        mask = ops.paste_masks(
            self.engine.run({"crop": crop})["mask"][:, 0],
            np.array([[0, 0, x_max - x_min, y_max - y_min]], dtype=np.int32),
            (y_max - y_min, x_max - x_min),
            self.parameters.mask_threshold,
        )
        return tight_box(mask, x_min, y_min) if mask.any() else box


def _widened(box: Sequence[int], margin: float, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    x_min, y_min, x_max, y_max = box
    dx, dy = round((x_max - x_min) * margin), round((y_max - y_min) * margin)
    return (max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, shape[1]), min(y_max + dy, shape[0]))
