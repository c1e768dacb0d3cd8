"""From stored values to what networks read."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks, _cuda
from mammofast.ops._native import kernels
from mammofast.records import GreyTable

MAX_LEVEL = 15  # csrc/pool/pool.h


def pool(image: npt.NDArray[Any], levels: Sequence[int]) -> list[npt.NDArray[Any]]:
    """Compute levels of an image's pyramid in one pass over it.

    Level k is the mean over 2^k x 2^k squares, of shape ``ceil(size / 2^k)``; partial squares at the far edges average
    the pixels they have. Integers keep their type: sums are exact, means rounded half up (towards +Inf). Floats are
    summed in double and give float32.

    Parameters
    ----------
    image : (rows, cols), integers of at most 32 bits, float32 or float64
    levels : each in 0..15, in any order

    Returns
    -------
    list of (ceil(rows / 2^k), ceil(cols / 2^k)), in the order of ``levels``

    Raises
    ------
    ValueError
        For wrong shapes, types or levels, and for NaN or Inf.
    """
    pixels = _checks.image("image", image)
    wanted = [_checks.whole("levels", level, 0, MAX_LEVEL) for level in levels]
    rising = sorted(set(wanted))
    pooled = dict(zip(rising, kernels().pool(pixels, rising), strict=True))
    return [pooled.pop(level) if wanted.count(level) == 1 else pooled[level].copy() for level in wanted]


@overload
def detection_inputs(
    pixels: npt.NDArray[Any],
    table: GreyTable | None,
    low: float,
    high: float,
    shapes: Sequence[Sequence[int]],
    fit: str = "stretch",
) -> list[npt.NDArray[np.float32]]: ...


@overload
def detection_inputs(
    pixels: _cuda.CudaArray,
    table: GreyTable | None,
    low: float,
    high: float,
    shapes: Sequence[Sequence[int]],
    fit: str = "stretch",
) -> list[_cuda.CudaArray]: ...


def detection_inputs(
    pixels: npt.NDArray[Any] | _cuda.CudaArray,
    table: GreyTable | None,
    low: float,
    high: float,
    shapes: Sequence[Sequence[int]],
    fit: str = "stretch",
) -> list[npt.NDArray[np.float32]] | list[_cuda.CudaArray]:
    """Prepare one image at a detector's sizes, in one pass over its pixels.

    A stored value v means ``table.values[clip(v - table.first)]``, or v itself without a table; that value goes through
    ``clip((value - low) / (high - low), 0, 1)``. Each axis is then resampled by itself: area weights where it shrinks
    (exact fractional coverage, OpenCV's INTER_AREA), bilinear between pixel centres where it grows, a copy where equal.

    Parameters
    ----------
    pixels : (rows, cols), integers of at most 32 bits, float32 or float64; a table needs integers
    low, high : presentation values that become 0 and 1
    shapes : (rows, cols) of each input
    fit : "stretch" fills each input, "letterbox" keeps the image's aspect, see :func:`placement`; what it does not
        cover is 0.5, darknet's grey

    Returns
    -------
    list of float32 (rows, cols), in [0, 1] up to rounding

    Raises
    ------
    ValueError
        For wrong shapes or types, low >= high, NaN or Inf.

    Notes
    -----
    Pixels on a CUDA device, whose rows may lie apart, give results on it, equal to the bit, on the stream that their
    ``__cuda_array_interface__`` names, else on the legacy default stream; the op waits for that stream once, to check
    the values. :func:`mammofast.ops.device.detection_inputs` takes a batch and waits for nothing.
    """
    letterbox = _checks.letterboxed(fit)
    if _cuda.is_cuda(pixels):
        native, stream = _cuda.kernels("pixels"), _cuda.stream_of(pixels)
        grey = _table_and_first(table)
        low, high = _checks.contrast(low, high)
        targets = [_checks.shape("shapes", shape, low=1) for shape in shapes]
        inputs, status = native.detection_inputs(pixels, grey, low, high, targets, letterbox, stream)
        _check_finite("pixels", [table], _cuda.to_host(status, stream))
        return inputs  # type: ignore[no-any-return]
    pixels = _checks.filled_image("pixels", pixels)
    values, first = _checks.grey_table(table, pixels)
    low, high = _checks.contrast(low, high)
    targets = [_checks.shape("shapes", shape, low=1) for shape in shapes]
    return kernels().detection_inputs(pixels, values, first, low, high, targets, letterbox)  # type: ignore[no-any-return]


def placement(source: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return (top, left, rows, cols) of an image in a letterboxed input of :func:`detection_inputs`.

    Rows and columns shrink or grow by one factor, so that the tighter axis fills the input; the other one is rounded to
    the nearest pixel, halves up, at least 1, and centred, the odd pixel of padding below or to the right.

    Parameters
    ----------
    source : (rows, cols) of the image
    shape : (rows, cols) of the input
    """
    rows, cols = _checks.shape("source", source, low=1)
    into_rows, into_cols = _checks.shape("shape", shape, low=1)
    if rows * into_cols >= cols * into_rows:
        cols, rows = min(max((2 * cols * into_rows + rows) // (2 * rows), 1), into_cols), into_rows
    else:
        rows, cols = min(max((2 * rows * into_cols + cols) // (2 * cols), 1), into_rows), into_cols
    return (into_rows - rows) // 2, (into_cols - cols) // 2, rows, cols


@overload
def segmentation_inputs(
    windows: Sequence[npt.NDArray[Any]],
    tables: Sequence[GreyTable | None],
    lows: Sequence[float],
    highs: Sequence[float],
    shape: Sequence[int] = (256, 256),
) -> npt.NDArray[np.float32]: ...


@overload
def segmentation_inputs(
    windows: Sequence[_cuda.CudaArray],
    tables: Sequence[GreyTable | None],
    lows: Sequence[float],
    highs: Sequence[float],
    shape: Sequence[int] = (256, 256),
) -> _cuda.CudaArray: ...


def segmentation_inputs(
    windows: Sequence[npt.NDArray[Any]] | Sequence[_cuda.CudaArray],
    tables: Sequence[GreyTable | None],
    lows: Sequence[float],
    highs: Sequence[float],
    shape: Sequence[int] = (256, 256),
) -> npt.NDArray[np.float32] | _cuda.CudaArray:
    """Prepare windows of images as a segmenter's batch.

    Each window is mapped and stretched as by :func:`detection_inputs`, reduced to 8 bits, ``floor(255 v + 0.5)``, and
    its histogram equalized with the integer arithmetic of OpenCV's ``equalizeHist``.

    Parameters
    ----------
    windows : n arrays (rows, cols), types as for :func:`detection_inputs`
    tables, lows, highs : one for each window
    shape : (rows, cols) of the inputs

    Returns
    -------
    float32 (n, 1, rows, cols), multiples of 1/255

    Raises
    ------
    ValueError
        As :func:`detection_inputs`, and where the lengths differ.

    Notes
    -----
    Windows on a CUDA device give a batch on it, as for :func:`detection_inputs`; the stream is the first one's.
    """
    for name, items in (("tables", tables), ("lows", lows), ("highs", highs)):
        if len(items) != len(windows):
            raise _checks.fail(name, f"{len(items)} items", f"one for each of {len(windows)} windows")
    rows, cols = _checks.shape("shape", shape, low=1)
    if len(windows) and _cuda.is_cuda(windows[0]):
        native, stream = _cuda.kernels("windows"), _cuda.stream_of(windows[0])
        greys = [_table_and_first(table) for table in tables]
        contrasts = [_checks.contrast(low, high) for low, high in zip(lows, highs, strict=True)]
        inputs, status = native.segmentation_inputs(list(windows), greys, contrasts, rows, cols, stream)
        _check_finite("windows", tables, _cuda.to_host(status, stream))
        return inputs  # type: ignore[no-any-return]
    batch = np.empty((len(windows), 1, rows, cols), dtype=np.float32)
    for item, window, table, low, high in zip(batch, windows, tables, lows, highs, strict=True):
        pixels = _checks.filled_image("windows", window)
        values, first = _checks.grey_table(table, pixels)
        kernels().segmentation_input(pixels, values, first, *_checks.contrast(low, high), item[0])
    return batch


def _table_and_first(table: GreyTable | None) -> tuple[npt.NDArray[np.float32], int] | None:
    values, first = _checks.grey_table(table, None)
    return None if values is None else (values, first)


def _check_finite(name: str, tables: Sequence[GreyTable | None], status: npt.NDArray[np.int32]) -> None:
    """Raise what the CPU's kernels raise."""
    for table, wrong in zip(tables, status, strict=True):
        if wrong:
            in_table = table is not None and not np.isfinite(table.values).all()
            raise _checks.fail("table" if in_table else name, "NaN or Inf", "finite values")
