"""What the detector's and the segmenter's trainings share: the method that both will screen in."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.compilation.defaults import METHODS, RoleMade
from mammofast.datasets import Sample
from mammofast.datasets.images import source_of
from mammofast.errors import BundleError, TrainingError
from mammofast.evaluation import label_boxes
from mammofast.methods.parameters import read_parameters
from mammofast.methods.stages import coarsest_level
from mammofast.methods.two_stage import TwoStageParameters
from mammofast.records import Box, GreyTable, ImageSource, Window
from mammofast.training.phantoms import DrawnSample
from mammofast.training.recipe import Recipe, Size, Stage

METHOD = "two_stage"


def method_parameters(recipe: Recipe, stage: Stage) -> TwoStageParameters:
    """Return the parameters of the bundle that a recipe ends in: its own, the method's defaults for the rest.

    Raises
    ------
    TrainingError
        When the recipe ends in no two-stage bundle, or the method refuses a parameter.

    """
    where = f"recipe {recipe.name!r}: bundle"
    if recipe.bundle is None or recipe.bundle.method != METHOD or recipe.bundle.role not in METHODS[METHOD].roles:
        raise TrainingError(f"{where}: task {recipe.task!r} makes a {METHOD} bundle's detector or segmenter")
    defaults = METHODS[METHOD]
    sizes = {role: default.sizes for role, default in defaults.roles.items()}
    if stage.network.sizes:
        sizes[recipe.bundle.role] = stage.network.sizes
    made = {role: RoleMade(sizes[role], 1, {}) for role in sizes}
    values = {**defaults.parameters(made), **recipe.bundle.parameters}
    try:
        return read_parameters(TwoStageParameters, values, where)
    except BundleError as error:
        raise TrainingError(str(error)) from error


def stated(parameters: TwoStageParameters, names: Sequence[str]) -> dict[str, Any]:
    """Return parameters by name as a manifest states them."""
    values = {name: getattr(parameters, name) for name in names}
    found: dict[str, Any] = json.loads(
        json.dumps(
            {
                name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
                for name, value in values.items()
            }
        )
    )
    return found


@dataclass(frozen=True, slots=True)
class Subject:
    """An image and its masses, as far as all windows of it share.

    table: its grey table. low, high: the presentation values that become 0 and 1. coarse: stored values of the level
    that detection reads. labels: 0 = no mass, k = mass k, uint8 (rows, cols). boxes: of the masses.
    """

    source: ImageSource
    table: GreyTable | None
    low: float
    high: float
    coarse: npt.NDArray[np.generic]
    labels: npt.NDArray[np.uint8]
    boxes: tuple[Box, ...]

    @classmethod
    def of(cls, sample: Sample, parameters: TwoStageParameters) -> "Subject":
        """Read the level that detection reads, and take its contrast from it, as :class:`TwoStage` does."""
        source = sample.source() if isinstance(sample, DrawnSample) else source_of(sample)
        labels = sample.masses(source.shape)
        rows, cols = (max(sizes) for sizes in zip(*parameters.scales, strict=True))
        coarse = source.read(level=coarsest_level(source.shape, (rows, cols)))
        table = source.grey_table(parameters.grey)
        low, high = parameters.contrast.window(coarse, table)
        boxes = tuple((int(b[0]), int(b[1]), int(b[2]), int(b[3])) for b in label_boxes(labels))
        return cls(source, table, low, high, coarse, labels, boxes)

    def inputs(self, scales: Sequence[Size]) -> list[npt.NDArray[np.uint8]]:
        """Return the detector's inputs, times 255."""
        return [_bytes(image) for image in ops.detection_inputs(self.coarse, self.table, self.low, self.high, scales)]

    def parts(self) -> npt.NDArray[np.float32]:
        """Return the masses' boxes (k, 4) as parts of the image's width and height."""
        rows, cols = self.source.shape
        return (np.array(self.boxes, np.float64).reshape(-1, 4) / [cols, rows, cols, rows]).astype(np.float32)

    def crop(self, window: Window, shape: Size) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the segmenter's input in a window, times 255, and the truth in it, 0 or 1; both of ``shape``."""
        stored = self.source.read(window=window)
        crop = ops.segmentation_inputs([stored], [self.table], [self.low], [self.high], shape)[0, 0]
        x_min, y_min, x_max, y_max = window
        rows = y_min + ((np.arange(shape[0]) + 0.5) * (y_max - y_min) / shape[0]).astype(int)
        cols = x_min + ((np.arange(shape[1]) + 0.5) * (x_max - x_min) / shape[1]).astype(int)
        return _bytes(crop), (self.labels[np.ix_(rows, cols)] > 0).astype(np.uint8)


def _bytes(image: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.rint(image * 255).astype(np.uint8)
