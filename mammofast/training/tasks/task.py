"""What a task is to the trainer: from samples to examples, batches, a loss and a measure."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from mammofast.datasets import Sample
from mammofast.models import create
from mammofast.training.recipe import Recipe, Stage

# What one thing to learn from consists of, by name; kept on disk between epochs and opened as memory maps.
Example = Mapping[str, npt.NDArray[Any]]
# Tensors, in tuples or dictionaries as the task likes; the trainer moves them to its device.
Batch = Any


class Task(ABC):
    """What one stage of a recipe learns.

    turns: one optimizer each. Almost always one; a cGAN's discriminator and generator take turns within a batch.
    repeats: how often an example stands in one epoch, each time drawn anew.
    """

    turns: tuple[str, ...] = ("network",)
    repeats: int = 1

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        self.recipe = recipe
        self.stage = stage

    @property
    @abstractmethod
    def preparation(self) -> Mapping[str, Any]:
        """All that :meth:`prepare` depends on beside the sample, JSON-ready: what is kept on disk is found by it."""

    @abstractmethod
    def prepare(self, sample: Sample) -> list[Example]:
        """Return a sample's examples: everything that is the same in every epoch. Nothing is drawn here.

        Images are made by the functions that make the network's input when screening.
        """

    def fit(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Return what is computed once from all training examples, JSON-ready: anchors, class weights, the mean grey.

        It is kept in checkpoints; :meth:`use` gets it before the first batch, also of a training that resumes.
        """
        return {}

    def use(self, fitted: Mapping[str, Any]) -> None:  # noqa: B027 - most tasks fit nothing
        """Take over what :meth:`fit` returned."""

    def network(self) -> nn.Module:
        """Return a new network to train, its random weights drawn from PyTorch's generator."""
        network: nn.Module = create(self.stage.network.name, **self.stage.network.options)
        return network

    def learns(self, network: nn.Module, turn: str) -> Iterable[nn.Parameter]:
        """Return the parameters of a turn's optimizer."""
        parameters: Iterable[nn.Parameter] = network.parameters()
        return parameters

    @abstractmethod
    def batch(self, examples: Sequence[Example], rng: np.random.Generator | None, step: int) -> Batch:
        """Return a batch of CPU tensors.

        rng: of this batch alone, for all that is drawn (augmentation); None when measuring: nothing is drawn.
        step: of the optimizer, from 0; for what changes over time, such as the size of a detector's input.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, turn: str) -> Tensor:
        """Return the loss to go down, a scalar. The network trains; call it as ``network(images)``, nothing of it
        otherwise: its call is what runs in the recipe's precision and returns float32.
        """

    @abstractmethod
    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Return measures of validation batches by name; the first, the higher the better, chooses the best epoch.

        The network is set to eval, and no gradients are kept.
        """

    def exported(self, network: nn.Module) -> nn.Module:
        """Return the part of the network that is kept and compiled: the catalogue's network of the recipe."""
        return network

    def finish(self, network: nn.Module, examples: Sequence[Example]) -> dict[str, Any]:
        """Do what is done once after the last stage, to the best weights and in place; return method parameters.

        network: as :meth:`exported`. examples: of the validation samples, or of the training ones where there are none.
        """
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return the bundle's method parameters: the recipe's, and those that were fitted."""
        return dict(self.recipe.bundle.parameters) if self.recipe.bundle else {}
