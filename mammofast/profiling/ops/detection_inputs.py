"""One image at a detector's scales: ours in one pass beside OpenCV, a pass for each."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest
from mammofast.profiling.ops.drawing import mammogram
from mammofast.profiling.ops.peers import beside, peer

SCALES = ((320, 160), (512, 256), (640, 320), (832, 416), (960, 480))
LOW, HIGH = 100.0, 4000.0
TOLERANCE = 1e-5
Pixels = npt.NDArray[Any]
Inputs = list[npt.NDArray[np.float32]]
REASONS = {
    "native": "an image screened without an archive: five scales from 13.6 megapixels",
    "level 2": "what a night does: the archive's level of 1024 x 832 was read",
}


def _case(level: str, name: str) -> Contest:
    pixels = mammogram(np.random.default_rng(7))
    if level == "level 2":
        (pixels,) = ops.pool(pixels, [2])
    ways, left_out = beside(PEERS, pixels)
    return Contest(
        name,
        REASONS[level],
        partial(ops.detection_inputs, pixels, None, LOW, HIGH, SCALES),
        ways,
        smallest=partial(ops.detection_inputs, pixels[:1, :1], None, LOW, HIGH, [(1, 1)] * len(SCALES)),
        left_out=left_out,
        unit="images",
    )


def grey_then_area(pixels: Pixels) -> Inputs:
    """Map the whole image to 0..1 in float32, then shrink it to each scale."""
    import cv2

    grey = np.clip((pixels.astype(np.float32) - np.float32(LOW)) / np.float32(HIGH - LOW), 0, 1)
    return [cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA) for rows, cols in SCALES]


def _close(ours: Inputs, other: Inputs) -> bool:
    return all(np.abs(a - b).max() <= TOLERANCE for a, b in zip(ours, other, strict=True))


PEERS = (peer("NumPy to 0..1, OpenCV INTER_AREA", ("cv2",), grey_then_area, _close),)
CASES = {f"detection_inputs, five scales of {level}": partial(_case, level) for level in REASONS}
