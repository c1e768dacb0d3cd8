"""What every data set is read into: images with what is known of them.

Nothing is read but lists and outlines until a sample is asked for its pixels or masks.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mammofast.datasets.pixels import read_labels, read_pixels
from mammofast.errors import DatasetError
from mammofast.records import Box

Mask = npt.NDArray[np.bool_]
MASS = "mass"
IGNORED = 255
_PROPORTION = 0.01


class Region(Protocol):
    """Where a lesion is."""

    def mask(self, shape: tuple[int, int]) -> Mask:
        """Return its pixels in an image of this shape, bool (rows, cols)."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """One finding of a radiologist.

    kind: "mass", "calcification", or the data set's own word in lower case.
    attributes: what the data set says of it, such as "shape", "margin", "birads", "subtlety" and "pathology".
    """

    kind: str
    region: Region
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image.

    name: unique in its data set. patient: images of one patient share it; for splits only.
    image: a DICOM object, PNG, JPEG or TIFF. laterality: "L" or "R". view: such as "CC" and "MLO".
    split: where the data set itself has put it, such as "train" or "test".
    lesions: all findings, masses and others.
    labels: a picture instead, where that is what is known: of masses, 0 = none, k = mass k, the k-th of ``lesions``
        where these are known too, or, with ``classes``, of other things.
    classes: the class of each value of ``labels`` that counts.
    """

    name: str
    patient: str
    image: Path
    laterality: str | None = None
    view: str | None = None
    split: str | None = None
    lesions: tuple[Lesion, ...] = ()
    labels: Path | None = None
    classes: Mapping[int, int] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def read(self) -> npt.NDArray[Any]:
        """Return the image's stored values, (rows, cols), or (rows, cols, 3) where it has colours.

        Raises
        ------
        DatasetError
            When the file cannot be read.

        """
        return read_pixels(self.image)

    def masses(self, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return the truth as ``mammofast evaluate`` reads it: 0 = no mass, k = mass k, later masses over earlier.

        Raises
        ------
        DatasetError
            When a mask cannot be read or is not of the image's shape, or there are more than 255 masses.

        """
        if self.labels is not None and self.classes is None:
            return self._labels(shape)
        found = [lesion for lesion in self.lesions if lesion.kind == MASS]
        if len(found) > np.iinfo(np.uint8).max:
            raise DatasetError(f"got {len(found)} masses, expected at most 255", self.name)
        truth = np.zeros(shape, np.uint8)
        for k, lesion in enumerate(found, start=1):
            truth[lesion.region.mask(shape)] = k
        return truth

    def class_map(self, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return the class of every pixel, uint8 (rows, cols): 1 = mass, or one of ``classes``; 255 = does not count.

        Raises
        ------
        DatasetError
            As :meth:`masses`.

        """
        if self.classes is None:
            return (self.masses(shape) > 0).astype(np.uint8)
        table = np.full(256, IGNORED, np.uint8)
        for value, number in self.classes.items():
            table[value] = number
        return table[self._labels(shape)]

    def _labels(self, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        if self.labels is None:
            raise DatasetError("got classes, expected a picture of them too", self.name)
        return read_image_labels(self.labels, shape)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a data set lists and cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set's samples by rising name, and all that was left out."""

    name: str
    samples: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)


def dataset(name: str, samples: list[Sample], left_out: list[LeftOut]) -> Dataset:
    """Return a data set in order.

    Raises
    ------
    DatasetError
        When two samples have one name, or nothing was found.

    """
    ordered = sorted(samples, key=lambda sample: sample.name)
    for same, count in Counter(sample.name for sample in ordered).most_common(1):
        if count > 1:
            raise DatasetError(f"{name}: got {count} images of one name, expected each name once", same)
    if not ordered and left_out:
        first = left_out[0]
        words = f"{name}: none of its {len(left_out)} images can be used; the first: {first.reason}"
        raise DatasetError(words, first.name)
    if not ordered:
        raise DatasetError(f"{name}: no image found; is this the folder that holds it?")
    return Dataset(name, tuple(ordered), tuple(sorted(left_out, key=lambda item: (item.name, item.reason))))


@dataclass(frozen=True, slots=True)
class BoxRegion:
    """A rectangle: all that some data sets say. It leaves out what lies outside the image."""

    box: Box

    def mask(self, shape: tuple[int, int]) -> Mask:
        """Return the rectangle's pixels."""
        found = np.zeros(shape, np.bool_)
        x_min, y_min, x_max, y_max = (max(0, side) for side in self.box)
        found[y_min:y_max, x_min:x_max] = True
        return found


@dataclass(frozen=True, slots=True)
class Polygon:
    """A closed outline: ((x, y), ...) in pixels, whole numbers at pixel centres."""

    points: tuple[tuple[float, float], ...]

    def mask(self, shape: tuple[int, int]) -> Mask:
        """Return the pixels whose centres lie inside, and those that the points lie in."""
        from skimage.draw import polygon

        found = np.zeros(shape, np.bool_)
        x, y = np.array(self.points, dtype=np.float64).reshape(-1, 2).T
        found[polygon(y, x, shape)] = True
        rows, cols = np.rint(y).astype(int), np.rint(x).astype(int)
        inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
        found[rows[inside], cols[inside]] = True
        return found


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A picture of the lesion: what is not 0. One of another size than the image is stretched, if of its shape."""

    path: Path

    def mask(self, shape: tuple[int, int]) -> Mask:
        """Return its pixels, stretched by taking the nearest.

        Raises
        ------
        DatasetError
            When it cannot be read, or its sides are not in the image's proportion.

        """
        pixels = read_pixels(self.path)
        found: Mask = np.asarray((pixels.max(axis=2) if pixels.ndim == 3 else pixels) != 0)
        if found.shape == shape:
            return found
        if not in_proportion(found.shape, shape):
            raise DatasetError(f"got a mask of {found.shape}, the image is {shape}: another's?", self.path.name)
        rows, cols = (
            ((np.arange(size) + 0.5) * own / size).astype(int) for size, own in zip(shape, found.shape, strict=True)
        )
        return np.asarray(found[np.ix_(rows, cols)])


@dataclass(frozen=True, slots=True)
class LabelRegion:
    """What has one value in a picture of labels."""

    path: Path
    value: int

    def mask(self, shape: tuple[int, int]) -> Mask:
        """Return its pixels.

        Raises
        ------
        DatasetError
            When the picture cannot be read, or is not of the image's shape.

        """
        return np.asarray(read_image_labels(self.path, shape) == self.value)


def read_image_labels(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return a picture of labels, uint8 (rows, cols).

    Raises
    ------
    DatasetError
        When it cannot be read, or is not of the image's shape.

    """
    labels = read_labels(path)
    if labels.shape != shape:
        raise DatasetError(f"got labels of {labels.shape}, the image is {shape}: another's?", path.name)
    return labels


def in_proportion(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Return whether sides (rows, cols) are in one proportion, to a per cent."""
    return abs(a[0] * b[1] / (a[1] * b[0]) - 1) <= _PROPORTION
