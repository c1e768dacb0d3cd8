"""From a volume's phases to a network's input, slice by slice: the very arrays that the ``volume`` method runs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.errors import BrokenImage, Reason, UnusableImage
from mammofast.methods.contrast import Contrast
from mammofast.methods.parameters import as_record, is_number, is_whole
from mammofast.methods.stages import are_sizes
from mammofast.records import VolumeSource

Values = npt.NDArray[np.float32]
Region = npt.NDArray[np.bool_]
ZSCORE, MINMAX = "zscore", "minmax"
# Slices read at a time: native ones may be much larger than a network's.
_READ_SLICES = 16


@dataclass(frozen=True, slots=True)
class Channel:
    """A network's input channel. phase: 0 is the baseline, -1 the last one. minus: the phase subtracted from it."""

    phase: int
    minus: int | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.phase) or not (self.minus is None or is_whole(self.minus)):
            raise ValueError(f"channels: got {self}, expected whole numbers of phases; 'minus' may be null")


@dataclass(frozen=True, slots=True)
class Relative:
    """Values divided by a percentile, in 0..100, of a phase: a subtraction has no scale of its own without a mass."""

    percentile: float
    phase: int

    def __post_init__(self) -> None:
        if not is_number(self.percentile) or not 0 <= self.percentile <= 100 or not is_whole(self.phase):
            raise ValueError(f"contrast: got {self}, expected a percentile in 0..100 and a phase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What a network of the ``volume`` method reads.

    shape: (rows, cols) that slices are stretched to. channels: one entry for each.
    contrast: "zscore", (value - mean) / standard deviation; "minmax", smallest and largest become 0 and 1; percentiles
    that become 0 and 1, what lies beyond them is cut; or relative to a percentile of a phase. What has one value only
    becomes 0.
    over: what those are taken of, each "slice" by itself or the whole "volume"; within the breast where it is known.
    """

    shape: tuple[int, int]
    channels: tuple[Channel, ...]
    contrast: str | Contrast | Relative = ZSCORE
    over: str = "slice"

    def __post_init__(self) -> None:
        shape = tuple(self.shape) if isinstance(self.shape, list) else self.shape
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "channels", tuple(as_record(Channel, each, "channels") for each in self.channels))
        if isinstance(self.contrast, Mapping):
            kind = Relative if "percentile" in self.contrast else Contrast
            object.__setattr__(self, "contrast", kind(**self.contrast))
        if not are_sizes(self.shape, 2):
            raise ValueError(f"shape: got {self.shape!r}, expected (rows, cols)")
        if not self.channels:
            raise ValueError("channels: got none, expected one and more")
        if not isinstance(self.contrast, (Contrast, Relative)) and self.contrast not in (ZSCORE, MINMAX):
            raise ValueError(f"contrast: got {self.contrast!r}, expected {ZSCORE!r}, {MINMAX!r} or percentiles")
        if self.over not in ("slice", "volume"):
            raise ValueError(f"over: got {self.over!r}, expected 'slice' or 'volume'")

    def check(self, volume: VolumeSource) -> None:
        """Refuse a volume without the phases that this input reads: UnusableImage, MISSING_PHASES."""
        wanted = [phase for each in self.channels for phase in (each.phase, each.minus) if phase is not None]
        wanted += [self.contrast.phase] if isinstance(self.contrast, Relative) else []
        if any(not -volume.phases <= phase < volume.phases for phase in wanted):
            named = ", ".join(map(str, sorted(set(wanted))))
            detail = f"the bundle reads phases {named} (0 is the baseline), the volume has {volume.phases}"
            raise UnusableImage(Reason.MISSING_PHASES, detail)

    def rows(self, volume: VolumeSource, region: Region | None = None) -> Values:
        """Return the network's input of every slice, float32 (slices, channels, rows, cols).

        region: bool (slices, rows, cols), at ``shape``; statistics are then of what is inside, and what is outside
        becomes 0.

        Raises
        ------
        UnusableImage
            MISSING_PHASES.
        BrokenImage
            When values cannot be read, or are not finite.

        """
        self.check(volume)
        values = np.empty((volume.shape[0], len(self.channels), *self.shape), np.float32)
        unit = self._read(volume, self.contrast.phase) if isinstance(self.contrast, Relative) else None
        for number, channel in enumerate(self.channels):
            values[:, number] = self._read(volume, channel.phase, channel.minus)
            self._normalize(values[:, number], region, unit)
        return values

    def _read(self, volume: VolumeSource, phase: int, minus: int | None = None) -> Values:
        """Return a phase, less another one, at ``shape``."""
        values = np.empty((volume.shape[0], *self.shape), np.float32)
        for first in range(0, len(values), _READ_SLICES):
            slices = (first, min(first + _READ_SLICES, len(values)))
            found = volume.values(phase, slices)
            if minus is not None:
                found = found - volume.values(minus, slices)
            if not np.isfinite(found).all():
                raise BrokenImage(Reason.NOT_FINITE, "the volume holds NaN or infinity")
            for index, pixels in enumerate(found, start=first):
                values[index] = stretched(pixels, self.shape)
        return values

    def _normalize(self, values: Values, region: Region | None, unit: Values | None) -> None:
        """Bring a channel's slices to their scale, in place. unit: of what phase that is, if not of their own."""
        parts = [slice(None)] if self.over == "volume" else [slice(i, i + 1) for i in range(len(values))]
        for part in parts:
            measured = (values if unit is None else unit)[part]
            inside = measured if region is None else measured[region[part]]
            if inside.size == 0:
                values[part] = 0
                continue
            shift, scale = self._statistics(inside)
            values[part] = (values[part] - np.float32(shift)) * np.float32(scale)
            if isinstance(self.contrast, Contrast):
                np.clip(values[part], 0, 1, out=values[part])
        if region is not None:
            values *= region

    def _statistics(self, values: Values) -> tuple[float, float]:
        """Return what is subtracted, and what the difference is multiplied by."""
        if self.contrast == ZSCORE:
            low, high = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
            return low, 1 / high if high > 0 else 0.0
        if isinstance(self.contrast, Relative):
            low, high = 0.0, float(np.percentile(values, self.contrast.percentile, method="inverted_cdf"))
        elif isinstance(self.contrast, Contrast):
            percents = [self.contrast.low_percentile, self.contrast.high_percentile]
            low, high = np.percentile(values, percents, method="inverted_cdf").tolist()
        else:
            low, high = float(values.min()), float(values.max())
        return low, 1 / (high - low) if high > low else 0.0


def stretched(pixels: npt.NDArray[Any], shape: tuple[int, int]) -> Values:
    """Return a slice (rows, cols) stretched to a shape: area weights where it shrinks, bilinear where it grows."""
    if pixels.shape == shape:
        return pixels.astype(np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    if low == high:
        return np.full(shape, low, np.float32)
    (unit,) = ops.detection_inputs(pixels, None, low, high, [shape])
    return np.asarray(unit * np.float32(high - low) + np.float32(low), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ArrayVolume:
    """An array of the caller's as a volume: (phases, slices, rows, cols), and mm between slices, rows and columns."""

    pixels: npt.NDArray[Any]
    spacing: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or 0 in self.pixels.shape or self.pixels.dtype.kind not in "iuf":
            raise ValueError(
                f"phases: got {self.pixels.dtype} of shape {self.pixels.shape}, "
                "expected integers or floats (phases, slices, rows, cols), none of them 0"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self.pixels.shape[1:]

    @property
    def phases(self) -> int:
        """How many phases there are."""
        return int(self.pixels.shape[0])

    def values(self, phase: int, slices: tuple[int, int] | None = None) -> Values:
        """Return a phase, or some of its slices, float32."""
        first, last = slices or (0, self.shape[0])
        return np.asarray(self.pixels[phase, first:last], dtype=np.float32)
