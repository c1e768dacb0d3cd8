"""What both trainings share: the learning rate over time and the running average of weights."""

import copy
import math
from collections.abc import Callable

import torch
from torch import nn

Report = Callable[[int, float], None]

_WARM_UP_STEPS = 100
# Steps of a training that ends by the clock.
NO_LIMIT = 1 << 30


def rate(done: float, step: int) -> float:
    """Return the part of the peak rate: a linear warm-up, then a half cosine; ``done`` runs from 0 to 1."""
    return min((step + 1) / _WARM_UP_STEPS, 1.0) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


class Average:
    """Exponential running average of a network's weights and statistics, its memory growing to ``longest`` steps."""

    def __init__(self, network: nn.Module, longest: int = 300) -> None:
        self.network = copy.deepcopy(network).eval()
        self._longest = longest

    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        keep = 1 - 1 / min(step / 5 + 1, self._longest)
        with torch.no_grad():
            for mine, theirs in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
                if mine.dtype.is_floating_point:
                    mine.mul_(keep).add_(theirs, alpha=1 - keep)
                else:
                    mine.copy_(theirs)
