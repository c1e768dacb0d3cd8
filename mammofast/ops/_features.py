"""Ops on feature maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks, _cuda
from mammofast.ops._native import kernels

NOT_FINITE = 4  # csrc/core/status.h
Grid = tuple[int, int, float, int]
MOST_BINS = 2**15  # along a side of the output
MOST_SAMPLES = 2**15  # along a side of a bin, as for the adaptive ones in csrc/roi_align/roi_align_math.h


def roi_align(
    features: npt.NDArray[np.float32] | _cuda.CudaArray,
    boxes: npt.NDArray[np.float32] | _cuda.CudaArray,
    batch_index: npt.NDArray[np.integer[Any]] | _cuda.CudaArray,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int = 2,
) -> npt.NDArray[np.float32]:
    """Average the feature map under each box in a grid of bins (He et al. 2017, arXiv 1703.06870).

    ONNX RoiAlign with ``coordinate_transformation_mode`` half_pixel, average; torchvision's ``aligned=True``. Bins are
    averages of bilinear samples; a sample more than a pixel outside the centres of the map's outer pixels counts as 0.

    Parameters
    ----------
    features : float32 (n, c, h, w)
    boxes : float32 (k, 4), (x_min, y_min, x_max, y_max) in pixels of the image
    batch_index : integers (k,), which of the n maps each box lies in
    output_size : (rows, cols), the bins of each box
    spatial_scale : pixels of the map for each pixel of the image, 1/16 for a network of stride 16
    sampling_ratio : samples along each side of a bin, or 0 for about one every pixel of the map

    Returns
    -------
    float32 (k, c, rows, cols)

    Raises
    ------
    ValueError
        For wrong shapes or types, NaN, Inf, boxes inside out, a batch_index outside 0..n-1, spatial_scale <= 0, and for
        bins of more than 2^15 pixels of the map where ``sampling_ratio`` is 0.

    Notes
    -----
    Features on a CUDA device, float32 or half precision, with boxes there too, give a result on it, equal to the bit,
    on the stream that their ``__cuda_array_interface__`` names, else on the legacy default stream; the op waits for
    that stream to check the values. :func:`mammofast.ops.device.roi_align` waits for nothing.
    """
    if _cuda.is_cuda(features):
        return _align_on_device(features, boxes, batch_index, check_grid(output_size, spatial_scale, sampling_ratio))
    features = _checks.array("features", features, np.float32, "n", "c", "h", "w")
    check_features(features)
    boxes = _checks.array("boxes", boxes, np.float32, "k", 4)
    images = _image_indices(batch_index, len(boxes))
    grid = check_grid(output_size, spatial_scale, sampling_ratio)
    return kernels().roi_align(features, boxes, images, *grid)  # type: ignore[no-any-return]


def _align_on_device(features: _cuda.CudaArray, boxes: Any, batch_index: object, grid: Grid) -> npt.NDArray[np.float32]:
    native, stream = _cuda.kernels("features"), _cuda.stream_of(features)
    extents = check_features(features)
    images, k = batch_index, tuple(boxes.shape)[:1] if hasattr(boxes, "shape") else ()
    if k and not (_cuda.is_cuda(images) and _cuda.dtype_name(images) in ("int32", "int64")):
        images = _image_indices(_cuda.to_host(images, stream) if _cuda.is_cuda(images) else images, *k)
    aligned, status = native.roi_align(features, boxes, images, *grid, stream, (None, None))
    here = images if isinstance(images, np.ndarray) else _cuda.to_host(images, stream)
    found = _cuda.to_host(status, stream)
    if not found.any() and (here.size == 0 or (here.min() >= 0 and here.max() < extents[0])):
        return aligned  # type: ignore[no-any-return]
    if (found & NOT_FINITE).any():
        raise _checks.fail("features", "NaN or Inf", "finite values")
    # The CPU's checks say which box it is.
    maps = np.zeros((extents[0], 1, 1, 1), np.float32)
    return kernels().roi_align(maps, _cuda.to_host(boxes, stream), here.astype(np.int64), *grid)  # type: ignore[no-any-return]


def check_features(features: Any) -> tuple[int, ...]:
    """Return the shape; ValueError where there are maps without a channel or pixel."""
    shape = tuple(features.shape)
    if len(shape) == 4 and shape[0] and 0 in shape:
        raise _checks.fail("features", f"shape {shape}", "at least one channel and pixel")
    return shape


def check_grid(output_size: Sequence[int], spatial_scale: float, sampling_ratio: int) -> Grid:
    """Return (rows, cols, spatial_scale, sampling_ratio), checked."""
    rows, cols = _checks.shape("output_size", output_size, low=1)
    if max(rows, cols) > MOST_BINS:
        raise _checks.fail("output_size", f"{(rows, cols)}", f"at most {MOST_BINS} rows and columns")
    scale = np.float32(_checks.number("spatial_scale", spatial_scale))
    if not (scale > 0 and np.isfinite(scale)):
        raise _checks.fail("spatial_scale", repr(spatial_scale), "a number above 0 that float32 holds")
    return rows, cols, float(scale), _checks.whole("sampling_ratio", sampling_ratio, 0, MOST_SAMPLES)


def _image_indices(batch_index: object, n: int) -> npt.NDArray[np.int64]:
    if not isinstance(batch_index, np.ndarray) or batch_index.dtype.kind not in "iu":
        raise _checks.fail("batch_index", _described(batch_index), f"integers of shape ({n},)")
    return _checks.array("batch_index", batch_index.astype(np.int64, copy=False), np.int64, n)


def _described(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
