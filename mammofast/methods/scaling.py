"""From presentation values to a segmentation network's input channels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.methods.contrast import Contrast, MinMax
from mammofast.methods.parameters import is_number, is_whole

MINMAX = "minmax"


@dataclass(frozen=True, slots=True)
class Scaling:
    """A network's input normalization, the same for all images: ``(grey - mean) / std`` in every channel.

    contrast: what becomes grey 0 and 1, "minmax" or percentiles.
    mean, std: of grey values, one for all channels or one for each.
    channels: how often the one grey channel is repeated.

    P1 (Hai 2019): minmax, ``mean`` the training set's, 1 channel. P2 (Sun 2020): minmax after the crop, 3 channels. P3
    reads -0.5..0.5: minmax, ``mean`` 0.5, 3 channels.
    """

    contrast: Contrast | MinMax = field(default_factory=MinMax)
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    channels: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "contrast", _contrast(self.contrast))
        if not is_whole(self.channels) or self.channels < 1:
            raise ValueError(f"channels: got {self.channels!r}, expected an integer >= 1")
        for name in ("mean", "std"):
            values = getattr(self, name)
            each = values if isinstance(values, (tuple, list)) else (values,)
            if len(each) not in (1, self.channels) or not all(map(is_number, each)):
                raise ValueError(
                    f"{name}: got {values!r}, expected a number, or one for each of {self.channels} channels"
                )
            if name == "std" and not all(value > 0 for value in each):
                raise ValueError(f"std: got {values!r}, expected above 0")

    def rows(self, grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (channels, rows, cols) of grey (rows, cols)."""
        mean, std = (
            np.broadcast_to(np.asarray(values, dtype=np.float32), self.channels)[:, None, None]
            for values in (self.mean, self.std)
        )
        channels: npt.NDArray[np.float32] = (grey - mean) / std
        return channels


def _contrast(value: Any) -> Contrast | MinMax:
    if value == MINMAX:
        return MinMax()
    if isinstance(value, Mapping):
        return Contrast(**value)
    if not isinstance(value, (Contrast, MinMax)):
        raise ValueError(f"contrast: got {value!r}, expected {MINMAX!r} or percentiles")
    return value
