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
    crops: npt.NDArray[np.float32] | _cuda.CudaArray,
    boxes: npt.NDArray[np.integer[Any]] | _cuda.CudaArray,
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

    Notes
    -----
    Crops on a CUDA device, float32 or half precision, give a mask on it, equal to the bit, on the stream that their
    ``__cuda_array_interface__`` names, else on the legacy default stream; the op waits for that stream once, to check
    the values, and once more before where the boxes are integers other than int32.
    :func:`mammofast.ops.device.paste_masks` waits for nothing.
    """
    if _cuda.is_cuda(crops):
        return _paste_on_device(crops, boxes, _checks.shape("shape", shape), _checks.number("threshold", threshold))
    crops = _checks.array("crops", crops, np.float32, "n", "h", "w")
    check_crops(crops)
    corners = _int32_boxes(boxes, len(crops))
    mask = np.zeros(_checks.shape("shape", shape), dtype=bool)
    kernels().paste_masks(crops, corners, _checks.number("threshold", threshold), mask)
    return mask


def _paste_on_device(
    crops: _cuda.CudaArray, boxes: object, shape: tuple[int, int], threshold: float
) -> npt.NDArray[np.bool_]:
    native, stream = _cuda.kernels("crops"), _cuda.stream_of(crops)
    extents = check_crops(crops)
    corners = boxes
    if len(extents) == 3 and not (_cuda.is_cuda(boxes) and _cuda.dtype_name(boxes) == "int32"):
        corners = _int32_boxes(_cuda.to_host(boxes, stream) if _cuda.is_cuda(boxes) else boxes, extents[0])
    mask, status = native.paste_masks(crops, corners, None, 1, *shape, threshold, stream, (None, None))
    if _cuda.to_host(status, stream).any():  # the CPU's checks say which box it is
        here = corners if isinstance(corners, np.ndarray) else _cuda.to_host(corners, stream)
        paste_masks(np.zeros((len(here), 1, 1), np.float32), here, (0, 0))
        raise _checks.fail("crops", "NaN or Inf", "finite values")
    return mask  # type: ignore[no-any-return]


def check_crops(crops: Any) -> tuple[int, ...]:
    """Return the shape; ValueError where there are crops without a pixel."""
    shape = tuple(crops.shape)
    if len(shape) == 3 and shape[0] and not shape[1] * shape[2]:
        raise _checks.fail("crops", f"shape {shape}", "crops of at least one pixel")
    return shape


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
