"""Ops on masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
from mammofast.ops._native import kernels


def paste_masks(
    crops: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.integer[Any]],
    shape: Sequence[int],
    threshold: float = 0.5,
) -> npt.NDArray[np.bool_]:
    """Stretch each crop to its box, threshold it, and OR all of them into one mask.

    Bilinear between pixel centres with repeated edges (OpenCV's INTER_LINEAR, torch's ``align_corners=False``). A box
    that leaves the image is stretched whole, then clipped; an empty box paints nothing.

    Parameters
    ----------
    crops : float32 (n, h, w), probabilities
    boxes : integers (n, 4), (x_min, y_min, x_max, y_max)
    shape : (rows, cols) of the mask
    threshold : a pixel is set where its value is at least this

    Returns
    -------
    bool (rows, cols)

    Raises
    ------
    ValueError
        For wrong shapes or types, NaN, Inf, boxes inside out.
    """
    crops = _checks.array("crops", crops, np.float32, "n", "h", "w")
    if len(crops) and not crops.size:
        raise _checks.fail("crops", f"shape {crops.shape}", "crops of at least one pixel")
    corners = _int32_boxes(boxes, len(crops))
    mask = np.zeros(_checks.shape("shape", shape), dtype=bool)
    kernels().paste_masks(crops, corners, _checks.number("threshold", threshold), mask)
    return mask


def _int32_boxes(boxes: object, n: int) -> npt.NDArray[np.int32]:
    if not isinstance(boxes, np.ndarray) or boxes.dtype.kind not in "iu" or boxes.shape != (n, 4):
        got = f"{boxes.dtype} of shape {boxes.shape}" if isinstance(boxes, np.ndarray) else type(boxes).__name__
        raise _checks.fail("boxes", got, f"integers of shape ({n}, 4)")
    corners = np.ascontiguousarray(boxes, dtype=np.int32)
    if boxes.dtype != np.int32 and not np.array_equal(corners, boxes):
        raise _checks.fail("boxes", f"{boxes.dtype} beyond int32", "coordinates that fit int32")
    return corners
