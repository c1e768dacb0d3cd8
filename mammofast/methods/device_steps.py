"""What methods on a card share: from pixels to a contrast window, what comes down, whose fault it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.engine.on_device import DeviceEngine
from mammofast.errors import BrokenImage, Reason
from mammofast.methods.contrast import Contrast, MinMax
from mammofast.ops import device
from mammofast.records import GreyTable

_LOOKED_UP = 2  # bytes of the largest integers that a contrast window is found of on the card

Pixels = npt.NDArray[np.generic]


def contrast_windows(
    contrast: Contrast | MinMax,
    pixels: Sequence[Pixels],
    images: Sequence[Any],
    tables: Sequence[GreyTable | None],
    engine: DeviceEngine,
) -> Any:
    """Return the contrast windows of images, on the card: found there where pixels can be counted in a table.

    images: the pixels as they lie on the card.
    """
    if all(array.dtype.kind in "iu" and array.dtype.itemsize <= _LOOKED_UP for array in pixels):
        percentiles = (contrast.low_percentile, contrast.high_percentile) if isinstance(contrast, Contrast) else None
        return device.contrast_windows(images, tables, percentiles, stream=engine.stream)[0]
    windows = [contrast.window(array, table) for array, table in zip(pixels, tables, strict=True)]
    return device.to_device(np.array(windows, np.float64), engine.stream, engine.card)


def unusable() -> BrokenImage:
    """Return the error of an image that a network cannot be shown: what came out of it would mean nothing."""
    return BrokenImage(Reason.VALUE_RANGE, "the image's pixels, or its grey table, hold NaN or infinity")


def unpacked(
    bits: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], i: int, shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return mask i, of ``shape`` (rows, cols), of masks of a bit a pixel."""
    rows, cols = shape
    mask = bits[offsets[i] : offsets[i + 1]].reshape(rows, -1)
    return np.unpackbits(mask, axis=1, count=cols).astype(bool)


def on_host(arrays: tuple[Any, ...], stream: int) -> Any:
    """Return the same tuple with its device arrays copied to the host; waits for the stream."""
    parts = (array if isinstance(array, np.ndarray) else device.to_host(array, stream) for array in arrays)
    return type(arrays)(*parts) if hasattr(arrays, "_fields") else tuple(parts)
