"""Candidates' windows as a segmenter's batch: ours beside OpenCV."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest
from mammofast.profiling.ops.drawing import mammogram
from mammofast.profiling.ops.peers import beside, peer

INPUT = (256, 256)
LOW, HIGH = 100.0, 4000.0
# A grey level that lies between two of 256 may fall on either side; equalizing then moves that pixel.
DIFFERENT_PART = 1e-3
Windows = Sequence[npt.NDArray[Any]]
Batch = npt.NDArray[np.float32]


def _case(count: int, name: str) -> Contest:
    rng = np.random.default_rng(count)
    pixels = mammogram(rng)
    sides = rng.integers(300, 900, (count, 2))
    corners = rng.integers(0, np.array(pixels.shape) - sides)
    windows = [pixels[y : y + h, x : x + w].copy() for (y, x), (h, w) in zip(corners, sides, strict=True)]
    ways, left_out = beside(PEERS, windows)
    fixed = [None] * count, [LOW] * count, [HIGH] * count, INPUT
    return Contest(
        name,
        "the candidates of one image, 300 to 900 pixels wide",
        partial(ops.segmentation_inputs, windows, *fixed),
        ways,
        smallest=partial(ops.segmentation_inputs, [], [], [], [], INPUT),
        left_out=left_out,
        items=count,
        unit="windows",
    )


def area_and_equalize(windows: Windows) -> Batch:
    """Map to 0..1, shrink, round to 8 bits, equalize the histogram."""
    import cv2

    batch = np.empty((len(windows), 1, *INPUT), np.float32)
    for item, window in zip(batch, windows, strict=True):
        grey = np.clip((window.astype(np.float32) - np.float32(LOW)) / np.float32(HIGH - LOW), 0, 1)
        small = cv2.resize(grey, INPUT[::-1], interpolation=cv2.INTER_AREA)
        levels = np.floor(255 * small + np.float32(0.5)).astype(np.uint8)
        item[0] = cv2.equalizeHist(levels) / np.float32(255)
    return batch


def _nearly(ours: Batch, other: Batch) -> bool:
    return bool(np.count_nonzero(np.abs(ours - other) > 1e-6) <= DIFFERENT_PART * ours.size)


PEERS = (peer("OpenCV INTER_AREA, equalizeHist", ("cv2",), area_and_equalize, _nearly),)
CASES = {f"segmentation_inputs, {count} windows to 256 x 256": partial(_case, count) for count in (1, 5)}
