"""A sample's image and truth as a segmenter sees them: made by the functions that make its input when screening."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from inspect import signature
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from mammofast.compilation.defaults import METHODS, RoleMade
from mammofast.datasets import Sample
from mammofast.datasets.images import colours_of, source_of
from mammofast.errors import DatasetError, TrainingError
from mammofast.methods import tiled, whole_image
from mammofast.methods.parameters import read_parameters
from mammofast.methods.probability_map import MapCase
from mammofast.methods.scaling import Scaling
from mammofast.methods.tiled import TiledParameters
from mammofast.methods.whole_image import WholeImageParameters
from mammofast.models import create, find
from mammofast.records import Box
from mammofast.training.recipe import NetworkTable, Recipe, Size, Stage
from mammofast.training.tasks.task import Example

Image = npt.NDArray[Any]
Truth = npt.NDArray[np.uint8]
_STREETS = Scaling(mean=0.5, channels=3)
_BYTE = np.float32(255)


class Inputs(Protocol):
    """How images become inputs.

    scaling: of grey 0..1 to the network's channels. size: (rows, cols) of an input. margin: by how many pixels, on each
    side, the network's output is smaller than its input. stride: input sides are multiples of this apart.
    whole: whether every image fills an input; if not, inputs are crops.
    """

    scaling: Scaling
    size: Size
    margin: int
    stride: int
    whole: bool

    @property
    def recorded(self) -> Mapping[str, Any]:
        """All that :meth:`read` depends on, JSON-ready."""

    def read(self, sample: Sample) -> Example:
        """Return "image", (1, rows, cols) in 0..1 or (3, rows, cols) bytes, and "truth", its classes (rows, cols)."""

    def grey(self, image: Image) -> npt.NDArray[np.float32]:
        """Return what was read, or a part of it, as numbers in 0..1."""


class WholeImages:
    """P1's and P2's."""

    whole, margin = True, 0

    def __init__(self, parameters: WholeImageParameters, stride: int) -> None:
        self.parameters, self.scaling, self.size, self.stride = parameters, parameters.scaling, parameters.shape, stride

    @property
    def recorded(self) -> Mapping[str, Any]:
        """The parameters but for scaling's mean and deviation, which come later."""
        p = self.parameters
        return {"method": "whole_image", "parameters": repr(replace(p, scaling=_unscaled(p.scaling)))}

    def read(self, sample: Sample) -> Example:
        """Return the foreground, stretched."""
        case = MapCase(source_of(sample))
        image = whole_image.grey_input(case, self.parameters)
        return {"image": image[None], "truth": _nearest(_classes(sample, case), case.region, image.shape)}

    def grey(self, image: Image) -> npt.NDArray[np.float32]:
        """Return the image: it is grey already."""
        return np.asarray(image)


class WorkingPixels:
    """P3's: images in pixels of one size, larger or smaller than an input."""

    whole = False

    def __init__(self, parameters: TiledParameters) -> None:
        self.parameters, self.scaling, self.size = parameters, parameters.scaling, parameters.tile
        self.margin, self.stride = parameters.margin, parameters.stride

    @property
    def recorded(self) -> Mapping[str, Any]:
        """The parameters but for scaling's mean and deviation, and how tiles are laid."""
        p = self.parameters
        known = (p.grey, _unscaled(p.scaling), p.pixel_size_mm, p.assumed_pixel_spacing_mm)
        return {"method": "tiled", "parameters": repr(known)}

    def read(self, sample: Sample) -> Example:
        """Return the image in working pixels."""
        case = MapCase(source_of(sample))
        image = tiled.grey_input(case, self.parameters)
        return {"image": image[None], "truth": _nearest(_classes(sample, case), case.region, image.shape)}

    def grey(self, image: Image) -> npt.NDArray[np.float32]:
        """Return the image: it is grey already."""
        return np.asarray(image)


class Streets:
    """Cityscapes' pictures in their own pixels, red, green and blue from -0.5 to 0.5 as P3 has them; for no method."""

    whole, scaling = False, _STREETS

    def __init__(self, size: Size, stride: int, margin: int) -> None:
        self.size, self.stride, self.margin = size, stride, margin

    @property
    def recorded(self) -> Mapping[str, Any]:
        """Nothing to choose."""
        return {"method": None}

    def read(self, sample: Sample) -> Example:
        """Return the picture's bytes."""
        pixels = colours_of(sample)
        if pixels.dtype != np.uint8:
            raise DatasetError(f"got a picture of {pixels.dtype}, expected bytes", sample.name)
        return {"image": pixels.transpose(2, 0, 1), "truth": sample.class_map(pixels.shape[:2])}

    def grey(self, image: Image) -> npt.NDArray[np.float32]:
        """Return bytes as parts of 255."""
        return np.asarray(image, dtype=np.float32) / _BYTE


def inputs_of(recipe: Recipe, stage: Stage) -> Inputs:
    """Return what a stage's images become.

    Raises
    ------
    TrainingError
        When the recipe's bundle is of a method that does not segment images as a whole.
    BundleError
        When the method refuses a parameter. ModelError: there is no such network or option.

    """
    made = role_made(stage.network)
    stride, margin = made.geometry.get("stride") or 1, made.geometry.get("margin") or 0
    if recipe.bundle is None:
        return Streets(made.sizes[0], stride, margin)
    method, where = recipe.bundle.method, f"recipe {recipe.name!r}: bundle"
    kinds: dict[str, Any] = {"whole_image": WholeImageParameters, "tiled": TiledParameters}
    if method not in kinds:
        raise TrainingError(f"{where}: got method {method!r}, this task trains for one of {', '.join(kinds)}")
    values = {**METHODS[method].parameters({recipe.bundle.role: made}), **recipe.bundle.parameters}
    parameters = read_parameters(kinds[method], values, f"{where}: parameters")
    return WholeImages(parameters, stride) if method == "whole_image" else WorkingPixels(parameters)


def role_made(table: NetworkTable) -> RoleMade:
    """Return what a network turns out to be, without its weights."""
    entry = find(table.name)
    with torch.device("meta"):
        network = create(table.name, **table.options)
    geometry = {key: getattr(network, key) for key in ("stride", "halo", "margin") if hasattr(network, key)}
    rows, cols = entry.input[1:]
    channels = int(option(table, "channels", entry.input[0]))
    return RoleMade(table.sizes or ((rows, cols),), channels, geometry, entry.paper)


def option(table: NetworkTable, name: str, default: Any = None) -> Any:
    """Return an option of a network: the recipe's, the catalogue's, or its class's default."""
    entry = find(table.name)
    module, _, factory = entry.factory.partition(":")
    known = signature(getattr(import_module(f"mammofast.models.{module}"), factory)).parameters
    own = known[name].default if name in known else default
    return {name: own, **entry.options, **table.options}[name]


def _unscaled(scaling: Scaling) -> Scaling:
    return Scaling(contrast=scaling.contrast)


def _classes(sample: Sample, case: MapCase) -> Truth:
    return sample.class_map((case.image.shape[0], case.image.shape[1]))


def _nearest(classes: Truth, region: Box, shape: tuple[int, ...]) -> Truth:
    """Return the class at the centre of each of ``shape``'s pixels, stretched over a region; it may leave the image."""
    index = []
    for axis, (start, stop) in enumerate(((region[1], region[3]), (region[0], region[2]))):
        centres = start + (2 * np.arange(shape[axis]) + 1) * (stop - start) // (2 * shape[axis])
        index.append(np.minimum(centres, classes.shape[axis] - 1))
    return np.ascontiguousarray(classes[np.ix_(*index)])
