"""Ops on masks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks, _cuda
from mammofast.ops._native import kernels

WIDEST = 2**31 - 64  # columns are searched 64 at a time and counted in int32


class LabelledMask(NamedTuple):
    """The connected components of a mask, numbered in raster order of their first pixels.

    labels: int32 (rows, cols), 0 where the mask is not set, else i + 1 for component i; boxes: int32 (k, 4), the
    smallest half-open ones that hold them; areas: int64 (k,), their pixels. NumPy arrays, or arrays on the CUDA device
    that the mask came from.
    """

    labels: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]
    areas: npt.NDArray[np.int64]


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


def label_mask(mask: npt.NDArray[np.bool_] | _cuda.CudaArray) -> LabelledMask:
    """Find the connected components of a mask; pixels that touch at a corner are connected (8-connectivity).

    Parameters
    ----------
    mask : bool (rows, cols)

    Raises
    ------
    ValueError
        For wrong shapes or types, and for masks of 2^31 runs of pixels or more; on a CUDA device for 2^31 pixels or
        more, and for arrays with gaps.

    Notes
    -----
    Labels equal those of scikit-image's ``label(mask, connectivity=2)``. Runs are joined by union-find (He, Chao and
    Suzuki 2008, "A run-based two-scan labeling algorithm"); the background of a sparse mask is read and never written.
    A mask on a CUDA device gives results on it, on the stream that its ``__cuda_array_interface__`` names, else on the
    legacy default stream; the op waits for that stream to learn how many components there are.
    :func:`mammofast.ops.device.label_mask` waits for nothing.
    """
    if _cuda.is_cuda(mask):
        return LabelledMask(*_cuda.kernels("mask").label_mask(mask, _cuda.stream_of(mask)))
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
        got = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise _checks.fail("mask", got, "bool of shape (rows, cols)")
    if max(mask.shape) > WIDEST:
        raise _checks.fail("mask", f"shape {mask.shape}", f"at most {WIDEST} rows and columns")
    pixels = mask if mask.strides[1] == 1 else np.ascontiguousarray(mask)
    labels = np.zeros(mask.shape, dtype=np.int32)
    return LabelledMask(labels, *kernels().label_mask(pixels, labels))
