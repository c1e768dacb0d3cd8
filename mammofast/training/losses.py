"""Losses of segmentation, as the papers state them; Dice is MONAI's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

from mammofast.datasets.record import IGNORED
from mammofast.errors import TrainingError

CROSS_ENTROPY, DICE, BOTH = "cross-entropy", "dice", "dice+cross-entropy"
NAMES = (CROSS_ENTROPY, DICE, BOTH)
NONE, INVERSE, COMPLEMENT = "none", "inverse-frequency", "complement"
_WEIGHTS = (NONE, INVERSE, COMPLEMENT)

# Of (n, classes, rows, cols) logits and (n, rows, cols) classes.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTable:
    """A recipe's loss.

    name: "cross-entropy", "dice", or "dice+cross-entropy", Dice + ``alpha`` · cross-entropy.
    weights: of classes in cross-entropy, from their parts f of the training set's pixels: "none"; "inverse-frequency",
    1 / f (P1, eq. 1); or "complement", 1 - f (P3). epsilon: of Dice, in numerator and denominator (P2, eq. 8).
    """

    name: str
    weights: str = NONE
    alpha: float = 1.0
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"name: got {self.name!r}, expected one of {', '.join(NAMES)}")
        if self.weights not in _WEIGHTS:
            raise ValueError(f"weights: got {self.weights!r}, expected one of {', '.join(_WEIGHTS)}")
        if self.name == DICE and self.weights != NONE:
            raise ValueError("weights: are of cross-entropy; dice has none")
        if not self.alpha > 0 or not self.epsilon > 0:
            raise ValueError("expected alpha and epsilon above 0")


def class_weights(weights: str, frequencies: Sequence[float]) -> list[float] | None:
    """Return each class's weight; None where there are none.

    frequencies: each class's part of the training set's pixels, adding up to 1.

    Raises
    ------
    TrainingError
        When a class that is to be weighted by the inverse of its frequency has no pixels.

    """
    if weights == NONE:
        return None
    if weights == COMPLEMENT:
        return [1 - f for f in frequencies]
    if missing := [k for k, f in enumerate(frequencies) if not f > 0]:
        raise TrainingError(
            f"loss.weights: class {missing[0]} has no pixel in the training images, and its weight would be infinite; "
            "give images that have it, or train without weights"
        )
    return [1 / f for f in frequencies]


def make_loss(table: LossTable, weights: Sequence[float] | None = None) -> Loss:
    """Return a table's loss, a mean over the batch.

    Of two classes and more the logits are of softmax, and Dice is of all classes but the first; of one class they are
    of sigmoid. Pixels of class 255 do not count. Cross-entropy is summed with its weights and divided by the number of
    pixels, as P1's eq. 1 has it, not by the sum of the weights.
    """
    return partial(_loss, table, weights)


def supervised(loss: Loss, outputs: Tensor | Sequence[Tensor], truth: Tensor) -> Tensor:
    """Return the loss of a network's output, or the mean over the heads of one with deep supervision."""
    heads = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    return torch.stack([loss(head, truth) for head in heads]).mean()


def _loss(table: LossTable, weights: Sequence[float] | None, logits: Tensor, truth: Tensor) -> Tensor:
    logits = logits.float()
    total = logits.new_zeros(())
    if table.name != CROSS_ENTROPY:
        total = total + _dice(logits, truth, table.epsilon)
    if table.name != DICE:
        alpha = table.alpha if table.name == BOTH else 1.0
        total = total + alpha * _cross_entropy(logits, truth, weights)
    return total


def _cross_entropy(logits: Tensor, truth: Tensor, weights: Sequence[float] | None) -> Tensor:
    counts = truth != IGNORED
    weight = None if weights is None else logits.new_tensor(np.asarray(weights))
    if logits.shape[1] == 1:
        target = (truth == 1).float()
        each = functional.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
        if weight is not None:
            each = each * torch.where(truth == 1, weight[1], weight[0])
    else:
        each = functional.cross_entropy(logits, truth, weight, ignore_index=IGNORED, reduction="none")
    return (each * counts).sum() / counts.sum().clamp(min=1)


def _dice(logits: Tensor, truth: Tensor, epsilon: float) -> Tensor:
    """Return 1 - soft Dice, a mean over images and foreground classes."""
    counts = (truth != IGNORED)[:, None]
    classes = logits.shape[1]
    if classes == 1:
        probability, target = torch.sigmoid(logits), (truth == 1)[:, None].float()
    else:
        probability = torch.softmax(logits, dim=1)[:, 1:]
        whole = functional.one_hot(torch.where(truth == IGNORED, 0, truth), classes)
        target = whole.permute(0, 3, 1, 2)[:, 1:].float()
    dice = DiceLoss(smooth_nr=epsilon, smooth_dr=epsilon)
    found: Tensor = dice(probability * counts, target * counts)
    return found
