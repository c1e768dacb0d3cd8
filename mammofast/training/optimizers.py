"""Optimizers and rates from a recipe's tables."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from mammofast.errors import TrainingError
from mammofast.training.recipe import OptimizerTable, Schedule


def make_optimizer(table: OptimizerTable, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of a table for those parameters that are not frozen.

    Raises
    ------
    TrainingError
        When all are.

    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if not learning:
        raise TrainingError("freeze: got names that leave nothing to learn; expected beginnings of some parameters")
    if table.name == "sgd":
        return torch.optim.SGD(learning, table.rate, momentum=table.momentum, weight_decay=table.weight_decay)
    kind = torch.optim.AdamW if table.name == "adamw" else torch.optim.Adam
    return kind(learning, table.rate, betas=table.betas, amsgrad=table.amsgrad, weight_decay=table.weight_decay)


def rate_factor(schedule: Schedule, epochs: int, epoch: int, done: float, step: int) -> float:
    """Return what the rate is multiplied by.

    epochs: of the whole training. epoch: from 0. done: the part of this epoch's batches that are behind, in 0..1.
    step: of the optimizer, from 0.
    """
    risen = min((step + 1) / schedule.warm_up, 1.0) if schedule.warm_up else 1.0
    return risen * _course(schedule, epochs, epoch, done)


def _course(schedule: Schedule, epochs: int, epoch: int, done: float) -> float:
    if schedule.name == "steps":
        planned, passed = epoch * sum(schedule.epochs) / epochs, 0
        for factor, length in zip(schedule.factors, schedule.epochs, strict=True):
            passed += length
            if planned < passed:
                return factor
        return schedule.factors[-1]
    if schedule.name == "drop":
        return float(schedule.factor ** (epoch // schedule.every))
    if schedule.name == "cosine":
        return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * (epoch + done) / epochs))
    return 1.0
