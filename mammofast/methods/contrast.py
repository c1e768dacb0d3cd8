"""Which presentation values become 0 and 1: one contrast window per image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.methods.parameters import is_number
from mammofast.records import GreyTable


@dataclass(frozen=True, slots=True)
class Contrast:
    """Percentiles, in 0..100, of the breast's presentation values that become 0 and 1."""

    low_percentile: float
    high_percentile: float

    def __post_init__(self) -> None:
        percentiles = (self.low_percentile, self.high_percentile)
        if not all(map(is_number, percentiles)) or not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(
                f"contrast: got percentiles {self.low_percentile!r} and {self.high_percentile!r}, "
                "expected 0 <= low < high <= 100"
            )

    def window(self, pixels: npt.NDArray[np.generic], table: GreyTable | None) -> tuple[float, float]:
        """Return the presentation values that become 0 and 1.

        The smallest presentation value is air or collimator and is left out. A percentile p is the smallest value
        with at least p % of the rest at or below it, so no value is interpolated. ``high`` is above ``low`` always.

        pixels: stored values (rows, cols). table: their presentation values; None where they are these already.
        """
        values, counts = _histogram(pixels, table)
        if len(values) > 1:
            values, counts = values[1:], counts[1:]
        cumulative = np.cumsum(counts)
        low, high = (
            float(values[np.searchsorted(cumulative, percentile / 100 * cumulative[-1])])
            for percentile in (self.low_percentile, self.high_percentile)
        )
        return low, high if high > low else low + 1.0


@dataclass(frozen=True, slots=True)
class MinMax:
    """The smallest presentation value becomes 0 and the largest 1."""

    def window(self, pixels: npt.NDArray[np.generic], table: GreyTable | None) -> tuple[float, float]:
        """Return the presentation values that become 0 and 1, as :meth:`Contrast.window`."""
        values, _ = _histogram(pixels, table)
        low, high = float(values[0]), float(values[-1])
        return low, high if high > low else low + 1.0


def _histogram(
    pixels: npt.NDArray[np.generic], table: GreyTable | None
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    """Return the distinct presentation values, rising, and how many pixels have each."""
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2:
        first = int(pixels.min())
        counts = np.bincount(pixels.ravel().astype(np.int32) - first)
        stored = np.flatnonzero(counts)
        counts, stored = counts[stored], stored + first
    else:
        stored, counts = np.unique(pixels, return_counts=True)
    if table is None:
        return stored.astype(np.float64), counts
    # A VOI LUT may send several stored values to one grey, and inversion turns their order round.
    values, inverse = np.unique(table.apply(stored), return_inverse=True)
    return values, np.bincount(inverse, weights=counts).astype(np.int64)
