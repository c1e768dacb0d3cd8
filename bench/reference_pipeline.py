"""The papers' way to run P4, as their code runs it: one image at a time, dense, in PyTorch.

The same networks (the bundle's weights) and the same definitions as ``mammofast.methods.two_stage``, from other
libraries: pydicom decodes the whole image and applies its LUTs, OpenCV resamples and equalizes, eq. 1 is summed on full
masks and labelled by scikit-image. Nothing is overlapped, cached or written down.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from skimage import measure  # noqa: F401 - `usual_way` needs it: loaded before anything is timed
from torch import nn

from bench.folded import load_folded
from mammofast.bundles import Bundle, load_bundle
from mammofast.models.compact_nested_unet import CompactNestedUNet
from mammofast.models.compact_yolo import CompactYolo
from mammofast.ops import reference
from mammofast.profiling.ops.fuse_boxes import usual_way

Image = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]


@dataclass(slots=True)
class ReferencePipeline:
    """A two-stage bundle in PyTorch. ``seconds``: where the time went, by stage."""

    bundle: Bundle
    detector: nn.Module
    segmenter: nn.Module
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, bundle: str | Path, threads: int) -> "ReferencePipeline":
        """Load a bundle's weights; convolutions use channels last, PyTorch and OpenCV this many threads."""
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        opened = load_bundle(bundle)
        networks = []
        for name, network in (("detector", CompactYolo()), ("segmenter", CompactNestedUNet())):
            loaded = load_folded(network, opened.read(name), torch.zeros(1, 1, 64, 64))
            networks.append(loaded.to(memory_format=torch.channels_last))
        return cls(opened, *networks)

    def screen(self, path: Path) -> list[tuple[Box, npt.NDArray[np.bool_]]]:
        """Return (box, mask of the box's size) of every finding in a DICOM file."""
        p = self.bundle.parameters
        with self._timed("decode"):
            image = dcmread(path)
            stored = image.pixel_array
        with self._timed("prepare"):
            level = _detection_level(stored.shape, p["scales"])
            presented = _present(_pool(stored, level), image)
            low, high = _contrast(presented, **p["contrast"])
            grey = np.clip((presented - low) / (high - low), 0, 1).astype(np.float32)
            inputs = [_resample(grey, tuple(scale)) for scale in p["scales"]]
            frame = (grey.shape[0] << level, grey.shape[1] << level)
        with self._timed("detect"):
            boxes, scores = zip(*(self._detect(values, frame) for values in inputs), strict=True)
        with self._timed("fuse"):
            candidates = _fuse(np.concatenate(boxes), np.concatenate(scores), len(inputs), stored.shape, p)
        with self._timed("segment"):
            windows = [_widened(box, p["crop_margin"], stored.shape) for box in candidates]
            crops = [_crop(stored, window, image, low, high, tuple(p["crop_shape"])) for window in windows]
            masks = self._segment(crops) if crops else []
            return [
                self._finding(box, window, mask) for box, window, mask in zip(candidates, windows, masks, strict=True)
            ]

    def _detect(self, grey: Image, frame: tuple[int, int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        p = self.bundle.parameters
        with torch.inference_mode():
            batch = torch.from_numpy(grey)[None, None].to(memory_format=torch.channels_last)
            heads = [head[0].contiguous().numpy() for head in self.detector(batch)]
        boxes, scores = reference.decode_yolo(heads, p["strides"], p["anchors"], p["confidence_threshold"])
        sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = np.asarray(cv2.dnn.NMSBoxes(sizes.astype(np.float64), scores, 0.0, p["nms_iou"]), dtype=np.int64)
        to_native = np.array([frame[1] / grey.shape[1], frame[0] / grey.shape[0]] * 2)
        return boxes[kept] * to_native, scores[kept]

    def _segment(self, crops: list[Image]) -> Image:
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(crops)[:, None]).contiguous(memory_format=torch.channels_last)
            return torch.sigmoid(self.segmenter(batch))[:, 0].contiguous().numpy()

    def _finding(self, box: Box, window: Box, probabilities: Image) -> tuple[Box, npt.NDArray[np.bool_]]:
        x, y, x_end, y_end = window
        mask = cv2.resize(probabilities, (x_end - x, y_end - y)) >= self.bundle.parameters["mask_threshold"]
        if self.bundle.parameters["box"] == "mask" and mask.any():
            left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
            box = (x + left, y + top, x + left + width, y + top + height)
        return box, mask[box[1] - y : box[3] - y, box[0] - x : box[2] - x]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _detection_level(shape: tuple[int, ...], scales: list[list[int]]) -> int:
    """Return the coarsest level that is not smaller than the largest scale."""
    rows, cols = np.max(scales, axis=0)
    level = 0
    while -(-shape[0] >> (level + 1)) >= rows and -(-shape[1] >> (level + 1)) >= cols:
        level += 1
    return level


def _pool(stored: npt.NDArray[Any], level: int) -> npt.NDArray[Any]:
    """Return a level by OpenCV's area averages; edges are repeated up to whole squares."""
    side = 1 << level
    bottom, right = (-size % side for size in stored.shape)
    whole = cv2.copyMakeBorder(stored, 0, bottom, 0, right, cv2.BORDER_REPLICATE) if bottom or right else stored
    return cv2.resize(whole, (whole.shape[1] >> level, whole.shape[0] >> level), interpolation=cv2.INTER_AREA)


def _present(stored: npt.NDArray[Any], image: Dataset) -> Image:
    """Apply the Modality LUT, the VOI LUT or window, and inversion (PS3.4 N.2)."""
    values = apply_modality_lut(stored, image)
    if "VOILUTSequence" in image:  # a table is looked up by whole numbers
        values = np.rint(values).astype(np.int32)
    values = apply_voi_lut(values, image).astype(np.float32)
    inverse = image.PhotometricInterpretation == "MONOCHROME1" or image.get("PresentationLUTShape") == "INVERSE"
    return -values if inverse else values


def _contrast(values: Image, low_percentile: float, high_percentile: float) -> tuple[float, float]:
    """Return the smallest values with this part of the breast's pixels at or below them."""
    breast = np.sort(values[values > values.min()])
    low, high = (
        float(breast[max(int(np.ceil(part / 100 * len(breast))) - 1, 0)]) for part in (low_percentile, high_percentile)
    )
    return low, high if high > low else low + 1


def _resample(grey: Image, shape: tuple[int, int]) -> Image:
    """Resample each axis on its own: area weights where it shrinks, bilinear where it grows."""
    by_rows, by_cols = (
        cv2.INTER_AREA if size < have else cv2.INTER_LINEAR for size, have in zip(shape, grey.shape, strict=True)
    )
    if by_rows == by_cols:
        return cv2.resize(grey, shape[::-1], interpolation=by_rows)
    tall = cv2.resize(grey, (grey.shape[1], shape[0]), interpolation=by_rows)
    return cv2.resize(tall, shape[::-1], interpolation=by_cols)


def _fuse(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], n_scales: int, shape: tuple[int, int], p: Any
) -> list[Box]:
    rows, cols = shape
    pixels = np.clip(np.floor(boxes + 0.5), 0, [cols, rows, cols, rows]).astype(np.int64)
    sound = (pixels[:, :2] < pixels[:, 2:]).all(axis=1)
    if not sound.any():
        return []
    fused = usual_way(pixels[sound], scores[sound].astype(np.float32), n_scales, shape, p["fusion_threshold"])
    return [tuple(map(int, box)) for box in fused]


def _widened(box: Box, margin: float, shape: tuple[int, int]) -> Box:
    x_min, y_min, x_max, y_max = box
    dx, dy = round((x_max - x_min) * margin), round((y_max - y_min) * margin)
    return (max(x_min - dx, 0), max(y_min - dy, 0), min(x_max + dx, shape[1]), min(y_max + dy, shape[0]))


def _crop(
    stored: npt.NDArray[Any], window: Box, image: Dataset, low: float, high: float, shape: tuple[int, int]
) -> Image:
    x_min, y_min, x_max, y_max = window
    presented = _present(stored[y_min:y_max, x_min:x_max], image)
    grey = _resample(np.clip((presented - low) / (high - low), 0, 1).astype(np.float32), shape)
    return cv2.equalizeHist(np.floor(255 * grey + 0.5).astype(np.uint8)).astype(np.float32) / 255
