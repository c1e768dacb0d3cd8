"""The running average of a network's weights, which is often better than any of them."""

import copy

import torch
from torch import nn


class Average:
    """Exponential running average of a network's weights and statistics, its memory growing to ``longest`` steps."""

    def __init__(self, network: nn.Module, longest: int) -> None:
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
