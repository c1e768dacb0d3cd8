"""From stored values to what networks read, a batch at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, is_cuda, kernels, outputs
from mammofast.records import GreyTable

HALF = (np.dtype(np.float16), np.dtype(np.float32))


def contrast_windows(
    images: Sequence[CudaArray],
    tables: Sequence[GreyTable | None],
    percentiles: tuple[float, float] | None,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> tuple[CudaArray, CudaArray]:
    """Find which presentation values of each image become 0 and 1, without its pixels leaving the device.

    Parameters
    ----------
    images : n arrays (rows, cols), integers of at most 16 bits; rows may lie apart
    tables : one for each image, or None; their values lie on the device, or are copied there
    percentiles : low and high, as :class:`mammofast.methods.contrast.Contrast` takes them: the smallest presentation
        value is left out, a percentile is the smallest value with at least so many of the rest at or below it. None:
        the smallest and the largest value.
    out : the two arrays of the result, to write to

    Returns
    -------
    windows : float64 (n, 2), low and high, high > low
    status : int32 (n,), ``NOT_FINITE`` for NaN or Inf in a table

    Raises
    ------
    ValueError
        For wrong shapes or types, and percentiles that are not 0 <= low < high <= 100.
    """
    low, high = (0.0, 100.0) if percentiles is None else percentiles
    low, high = _checks.number("percentiles[0]", low, 0, 100), _checks.number("percentiles[1]", high, 0, 100)
    if not low < high:
        raise _checks.fail("percentiles", repr(percentiles), "low < high")
    greys = _greys("images", images, tables)
    # The quotients are those of methods/contrast.py, to the bit.
    results = kernels("images").contrast_windows(
        list(images), greys, percentiles is None, low / 100, high / 100, stream, outputs(out, 2)
    )
    return results  # type: ignore[no-any-return]


def detection_inputs(
    images: Sequence[CudaArray],
    tables: Sequence[GreyTable | None],
    windows: CudaArray,
    shapes: Sequence[Sequence[int]],
    *,
    fit: str = "stretch",
    dtype: npt.DTypeLike = np.float16,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> tuple[list[CudaArray], CudaArray]:
    """Prepare images at a detector's sizes, as :func:`mammofast.ops.detection_inputs`.

    Parameters
    ----------
    images : n arrays (rows, cols), of any pixel types and shapes; rows may lie apart
    tables : one for each image, or None; their values lie on the device, or are copied there
    windows : float64 (n, 2), low and high of each image, as :func:`contrast_windows` gives them
    shapes : (rows, cols) of each input
    fit : "stretch" or "letterbox"
    dtype : float16 or float32
    out : an array for each shape and the status, to write to

    Returns
    -------
    inputs : for each shape (n, 1, rows, cols); float32 values equal those of the CPU to the bit, float16 ones are
        these, rounded to nearest, ties to even
    status : int32 (n,), ``NOT_FINITE`` for NaN or Inf among the pixels or in the table, ``UNSOUND`` for a window that
        is not low < high; the inputs of such an image mean nothing

    Raises
    ------
    ValueError
        For wrong shapes or types.

    Notes
    -----
    One walk over the pixels serves five shapes and 36 images of a pixel type at once; more take another launch. Pixels
    of at most 16 bits are looked up, others too where the window spans at most 2^16 values or there is a table; the
    lookup is from shared memory up to 4098 values. What must move: every pixel in, every input out, for five scales of
    1024 x 832 pixels of 16 bits in half precision 4.1 MB an image.
    """
    letterbox = _checks.letterboxed(fit)
    sizes = [_checks.shape("shapes", shape, low=1) for shape in shapes]
    greys = _greys("images", images, tables)
    results = kernels("images").detection_inputs_batch(
        list(images), greys, windows, sizes, letterbox, is_half(dtype), stream, outputs(out, len(sizes) + 1)
    )
    return results  # type: ignore[no-any-return]


def segmentation_inputs(
    crops: Sequence[CudaArray],
    tables: Sequence[GreyTable | None],
    windows: CudaArray,
    image_of: Sequence[int],
    shape: Sequence[int] = (256, 256),
    *,
    dtype: npt.DTypeLike = np.float16,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> tuple[CudaArray, CudaArray]:
    """Prepare crops of many images as one segmenter's batch, as :func:`mammofast.ops.segmentation_inputs`.

    Parameters
    ----------
    crops : n arrays (rows, cols), slices of images on the device or arrays of their own
    tables : one for each crop, or None; their values lie on the device, or are copied there
    windows : float64 (images, 2), low and high of each image
    image_of : for each crop the index of its window
    shape : (rows, cols) of the inputs
    dtype : float16 or float32
    out : the two arrays of the result, to write to

    Returns
    -------
    inputs : (n, 1, rows, cols), multiples of 1/255; float16 ones rounded to nearest, ties to even
    status : int32 (n,), as for :func:`detection_inputs`

    Raises
    ------
    ValueError
        For wrong shapes or types, and indices without a window.
    """
    rows, cols = _checks.shape("shape", shape, low=1)
    greys = _greys("crops", crops, tables)
    if len(image_of) != len(crops):
        raise _checks.fail("image_of", f"{len(image_of)} items", f"one for each of {len(crops)} crops")
    indices = [_checks.whole("image_of", index, 0, _checks.MAX_SIZE) for index in image_of]
    results = kernels("crops").segmentation_inputs_batch(
        list(crops), greys, windows, indices, rows, cols, is_half(dtype), stream, outputs(out, 2)
    )
    return results  # type: ignore[no-any-return]


def is_half(dtype: npt.DTypeLike) -> bool:
    """Whether inputs are half precision; ValueError for a type that is none of theirs."""
    if np.dtype(dtype) not in HALF:
        raise _checks.fail("dtype", np.dtype(dtype), "float16 or float32")
    return np.dtype(dtype) == np.float16


def _greys(name: str, images: Sequence[CudaArray], tables: Sequence[GreyTable | None]) -> list[Any]:
    """Return for each image None, or its table's values and the stored value of the first one."""
    if len(tables) != len(images):
        raise _checks.fail("tables", f"{len(tables)} items", f"one for each of {len(images)} {name}")
    greys: list[Any] = []
    for table in tables:
        if isinstance(table, GreyTable) and is_cuda(table.values):
            greys.append((table.values, _checks.whole("table.first", table.first, -(2**31), 2**32 - 1)))
        else:
            values, first = _checks.grey_table(table, None)
            greys.append(None if values is None else (values, first))
    return greys
