"""What contrast agent changed in a volume, as pictures: projections and slices of a subtraction."""

from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt

from mammofast.records import VolumeFinding, VolumeSource
from mammofast.report.pictures import data_url

# Of a projection's values: what is shown black and white.
_LOW, _HIGH = 1.0, 99.7
_JPEG_QUALITY = 90

_Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Subtraction:
    """A volume's phase minus another one; ``minus``: that one. Both count from 0, or from the last one if negative."""

    source: VolumeSource
    phase: int
    minus: int

    def slices(self, first: int, last: int) -> _Values:
        """Return some slices, float32 (slices, rows, cols)."""
        return self.source.values(self.phase, (first, last)) - self.source.values(self.minus, (first, last))


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """Greatest values along an axis. through: along the slices, (rows, cols); over: along columns, (slices, cols)."""

    through: _Values
    over: _Values

    @property
    def window(self) -> tuple[float, float]:
        """Which values are shown black and white."""
        low, high = np.percentile(self.through, [_LOW, _HIGH])
        return float(low), float(max(high, low + 1e-6))


def project(subtraction: Subtraction) -> Projections:
    """Project a subtraction, slice by slice: a whole volume may be large."""
    slices, rows, cols = subtraction.source.shape
    through = np.full((rows, cols), -np.inf, dtype=np.float32)
    over = np.empty((slices, cols), dtype=np.float32)
    for z in range(slices):
        (values,) = subtraction.slices(z, z + 1)
        np.maximum(through, values, out=through)
        over[z] = values.max(axis=0)
    return Projections(through, over)


def grey_picture(values: _Values, window: tuple[float, float]) -> str:
    """Return values (rows, cols) as an 8-bit JPEG in a data URL."""
    low, high = window
    grey = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return data_url("image/jpeg", imagecodecs.jpeg8_encode(grey, level=_JPEG_QUALITY))


def enhancement(source: VolumeSource, finding: VolumeFinding, region: npt.NDArray[np.bool_]) -> list[float]:
    """Return the mean of a candidate's voxels in each phase: those in the breast region, all where none is.

    region: bool (slices, rows, cols).
    """
    x_min, y_min, x_max, y_max = finding.box
    z = finding.z_min, finding.z_max
    within = region[z[0] : z[1], y_min:y_max, x_min:x_max]
    chosen = within if within.any() else np.ones_like(within)
    boxes = (source.values(phase, z)[:, y_min:y_max, x_min:x_max] for phase in range(source.phases))
    return [float(box[chosen].mean()) if chosen.any() else 0.0 for box in boxes]
