"""Crops out of an image and its truth; beyond the image both are mirrored, as tiles are when screening."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.transforms.utils import generate_label_classes_crop_centers

from mammofast.datasets.record import IGNORED
from mammofast.methods.tiling import extended_size, mirrored
from mammofast.training.recipe import Size

Image = npt.NDArray[Any]
Truth = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Cropping:
    """Inputs of ``size`` (rows, cols), of which the network gives classes but for ``margin`` pixels on each side."""

    size: Size
    margin: int = 0
    stride: int = 1

    @property
    def inner(self) -> Size:
        """Rows and columns that the network gives classes for."""
        return (self.size[0] - 2 * self.margin, self.size[1] - 2 * self.margin)

    def draw(self, truth: Truth, balanced: bool, rng: np.random.Generator) -> tuple[int, int]:
        """Return where a crop begins, (row, col) of the first pixel that gets a class; within the image if it fits.

        balanced: P3's way: one of the image's classes, but for the background (0), is drawn, and one of its pixels is
        the centre. Otherwise, and where there is nothing but background, every place is as likely.
        """
        shape = truth.shape
        present = [k for k in np.unique(truth) if k not in (0, IGNORED)] if balanced else []
        if not present:
            rows, cols = (int(rng.integers(max(n - m, 0) + 1)) for n, m in zip(shape, self.inner, strict=True))
            return rows, cols
        inner = [min(n, m) for n, m in zip(shape, self.inner, strict=True)]
        ((row, col),) = generate_label_classes_crop_centers(
            spatial_size=inner,
            num_samples=1,
            label_spatial_shape=shape,
            indices=[np.flatnonzero(truth == k) for k in present],
            rand_state=np.random.RandomState(int(rng.integers(2**32))),
        )
        return row - inner[0] // 2, col - inner[1] // 2

    def cut(self, image: Image, truth: Truth, origin: tuple[int, int]) -> tuple[Image, Truth]:
        """Return the input (channels, *size) and the classes (*inner) of a crop."""
        return self._part(image, origin, self.size, self.margin), self._part(truth[None], origin, self.inner, 0)[0]

    def whole(self, image: Image) -> Image:
        """Return an image as one input, continued by mirroring as far as the network's stride wants."""
        shape = (image.shape[1], image.shape[2])
        rows, cols = (
            extended_size(n, size, self.stride, self.margin) + 2 * self.margin
            for n, size in zip(shape, self.size, strict=True)
        )
        return self._part(image, (0, 0), (rows, cols), self.margin)

    @staticmethod
    def _part(image: Image, origin: tuple[int, int], size: Size, margin: int) -> Image:
        """Return ``size`` pixels from ``margin`` before the origin on; only rows that are in it are read of a map."""
        rows, cols = (
            mirrored(start - margin, start - margin + n, whole)
            for start, n, whole in zip(origin, size, image.shape[1:], strict=True)
        )
        return np.ascontiguousarray(image[:, rows][:, :, cols])
