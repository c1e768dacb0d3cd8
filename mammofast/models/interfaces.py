# mypy: disallow-subclassing-any=False
"""A network of the catalogue, giving what methods ask for."""

import torch
from torch import Tensor, nn


class Probabilities(nn.Module):
    """A segmenter that gives the foreground's probability, (n, 1, rows, cols).

    network: gives (n, classes, rows, cols). output: what that is, as the catalogue says: "logits" (class 1's softmax,
    or the sigmoid of a single class), "probability" or "tanh" (-1..1 becomes 0..1; the first channel is kept).
    replicate: how often the one grey channel given is repeated for a network that wants more of them.
    """

    def __init__(self, network: nn.Module, output: str, replicate: int = 1) -> None:
        super().__init__()
        self.network = network
        self.output = output
        self.replicate = replicate

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities."""
        values: Tensor = self.network(_replicated(image, self.replicate))
        classes = values.shape[1]
        if self.output == "logits":
            values = torch.sigmoid(values) if classes == 1 else torch.softmax(values, dim=1)
        if self.output == "tanh":
            return (values[:, :1] + 1) / 2
        return values if classes == 1 else values[:, 1:2]


class Raw(nn.Module):
    """A network whose outputs stay as they are; ``replicate`` as in :class:`Probabilities`."""

    def __init__(self, network: nn.Module, replicate: int = 1) -> None:
        super().__init__()
        self.network = network
        self.replicate = replicate

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs, always as a tuple."""
        outputs = self.network(_replicated(image, self.replicate))
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _replicated(image: Tensor, times: int) -> Tensor:
    return image if times == 1 else torch.cat([image] * times, dim=1)
