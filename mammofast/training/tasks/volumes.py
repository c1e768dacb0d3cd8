"""P5's two networks, taught on slices of DCE-MRI volumes: the breast's region, and masses within it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mammofast.datasets import Sample
from mammofast.errors import DatasetError
from mammofast.evaluation import label_boxes
from mammofast.methods.parameters import as_record
from mammofast.methods.scaling import Scaling
from mammofast.methods.volume_inputs import Input, stretched
from mammofast.records import VolumeSource
from mammofast.training.inputs import role_made
from mammofast.training.recipe import Recipe, Size, Stage
from mammofast.training.tables import read_table
from mammofast.training.tasks.rcnn import Rcnn
from mammofast.training.tasks.segmentation import Segmentation
from mammofast.training.tasks.task import Example

Labels = npt.NDArray[np.uint8]
# As truth of volumes has it: 0 outside the breasts, 1 breast, 1 + k the k-th mass.
_FIRST_MASS = 2
_HALF = 0.5


@runtime_checkable
class VolumeSample(Protocol):
    """A sample that is a volume."""

    def volume(self) -> tuple[VolumeSource, Labels]:
        """Return it, and its labels (slices, rows, cols): 0 outside the breasts, 1 breast, 1 + k the k-th mass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionExamples:
    """slices: so many of each volume, evenly spaced; P5's radiologists outlined one in ten. 0 takes all of them."""

    slices: int = 0

    def __post_init__(self) -> None:
        if self.slices < 0:
            raise ValueError(f"slices: got {self.slices}, expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionExamples:
    """background: slices without a mass for each that has one, evenly spaced; P5 has none. least: pixels of a mass in a
    slice from which it is one there.
    """

    background: float = 0.0
    least: int = 1

    def __post_init__(self) -> None:
        if self.background < 0 or self.least < 1:
            raise ValueError(f"got background {self.background} and least {self.least}, expected 0 and 1, or more")


class SliceInputs:
    """Slices as the ``volume`` method's region network sees them: every slice fills an input."""

    whole, margin = True, 0

    def __init__(self, given: Input, stride: int) -> None:
        self.given, self.size, self.stride = given, given.shape, stride
        self.scaling = Scaling(channels=len(given.channels))

    @property
    def recorded(self) -> Mapping[str, Any]:
        """The method's input."""
        return {"method": "volume", "input": repr(self.given)}

    def read(self, sample: Sample) -> Example:
        """Refuse: a volume is many examples."""
        raise DatasetError("got an image to read, expected a volume, which is many examples", sample.name)

    def grey(self, image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the slice: it is an input already."""
        return np.asarray(image, dtype=np.float32)


class VolumeRegion(Segmentation):
    """The breast's region in slices."""

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        own = read_table(RegionExamples, stage.examples, f"recipe {recipe.name!r}: stage {stage.name!r}: examples")
        super().__init__(recipe, replace(stage, examples={}))
        self._slices = own.slices

    def inputs(self) -> SliceInputs:
        """Return what the bundle's region network reads."""
        return SliceInputs(_input_of(self.recipe, "region"), role_made(self.stage.network).geometry.get("stride") or 1)

    @property
    def preparation(self) -> Mapping[str, Any]:
        """The method's input, and how many slices there are."""
        return {**super().preparation, "slices": self._slices}

    def prepare(self, sample: Sample) -> list[Example]:
        """Return slices and where the breasts are in them."""
        volume, labels = _volume_of(sample)
        given = _input_of(self.recipe, "region")
        rows, truth = given.rows(volume), _region(labels, given.shape)
        return [{"image": rows[z], "truth": truth[z].astype(np.uint8)} for z in _evenly(len(rows), self._slices)]

    def rows(self, image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return a copy of the slice, which is an input already: examples are mapped from disk and read-only."""
        return np.array(image, dtype=np.float32)


class VolumeDetection(Rcnn):
    """Masses in slices, of which only the breasts are left."""

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        super().__init__(recipe, stage)
        self._table = read_table(
            DetectionExamples, stage.examples, f"recipe {recipe.name!r}: stage {stage.name!r}: examples"
        )

    @property
    def preparation(self) -> Mapping[str, Any]:
        """The method's input, and which slices are taken."""
        return {"input": repr(_input_of(self.recipe, "detection")), "examples": repr(self._table)}

    def prepare(self, sample: Sample) -> list[Example]:
        """Return slices, what is outside the true region cut out of them, and the boxes of their masses."""
        volume, labels = _volume_of(sample)
        given = _input_of(self.recipe, "detection")
        region = _region(labels, given.shape)
        rows = given.rows(volume, region).astype(np.float16)
        scale = np.array([given.shape[1] / labels.shape[2], given.shape[0] / labels.shape[1]] * 2)
        boxes = [self._boxes(each) * scale for each in labels]
        masses = [z for z in range(len(rows)) if len(boxes[z])]
        others = [z for z in range(len(rows)) if not len(boxes[z]) and region[z].any()]
        # A volume without a mass is as good for background as any.
        wanted = round(self._table.background * (len(masses) or len(rows) // 2))
        chosen = sorted([*masses, *(others[i] for i in _evenly(len(others), wanted))]) if wanted else masses
        return [{"image": rows[z], "boxes": boxes[z].astype(np.float32)} for z in chosen]

    def _boxes(self, labels: Labels) -> npt.NDArray[np.float64]:
        masses = np.where(labels >= _FIRST_MASS, labels - (_FIRST_MASS - 1), 0).astype(np.uint8)
        for mass, pixels in zip(*np.unique(masses, return_counts=True), strict=True):
            if pixels < self._table.least:
                masses[masses == mass] = 0
        return np.asarray(label_boxes(masses), dtype=np.float64).reshape(-1, 4)


def _input_of(recipe: Recipe, name: str) -> Input:
    """Return the method's input of the recipe's bundle: "region" or "detection"."""
    return as_record(Input, (recipe.bundle.parameters if recipe.bundle else {})[name], name)


def _volume_of(sample: Sample) -> tuple[VolumeSource, Labels]:
    if not isinstance(sample, VolumeSample):
        raise DatasetError("got an image, expected a volume: give a data set of DCE-MRI", sample.name)
    return sample.volume()


def _region(labels: Labels, shape: Size) -> npt.NDArray[np.bool_]:
    """Return where the breasts are in slices stretched to a shape: what is breast by half and more."""
    return np.stack([stretched((each > 0).astype(np.uint8), shape) >= _HALF for each in labels])


def _evenly(count: int, wanted: int) -> list[int]:
    """Return so many of ``count`` indices, evenly spaced; all of them where 0 or more than there are is wanted."""
    if not wanted or wanted >= count:
        return list(range(count))
    return [int((k + 0.5) * count / wanted) for k in range(wanted)]
