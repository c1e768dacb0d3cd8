"""Shapes and types of arguments, checked once before an op is dispatched; the kernels look at values."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.records import GreyTable

PIXEL_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
MAX_SIZE = 2**31 - 1  # rows and columns are counted in int32


def fail(name: str, got: object, expected: str) -> ValueError:
    """Return the error that names the argument, what it got and what it expects."""
    return ValueError(f"{name}: got {got}, expected {expected}")


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def array(name: str, value: object, dtype: npt.DTypeLike, *shape: int | str) -> npt.NDArray[Any]:
    """Return a contiguous array; ``shape`` has numbers for fixed sizes and letters for free ones."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or not _fits(value.shape, shape):
        extents = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise fail(name, _describe(value), f"{np.dtype(dtype)} of shape ({extents})")
    return np.ascontiguousarray(value)


def _fits(have: tuple[int, ...], want: tuple[int | str, ...]) -> bool:
    if len(have) != len(want):
        return False
    for size, wanted in zip(have, want):  # noqa: B905, SIM110 - a plain loop takes a third of the time, and ops take few µs
        if size != wanted and wanted.__class__ is int:
            return False
    return True


def image(name: str, value: object) -> npt.NDArray[Any]:
    """Return a 2-D array of a pixel type whose rows are contiguous, copying only where they are not."""
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.name not in PIXEL_TYPES:
        raise fail(name, _describe(value), f"a 2-D array of one of {', '.join(PIXEL_TYPES)}")
    plain = value.dtype.isnative and value.flags.aligned and value.strides[1] == value.itemsize
    if plain and value.strides[0] % value.itemsize == 0:
        return value
    return np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))


def filled_image(name: str, value: object) -> npt.NDArray[Any]:
    """Return :func:`image` of an array with at least one pixel."""
    pixels = image(name, value)
    if pixels.size == 0:
        raise fail(name, f"shape {pixels.shape}", "at least one pixel")
    return pixels


def boxes_and_scores(boxes: object, scores: object) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return float32 boxes (n, 4) and scores (n,) of one length."""
    corners = array("boxes", boxes, np.float32, "n", 4)
    return corners, array("scores", scores, np.float32, len(corners))


def whole(name: str, value: object, low: int, high: int) -> int:
    """Return an integer of ``low..high``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise fail(name, repr(value), f"an integer in {low}..{high}")
    return int(value)


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number in [low, high]."""
    # float first: asking the abstract class alone takes as long as all else here.
    usable = isinstance(value, (float, Real)) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or not low <= float(value) <= high:
        raise fail(name, repr(value), "a finite number" if high == math.inf else f"a number in [{low:g}, {high:g}]")
    return float(value)


def shape(name: str, value: object, low: int = 0) -> tuple[int, int]:
    """Return (rows, cols), each at least ``low``."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise fail(name, repr(value), "(rows, cols)")
    return whole(f"{name} rows", value[0], low, MAX_SIZE), whole(f"{name} cols", value[1], low, MAX_SIZE)


def contrast(low: object, high: object) -> tuple[float, float]:
    """Return finite low < high."""
    pair = number("low", low), number("high", high)
    if not pair[0] < pair[1]:
        raise fail("high", repr(high), f"more than low, {low!r}")
    return pair


def grey_table(table: object, pixels: npt.NDArray[Any] | None) -> tuple[npt.NDArray[np.float32] | None, int]:
    """Return the table's values and the stored value of the first one, or None and 0; pixels: None on a device."""
    if table is None:
        return None, 0
    if not isinstance(table, GreyTable):
        raise fail("table", _describe(table), "a GreyTable or None")
    if pixels is not None and pixels.dtype.kind == "f":
        raise fail("table", "a GreyTable", f"None, since the pixels are {pixels.dtype}")
    values = array("table.values", table.values, np.float32, "n")
    if not values.size:
        raise fail("table.values", "no values", "at least one")
    return values, whole("table.first", table.first, -(2**31), 2**32 - 1)


def letterboxed(fit: object) -> bool:
    """Return whether ``fit`` is "letterbox"; the other one is "stretch"."""
    if fit not in ("stretch", "letterbox"):
        raise fail("fit", repr(fit), "'stretch' or 'letterbox'")
    return fit == "letterbox"
