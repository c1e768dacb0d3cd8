"""Learning to segment masses in crops around them (Yan et al. 2020, P4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mammofast.datasets import Sample
from mammofast.evaluation import dice
from mammofast.models import find
from mammofast.models.interfaces import Probabilities
from mammofast.records import Box, Window
from mammofast.training.losses import DICE, LossTable, make_loss, supervised
from mammofast.training.recipe import Recipe, Stage
from mammofast.training.tables import read_table
from mammofast.training.tasks.task import Batch, Example, Task
from mammofast.training.two_stage import Subject, method_parameters, stated

_STATED = ("grey", "contrast", "crop_margin", "crop_shape", "mask_threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """name: of ``mammofast.training.losses``. outputs: which of a network's several count, from 0, the last of them
    being what is measured; none: all.
    """

    name: str = DICE
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examples:
    """Windows of each mass: its box, widened as a candidate's is when screening; or imprecise ones.

    windows: how many of each mass. shift: of the box's side, how far its centre may be off. stretch: least and most
    that its sides may be multiplied by. They depend on the box alone.
    """

    windows: int = 1
    shift: float = 0.0
    stretch: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Augmentation:
    """left_right, top_bottom: how often a crop is mirrored. turn: whether it is also turned by quarters."""

    left_right: float = 0.0
    top_bottom: float = 0.0
    turn: bool = False


class Crops(Task):
    """The masks of masses in windows of the native image, equalized and stretched as when screening.

    An example: "crop", times 255, and "mask", 0 or 1, both uint8 (rows, cols).
    """

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        super().__init__(recipe, stage)
        self._method = method_parameters(recipe, stage)
        self._windows = read_table(_Examples, stage.examples, "examples")
        self._augmentation = read_table(_Augmentation, stage.augmentation, "augmentation")
        self._entry = find(stage.network.name)
        self._channels = int(stage.network.options.get("channels", self._entry.input[0]))
        self._read_loss()

    def _read_loss(self) -> None:
        """Read the table of the loss."""
        loss = read_table(_Loss, self.stage.loss, "loss")
        self._outputs = loss.outputs
        self._cost = make_loss(LossTable(name=loss.name))

    @property
    def preparation(self) -> Mapping[str, Any]:
        """The grey values, and which windows."""
        names = ("grey", "contrast", "scales", "crop_margin", "crop_shape")
        return {**stated(self._method, names), **asdict(self._windows)}

    def prepare(self, sample: Sample) -> list[Example]:
        """Return the crops of an image, mass by mass."""
        subject = Subject.of(sample, self._method)
        found: list[Example] = []
        for box in subject.boxes:
            rng = np.random.default_rng(box)
            for _ in range(self._windows.windows):
                crop, mask = subject.crop(self._window(box, subject.source.shape, rng), self._method.crop_shape)
                found.append({"crop": crop, "mask": mask})
        return found

    def _window(self, box: Box, shape: tuple[int, int], rng: np.random.Generator) -> Window:
        """Return the window that a detection of a box, perhaps imprecise, would be segmented in."""
        sides = np.array([box[2] - box[0], box[3] - box[1]])
        off = rng.uniform(-self._windows.shift, self._windows.shift, 2) * sides
        half = sides / 2 * rng.uniform(*self._windows.stretch, 2) + np.rint(sides * self._method.crop_margin)
        centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2 + off
        low = np.maximum(np.rint(centre - half), 0).astype(int)
        high = np.minimum(np.rint(centre + half), shape[::-1]).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def network(self) -> nn.Module:
        """Return a new network; one that is trained in levels is measured by the one that learns."""
        network = super().network()
        if self._outputs:
            network.decides = self._outputs[-1]
        return network

    def batch(self, examples: Sequence[Example], rng: np.random.Generator | None, step: int) -> Batch:
        """Return crops and masks, turned and mirrored."""
        crops, masks = [], []
        for example in examples:
            crop, mask = np.asarray(example["crop"]), np.asarray(example["mask"])
            if rng is not None:
                crop, mask = self._augmented((crop, mask), rng)
            crops.append(crop.astype(np.float32) / 255)
            masks.append(mask.astype(np.int64))
        return {
            "images": torch.from_numpy(np.stack(crops)[:, None]).expand(-1, self._channels, -1, -1),
            "masks": torch.from_numpy(np.stack(masks)),
        }

    def _augmented(
        self, pair: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], rng: np.random.Generator
    ) -> list[npt.NDArray[np.uint8]]:
        a = self._augmentation
        turns = int(rng.integers(4)) if a.turn else 0
        mirrored = tuple(axis for axis, often in ((1, a.left_right), (0, a.top_bottom)) if rng.random() < often)
        return [np.flip(np.rot90(each, turns), mirrored) for each in pair]

    def loss(self, network: nn.Module, batch: Batch, turn: str) -> Tensor:
        """Return the mean loss of the network's outputs; with deep supervision there are several."""
        outputs = network(batch["images"])
        if self._outputs:
            outputs = [outputs[i] for i in self._outputs]
        return supervised(self._cost, outputs, batch["masks"])

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the mean Dice of crops, masks cut where the bundle will cut them."""
        found = []
        segmenter = Probabilities(network, self._entry.output)
        for batch in batches:
            masks = segmenter(batch["images"]).cpu().numpy() >= self._method.mask_threshold
            found += [dice(m[0], t > 0) for m, t in zip(masks, batch["masks"].cpu().numpy(), strict=True)]
        return {"dice": float(np.mean(found))}

    def parameters(self) -> dict[str, Any]:
        """Return the recipe's parameters, and all that the segmenter was trained with."""
        return {**super().parameters(), **stated(self._method, _STATED)}
