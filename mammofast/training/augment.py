"""Images changed at random, with their truth; the transforms are MONAI's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.transforms import Compose, RandFlipd, RandScaleIntensityFixedMeand, RandShiftIntensityd

Image = npt.NDArray[np.float32]
Truth = npt.NDArray[np.uint8]
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationTable:
    """What may happen to an image, each with a probability of 0.5; all of it off unless said.

    flip: left and right change places. flip_rows: top and bottom.
    contrast: grey values go away from their mean, or towards it, by at most this part of their distance.
    brightness: added to all of them, at most, up or down.
    """

    flip: bool = False
    flip_rows: bool = False
    contrast: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.contrast < 1 or not 0 <= self.brightness < 1:
            raise ValueError("expected contrast and brightness of 0 or more and below 1")


class Augmentation:
    """A table's transforms, in this order: geometry, contrast, brightness."""

    def __init__(self, table: AugmentationTable) -> None:
        both = ["image", "truth"]
        chosen: list[Any] = []
        if table.flip:
            chosen.append(RandFlipd(both, prob=_HALF, spatial_axis=1))
        if table.flip_rows:
            chosen.append(RandFlipd(both, prob=_HALF, spatial_axis=0))
        if table.contrast:
            factors = (-table.contrast, table.contrast)
            chosen.append(RandScaleIntensityFixedMeand("image", prob=_HALF, factors=factors, preserve_range=False))
        if table.brightness:
            chosen.append(RandShiftIntensityd("image", prob=_HALF, offsets=(-table.brightness, table.brightness)))
        self._transform = Compose(chosen) if chosen else None
        self._bends_grey = bool(table.contrast or table.brightness)

    def __call__(self, image: Image, truth: Truth, rng: np.random.Generator) -> tuple[Image, Truth]:
        """Return an image (channels, rows, cols) and its truth (rows, cols), changed; bent grey stays in 0..1."""
        if self._transform is None:
            return image, truth
        self._transform.set_random_state(seed=int(rng.integers(2**31)))
        # Copies: examples are mapped from disk, and PyTorch would write through what is read-only.
        found = self._transform({"image": np.array(image), "truth": np.array(truth)[None]})
        changed, labels = (np.asarray(found[name]) for name in ("image", "truth"))
        if self._bends_grey:
            changed = np.clip(changed, 0, 1)
        return changed.astype(np.float32), labels[0].astype(np.uint8)
