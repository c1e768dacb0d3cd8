"""An array of the caller's as an image that methods can read."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.errors import BrokenImage, Reason
from mammofast.records import GreyPipeline, GreyTable, Window

_UINT16_MAX = int(np.iinfo(np.uint16).max)
# Floats are brought to this range: as fine as any detector, and float32 holds a sixteenth of a step exactly.
_FLOAT_BITS = 16


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """A 2-D array whose values are presentation values already: brighter is denser."""

    pixels: npt.NDArray[np.generic]
    pixel_spacing: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.pixels.shape[0], self.pixels.shape[1])

    def read(self, level: int = 0, window: Window | None = None) -> npt.NDArray[np.generic]:
        """Return a level, whole or a window of it."""
        pixels = ops.pool(self.pixels, [level])[0] if level else self.pixels
        if window is None:
            return pixels
        x_min, y_min, x_max, y_max = window
        return pixels[y_min:y_max, x_min:x_max]

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable | None:
        """Return None: there is nothing between these values and what they show."""
        return None


def array_image(image: object, pixel_spacing: tuple[float, float] | None = None) -> ArrayImage:
    """Check a caller's array.

    Parameters
    ----------
    image: 2-D, any integer or float type, brighter = denser.
    pixel_spacing: (between rows, between columns) in mm, where known.

    Raises
    ------
    ValueError
        When it is not a 2-D array of integers or floats, or the spacing is not two positive numbers.
    BrokenImage
        When it holds NaN or infinity, or all its pixels are equal.

    """
    pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"image: got an array of shape {pixels.shape}, expected (rows, cols), neither of them 0")
    if pixels.dtype.kind not in "iuf":
        raise ValueError(f"image: got {pixels.dtype}, expected an integer or float type")
    _check_spacing(pixel_spacing)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise BrokenImage(Reason.VALUE_RANGE, "the image holds NaN or infinity")
    if pixels.min() == pixels.max():
        raise BrokenImage(Reason.CONSTANT_PIXELS, "all pixels of the image are equal")
    return ArrayImage(np.ascontiguousarray(_taken(pixels)), pixel_spacing)


def _check_spacing(spacing: object) -> None:
    if spacing is None:
        return
    if not isinstance(spacing, (tuple, list)) or len(spacing) != 2 or not all(_is_length(size) for size in spacing):
        raise ValueError(f"pixel_spacing: got {spacing!r}, expected two positive numbers in mm, or None")


def _is_length(size: object) -> bool:
    return isinstance(size, (int, float, np.floating, np.integer)) and bool(0 < size < np.inf)


def _taken(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the same image in a type that the ops take; a shift and a power of two are undone by the contrast."""
    native: npt.NDArray[np.generic] = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind in "iu":
        if native.dtype.itemsize <= 2:
            return native
        if int(native.max()) - int(native.min()) <= _UINT16_MAX:
            shifted: npt.NDArray[np.generic] = np.subtract(native, native.min()).astype(np.uint16)
            return shifted
    return _rebased(native.astype(np.float64))


def _rebased(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Shift and scale values to 0..2**16, so that float32 loses nothing of a small contrast on a large offset."""
    _, exponent = np.frexp(np.abs(values).max())
    # Scaled first: the difference of the two largest doubles is infinite.
    values = np.ldexp(values, -int(exponent))
    values = values - values.min()
    _, exponent = np.frexp(values.max())
    return np.ldexp(values, _FLOAT_BITS - int(exponent)).astype(np.float32)
