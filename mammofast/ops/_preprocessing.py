"""From stored values to what networks read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
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


def detection_inputs(
    pixels: npt.NDArray[Any],
    table: GreyTable | None,
    low: float,
    high: float,
    shapes: Sequence[Sequence[int]],
) -> list[npt.NDArray[np.float32]]:
    """Prepare one image at a detector's sizes, in one pass over its pixels.

    A stored value v means ``table.values[clip(v - table.first)]``, or v itself without a table; that value goes through
    ``clip((value - low) / (high - low), 0, 1)``. Each axis is then stretched by itself: area weights where it shrinks
    (exact fractional coverage, OpenCV's INTER_AREA), bilinear between pixel centres where it grows, a copy where equal.

    Parameters
    ----------
    pixels : (rows, cols), integers of at most 32 bits, float32 or float64; a table needs integers
    low, high : presentation values that become 0 and 1
    shapes : (rows, cols) of each input

    Returns
    -------
    list of float32 (rows, cols), in [0, 1] up to rounding

    Raises
    ------
    ValueError
        For wrong shapes or types, low >= high, NaN or Inf.
    """
    pixels = _checks.filled_image("pixels", pixels)
    values, first = _checks.grey_table(table, pixels)
    low, high = _checks.contrast(low, high)
    targets = [_checks.shape("shapes", shape, low=1) for shape in shapes]
    return kernels().detection_inputs(pixels, values, first, low, high, targets)  # type: ignore[no-any-return]


def segmentation_inputs(
    windows: Sequence[npt.NDArray[Any]],
    tables: Sequence[GreyTable | None],
    lows: Sequence[float],
    highs: Sequence[float],
    shape: Sequence[int] = (256, 256),
) -> npt.NDArray[np.float32]:
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
    """
    for name, items in (("tables", tables), ("lows", lows), ("highs", highs)):
        if len(items) != len(windows):
            raise _checks.fail(name, f"{len(items)} items", f"one for each of {len(windows)} windows")
    batch = np.empty((len(windows), 1, *_checks.shape("shape", shape, low=1)), dtype=np.float32)
    for item, window, table, low, high in zip(batch, windows, tables, lows, highs, strict=True):
        pixels = _checks.filled_image("windows", window)
        values, first = _checks.grey_table(table, pixels)
        kernels().segmentation_input(pixels, values, first, *_checks.contrast(low, high), item[0])
    return batch
