# mypy: disallow-subclassing-any=False
"""The conditional GAN of Singh et al. 2020 (Expert Syst. Appl. 139, 112855): a pix2pix generator and its critic."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.blocks import scaled

# Channels in multiples of the first layer's: of the generator's eight halvings, and of the discriminator.
_GENERATOR = (1, 2, 4, 8, 8, 8, 8, 8)
_DISCRIMINATOR = (1, 2, 4, 8)
_DROPOUTS = 3


class Generator(nn.Module):
    """Image to mask: eight 4×4 convolutions of stride 2 down, eight transposed ones up, a skip between equals.

    Input (n, channels, rows, cols) in -1..1, sides multiples of 256; output (n, classes, rows, cols) in -1..1, a tanh:
    at least 0 is mass.

    The authors' code has one batch normalization per channel count, and all layers of that count share it: its scale,
    its shift and its statistics, which one training step therefore updates up to eight times. So has this.

    Parameters
    ----------
    channels: of the input.
    classes: channels of the output; the authors write the mask into three.
    width: factor on every hidden channel count.
    filters: channels of the first layer.

    """

    stride = 256
    halo = None
    margin = 0

    def __init__(self, channels: int = 3, classes: int = 3, width: float = 1.0, filters: int = 32) -> None:
        super().__init__()
        first = scaled(filters, width)
        counts = [first * multiple for multiple in _GENERATOR]
        self.down = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1) for inputs, outputs in pairwise([channels, *counts])
        )
        self.up = nn.ModuleList(
            # All but the first take a skip beside what comes from below.
            nn.ConvTranspose2d(inputs if i == 0 else 2 * inputs, outputs, 4, stride=2, padding=1)
            for i, (inputs, outputs) in enumerate(pairwise([*reversed(counts), classes]))
        )
        self.norms = nn.ModuleDict(
            {str(multiple): nn.BatchNorm2d(first * multiple) for multiple in sorted(set(_GENERATOR))}
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the mask as tanh."""
        x = self.down[0](image)
        skips = [x]
        for conv, multiple in zip(self.down[1:-1], _GENERATOR[1:-1], strict=True):
            x = self.norms[str(multiple)](conv(functional.leaky_relu(x, 0.2)))
            skips.append(x)
        x = self.down[-1](functional.leaky_relu(x, 0.2))
        for i, (conv, multiple) in enumerate(zip(self.up[:-1], _GENERATOR[-2::-1], strict=True)):
            x = self.norms[str(multiple)](conv(functional.relu(x)))
            x = functional.dropout(x, training=self.training and i < _DROPOUTS)
            x = torch.cat([x, skips.pop()], dim=1)
        return torch.tanh(self.up[-1](functional.relu(x)))


class Discriminator(nn.Module):
    """Whether a mask belongs to its image, for each 70×70 patch: the critic that the generator was trained against.

    Input (n, channels, rows, cols): image and mask stacked; output probabilities (n, 1, rows / 8 - 2, cols / 8 - 2).
    """

    def __init__(self, channels: int = 6, width: float = 1.0, filters: int = 32) -> None:
        super().__init__()
        counts = [scaled(filters, width) * multiple for multiple in _DISCRIMINATOR]
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise([channels, *counts])):
            stride = 1 if i == len(counts) - 1 else 2
            layers.append(nn.Conv2d(inputs, outputs, 4, stride, padding=1))
            if i:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.layers = nn.Sequential(*layers, nn.Conv2d(counts[-1], 1, 4, padding=1), nn.Sigmoid())

    def forward(self, pair: Tensor) -> Tensor:
        """Return each patch's probability of a true mask."""
        verdict: Tensor = self.layers(pair)
        return verdict
