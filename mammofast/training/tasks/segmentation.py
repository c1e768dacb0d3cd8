"""Segmentation of whole images, P1's and P2's, or of crops out of them, P3's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mammofast.datasets import Sample
from mammofast.datasets.record import IGNORED
from mammofast.errors import TrainingError
from mammofast.evaluation.classes import confusion_matrix, mean_class_accuracy, mean_iou, pixel_accuracy
from mammofast.evaluation.masks import dice, iou, sensitivity
from mammofast.models import find
from mammofast.models.interfaces import Probabilities
from mammofast.training.augment import Augmentation, AugmentationTable
from mammofast.training.cropping import Cropping
from mammofast.training.inputs import Inputs, inputs_of, option
from mammofast.training.losses import LossTable, class_weights, make_loss, supervised
from mammofast.training.recipe import Recipe, Size, Stage
from mammofast.training.tables import read_table
from mammofast.training.tasks.task import Batch, Example, Task

_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesTable:
    """A recipe's table ``examples``.

    crop: (rows, cols) that are trained on, where images are larger than that; the network's size by default.
    crops: of each image in an epoch. balanced: whether they are centred on classes that are not the background.
    subtract_mean: whether the training images' mean grey is subtracted, P1's "pixel mean".
    """

    crop: Size | None = None
    crops: int = 1
    balanced: bool = False
    subtract_mean: bool = False

    def __post_init__(self) -> None:
        if self.crops < 1:
            raise ValueError(f"crops: got {self.crops}, expected at least 1")


class Segmentation(Task):
    """Classes of pixels. Examples: "image" (channels, rows, cols) and "truth" (rows, cols), 255 = does not count."""

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        super().__init__(recipe, stage)
        where = f"recipe {recipe.name!r}: stage {stage.name!r}"
        self._table = read_table(ExamplesTable, stage.examples, f"{where}: examples")
        self._loss_table = read_table(LossTable, stage.loss, f"{where}: loss")
        self._augmentation = Augmentation(read_table(AugmentationTable, stage.augmentation, f"{where}: augmentation"))
        self._output = find(stage.network.name).output
        self._classes = max(int(option(stage.network, "classes", 1)), 2)
        self._inputs = self.inputs()
        self._scaling = self._inputs.scaling
        self._cropping = Cropping(self._table.crop or self._inputs.size, self._inputs.margin, self._inputs.stride)
        if self._inputs.whole and (self._table.crop or self._table.balanced or self._table.crops > 1):
            raise TrainingError(f"{where}: examples: whole images are learnt from; leave crop, crops and balanced out")
        self.repeats = self._table.crops
        self._loss = make_loss(self._loss_table)

    def inputs(self) -> Inputs:
        """Return how images become inputs."""
        return inputs_of(self.recipe, self.stage)

    @property
    def preparation(self) -> Mapping[str, Any]:
        """What the method's parameters say of reading an image."""
        return self._inputs.recorded

    def prepare(self, sample: Sample) -> list[Example]:
        """Return the image as the method reads it, and its classes."""
        return [self._inputs.read(sample)]

    def fit(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Return the classes' parts of all pixels, and the mean grey, where they are asked for."""
        fitted: dict[str, Any] = {}
        if self._loss_table.weights != "none":
            counts = np.zeros(256, np.int64)
            for example in examples:
                counts += np.bincount(np.asarray(example["truth"]).ravel(), minlength=256)
            counted = counts[: self._classes]
            fitted["frequencies"] = (counted / max(int(counted.sum()), 1)).tolist()
        if self._table.subtract_mean:
            means = [self._inputs.grey(example["image"]).mean(dtype=np.float64) for example in examples]
            fitted["mean"] = float(np.mean(means))
        return fitted

    def use(self, fitted: Mapping[str, Any]) -> None:
        """Weight the classes, and subtract the mean."""
        if "frequencies" in fitted:
            self._loss = make_loss(self._loss_table, class_weights(self._loss_table.weights, fitted["frequencies"]))
        if "mean" in fitted:
            self._scaling = replace(self._scaling, mean=fitted["mean"])

    def parameters(self) -> dict[str, Any]:
        """Return the method's parameters, the mean that was fitted among them."""
        parameters = super().parameters()
        if self._table.subtract_mean:
            stated = dict(parameters.get("scaling", {"contrast": "minmax", "channels": self._scaling.channels}))
            parameters["scaling"] = {**stated, "mean": self._scaling.mean}
        return parameters

    def rows(self, image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the network's input (channels, rows, cols) of numbers in 0..1, grey or three colours."""
        return self._scaling.rows(image[0] if image.shape[0] == 1 else image)

    def batch(self, examples: Sequence[Example], rng: np.random.Generator | None, step: int) -> Batch:
        """Return "image" (n, channels, rows, cols) and "truth" (n, rows, cols); to measure, a list of single images."""
        if rng is None:
            return [self._measured(example) for example in examples]
        images, truths = zip(*(self._drawn(example, rng) for example in examples), strict=True)
        return {"image": torch.from_numpy(np.stack(images)), "truth": torch.from_numpy(np.stack(truths)).long()}

    def loss(self, network: nn.Module, batch: Batch, turn: str) -> Tensor:
        """Return the recipe's loss, a mean over the heads where there are several."""
        return supervised(self._loss, network(batch["image"]), batch["truth"])

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the mean Dice, IoU and sensitivity of images with foreground; of more classes P3's three measures."""
        # One after the other: native images are too large to be kept.
        cases = (case for batch in batches for case in batch)
        if self._classes > 2:
            return self._measure_classes(network, cases)
        probabilities = Probabilities(network, self._output)
        pairs = []
        for case in cases:
            found = (probabilities(case["image"])[0, 0] >= _HALF).cpu().numpy()
            truth = case["truth"].cpu().numpy()
            pairs.append((found[: truth.shape[0], : truth.shape[1]], truth == 1))
        pairs = [pair for pair in pairs if pair[1].any()]
        measures = {"dice": dice, "iou": iou, "sensitivity": sensitivity}
        return {
            name: float(np.mean([measure(*pair) for pair in pairs])) if pairs else float("nan")
            for name, measure in measures.items()
        }

    def _measure_classes(self, network: nn.Module, cases: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
        """Return P3's measures, pooled over all pixels."""
        matrix = np.zeros((self._classes, self._classes), np.int64)
        for case in cases:
            truth = case["truth"].cpu().numpy()
            found = network(case["image"])[0].argmax(dim=0).cpu().numpy()[: truth.shape[0], : truth.shape[1]]
            matrix += confusion_matrix(found, truth, self._classes, IGNORED)
        return {
            "miou": mean_iou(matrix),
            "pixel_accuracy": pixel_accuracy(matrix),
            "mean_accuracy": mean_class_accuracy(matrix),
        }

    def _drawn(
        self, example: Example, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Return one input to learn from, and its classes."""
        image, truth = example["image"], np.asarray(example["truth"])
        if not self._inputs.whole:
            origin = self._cropping.draw(truth, self._table.balanced, rng)
            image, truth = self._cropping.cut(image, truth, origin)
        image, truth = self._augmentation(self._inputs.grey(image), truth, rng)
        return self.rows(image), truth

    def _measured(self, example: Example) -> dict[str, Tensor]:
        """Return a whole image and its classes; what it is continued by to suit the network gets none."""
        image = example["image"] if self._inputs.whole else self._cropping.whole(example["image"])
        row = self.rows(self._inputs.grey(image))
        return {"image": torch.from_numpy(row[None]), "truth": torch.from_numpy(np.array(example["truth"]))}
