"""Crops of probabilities stretched to masks, a batch at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels, outputs
from mammofast.ops._masks import check_crops


def paste_masks(
    crops: CudaArray,
    boxes: CudaArray,
    images: CudaArray,
    n: int,
    shape: Sequence[int],
    threshold: float = 0.5,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> tuple[CudaArray, CudaArray]:
    """Stretch each crop to its box in its image, threshold it, and OR all of an image's, as ``ops.paste_masks``.

    Parameters
    ----------
    crops : float32 or float16 (k, h, w), probabilities
    boxes : int32 (k, 4), (x_min, y_min, x_max, y_max)
    images : int32 (k,), which mask each crop goes to; -1, or any other that is not in 0..n-1, for none
    n : the number of images
    shape : (rows, cols) of each mask
    threshold : a pixel is set where its value is at least this
    out : the two arrays of the result, to write to

    Returns
    -------
    masks : bool (n, rows, cols)
    status : int32 (n,), ``NOT_FINITE`` where one of an image's crops holds NaN or Inf, ``UNSOUND`` where one of its
        boxes is inside out, which paints nothing

    Notes
    -----
    The masks are cleared by a memset; after that only what the boxes cover is touched.
    """
    check_crops(crops)
    n = _checks.whole("n", n, 0, _checks.MAX_SIZE)
    rows, cols = _checks.shape("shape", shape)
    threshold = _checks.number("threshold", threshold)
    return kernels("crops").paste_masks(  # type: ignore[no-any-return]
        crops, boxes, images, n, rows, cols, threshold, stream, outputs(out, 2)
    )


class PackedMasks(NamedTuple):
    """Masks of a bit a pixel and what is known of each.

    bits: uint8, one mask after the other, rows padded to bytes, the first pixel in a byte's highest bit, so that
    ``np.unpackbits(bits[offsets[i] : offsets[i + 1]].reshape(rows, -1), axis=1, count=cols)`` is mask i; offsets: int64
    (k + 1,) on the host; areas: int32 (k,), the pixels set; boxes: int32 (k, 4), the smallest half-open ones that hold
    them, in the mask's own pixels, zeros where none is set; status: int32 (k,), ``NOT_FINITE`` where a crop holds NaN
    or Inf.
    """

    bits: CudaArray
    offsets: npt.NDArray[np.int64]
    areas: CudaArray
    boxes: CudaArray
    status: CudaArray


def paste_packed(
    crops: CudaArray,
    shapes: Sequence[Sequence[int]],
    threshold: float = 0.5,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> PackedMasks:
    """Stretch each crop to a mask of its own, a bit a pixel: what a pipeline downloads of its candidates.

    Parameters
    ----------
    crops : float32 or float16 (k, h, w), probabilities
    shapes : k times (rows, cols) of less than 2^31 pixels, on the host
    threshold : a pixel is set where its value is at least this
    out : bits, areas, boxes and status, to write to

    Returns
    -------
    PackedMasks

    Notes
    -----
    A launch takes up to 128 crops; nothing but its arguments is sent to the device.
    """
    extents = check_crops(crops)
    sizes = [_checks.shape(f"shapes[{i}]", shape) for i, shape in enumerate(shapes)]
    for i, (rows, cols) in enumerate(sizes):
        if rows * cols > _checks.MAX_SIZE:
            raise _checks.fail(f"shapes[{i}]", f"{rows} x {cols}", "less than 2^31 pixels")
    if len(extents) == 3 and len(sizes) != extents[0]:
        raise _checks.fail("shapes", f"{len(sizes)} of them", f"{extents[0]}, one for each crop")
    offsets = np.cumsum([0, *(rows * (-(-cols // 8)) for rows, cols in sizes)], dtype=np.int64)
    given = np.array(sizes, dtype=np.int32).reshape(-1, 2)
    bits, areas, boxes, status = kernels("crops").paste_packed(
        crops, given, _checks.number("threshold", threshold), stream, outputs(out, 4)
    )
    return PackedMasks(bits, offsets, areas, boxes, status)
