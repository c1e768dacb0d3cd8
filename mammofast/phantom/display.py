"""From a phantom's grey values to stored values, and what a viewer is told to do with them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.phantom.fields import Field

VOI_KINDS = ("LINEAR", "LINEAR_EXACT", "SIGMOID", "LUT", "NONE")
# The brightest grey that fits; phantoms stay below 1.2, noise included nearly always.
_TOP = 1.25


@dataclass(frozen=True, slots=True)
class Display:
    """How one system encodes and shows its images.

    bits: Bits Stored. photometric: MONOCHROME1 or MONOCHROME2. voi: of VOI_KINDS.
    low, high: grey values that the window turns to black and white. gamma: of the VOI LUT, of no use elsewhere.
    """

    bits: int
    photometric: str
    voi: str
    low: float
    high: float
    gamma: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Display":
        """Draw one."""
        return cls(
            bits=int(rng.integers(12, 15)),
            photometric=str(rng.choice(["MONOCHROME1", "MONOCHROME2"], p=[0.3, 0.7])),
            voi=str(rng.choice(VOI_KINDS)),
            low=float(rng.uniform(0.0, 0.15)),
            high=float(rng.uniform(0.85, 1.15)),
            gamma=float(rng.uniform(0.75, 1.4)),
        )

    @property
    def top(self) -> int:
        """Largest stored value."""
        return (1 << self.bits) - 1

    def store(self, image: Field) -> npt.NDArray[np.uint16]:
        """Return stored values; air, 0 in ``image`` exactly, is black and nothing else is."""
        air = image == 0
        scaled = image * np.float32(self.top / _TOP)
        np.rint(scaled, out=scaled)
        np.clip(scaled, 1, self.top, out=scaled)
        stored = scaled.astype(np.uint16)
        stored[air] = 0
        if self.photometric == "MONOCHROME1":
            np.subtract(self.top, stored, out=stored)
        return stored

    @property
    def window(self) -> tuple[float, float]:
        """Window Center and Width in stored values."""
        low, high = (grey / _TOP * self.top for grey in (self.low, self.high))
        if self.photometric == "MONOCHROME1":
            low, high = self.top - high, self.top - low
        return round((low + high) / 2, 1), round(high - low, 1)

    def lut(self) -> npt.NDArray[np.uint16]:
        """Return the VOI LUT's 12-bit entries, one for each stored value."""
        centre, width = self.window
        v = np.clip((np.arange(self.top + 1) - centre) / width + 0.5, 0, 1)
        if self.photometric == "MONOCHROME1":  # the curve is meant for brightness, which runs the other way
            return np.asarray(np.rint(4095 * (1 - (1 - v) ** self.gamma)), dtype=np.uint16)
        return np.asarray(np.rint(4095 * v**self.gamma), dtype=np.uint16)

    def shown(self) -> npt.NDArray[np.float32]:
        """Return what each stored value looks like after VOI and inversion, 0 black to 1 white (PS3.3 C.11.2.1.2)."""
        v = np.arange(self.top + 1, dtype=np.float64)
        centre, width = self.window
        if self.voi == "LINEAR":
            y = np.clip((v - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
        elif self.voi == "LINEAR_EXACT":
            y = np.clip((v - centre) / width + 0.5, 0, 1)
        elif self.voi == "SIGMOID":
            y = 1 / (1 + np.exp(-4 * (v - centre) / width))
        elif self.voi == "LUT":
            y = self.lut() / 4095
        else:
            y = v / self.top
        return np.asarray(1 - y if self.photometric == "MONOCHROME1" else y, dtype=np.float32)
