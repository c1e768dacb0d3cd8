"""An array of the caller's as an image that methods can read."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.errors import BrokenImage, Reason
from mammofast.records import GreyPipeline, GreyTable, Window

# Wider types are narrowed to one the ops take where no value changes, else read as float64.
_TAKEN_AS_IS = {
    np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
}
_NARROWER: Mapping[str, tuple[str, ...]] = MappingProxyType({"i": ("int32",), "u": ("uint32",)})


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
    if pixel_spacing is not None and not (len(pixel_spacing) == 2 and all(0 < s < np.inf for s in pixel_spacing)):
        raise ValueError(f"pixel_spacing: got {pixel_spacing}, expected two positive numbers in mm, or None")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise BrokenImage(Reason.VALUE_RANGE, "the image holds NaN or infinity")
    if pixels.min() == pixels.max():
        raise BrokenImage(Reason.CONSTANT_PIXELS, "all pixels of the image are equal")
    return ArrayImage(np.ascontiguousarray(_taken(pixels)), pixel_spacing)


def _taken(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    native = pixels.dtype.newbyteorder("=")
    if native in _TAKEN_AS_IS:
        return pixels.astype(native, copy=False)
    if native == np.float16:
        return pixels.astype(np.float32)
    for name in _NARROWER.get(native.kind, ()):
        limits = np.iinfo(name)
        if limits.min <= pixels.min() and pixels.max() <= limits.max:
            return pixels.astype(name)
    return pixels.astype(np.float64)
