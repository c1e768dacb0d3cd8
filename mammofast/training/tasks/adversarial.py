# mypy: disallow-subclassing-any=False
"""A generator of masks and its critic, taking turns (Singh et al. 2020, the cGAN that P4 compares with)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models import create
from mammofast.training.losses import DICE, LossTable, make_loss
from mammofast.training.tables import read_table
from mammofast.training.tasks.crops import Crops
from mammofast.training.tasks.task import Batch

_CRITIC, _GENERATOR = "discriminator", "generator"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """mask: a loss of ``mammofast.training.losses`` beside the critic's verdict, and how much it weighs. (The authors'
    code weighs Dice by 150.) width: of the critic's hidden layers, a factor.
    """

    mask: str = DICE
    weight: float = 150.0
    width: float = 1.0


class Adversaries(nn.Module):
    """Both networks in one, so that each can be called in the recipe's precision.

    ``forward(image)`` is the generator; ``forward(image, mask)`` the critic's verdict on a mask of as many channels.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return masks as tanh, or the logits of verdicts."""
        if mask is None:
            made: Tensor = self.generator(image)
            return made
        # Up to its last sigmoid: cross-entropy is taken of logits, which nothing rounds to 0 or 1.
        verdict: Tensor = self.discriminator.layers[:-1](torch.cat([image, mask], dim=1))
        return verdict


class Adversarial(Crops):
    """Crops again; the critic learns to tell true masks from made ones, then the generator to be taken for true.

    The generator's masks are -1..1 in each of its channels, and so are true masks shown to the critic.
    """

    turns = (_CRITIC, _GENERATOR)

    def _read_loss(self) -> None:
        self._outputs = ()
        self._table = read_table(_Loss, self.stage.loss, "loss")
        self._cost = make_loss(LossTable(name=self._table.mask))

    def network(self) -> nn.Module:
        """Return generator and critic."""
        generator = super().network()
        channels = self._channels + int(self.stage.network.options.get("classes", generator.up[-1].out_channels))
        return Adversaries(generator, create("cgan-discriminator", channels=channels, width=self._table.width))

    def learns(self, network: nn.Module, turn: str) -> Iterable[nn.Parameter]:
        """Return the parameters of the one whose turn it is."""
        part: nn.Module = getattr(network, turn)
        parameters: Iterable[nn.Parameter] = part.parameters()
        return parameters

    def loss(self, network: nn.Module, batch: Batch, turn: str) -> Tensor:
        """Return the critic's cross-entropy over both kinds of masks, or the generator's loss."""
        image = batch["images"]
        if turn == _CRITIC:
            with torch.no_grad():
                made = network(image)
            true = (2.0 * batch["masks"][:, None] - 1).expand_as(made)
            return (_verdict(network(image, true), 1.0) + _verdict(network(image, made), 0.0)) / 2
        made = network(image)
        probability = (made[:, :1].float() + 1) / 2
        # As a logit, what losses take; the tanh's rounding must not make it infinite.
        logit = torch.logit(probability, eps=1e-6)
        return _verdict(network(image, made), 1.0) + self._table.weight * self._cost(logit, batch["masks"])

    def exported(self, network: nn.Module) -> nn.Module:
        """Return the generator."""
        generator: nn.Module = network.generator
        return generator


def _verdict(logits: Tensor, wanted: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(
        logits.float(), torch.full_like(logits, wanted, dtype=torch.float32)
    )
