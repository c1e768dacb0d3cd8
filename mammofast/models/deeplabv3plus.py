# mypy: disallow-subclassing-any=False
"""DeepLabv3+ (Chen et al. 2018, arXiv 1802.02611) on a ResNet, a baseline of Hai et al. 2019."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mammofast.models.blocks import scaled
from mammofast.models.deeplabv3 import ASPP, Unit
from mammofast.models.resizing import size_of, stretch
from mammofast.models.resnet import ResNet


class DeepLabv3Plus(nn.Module):
    """ResNet of output stride 16, atrous spatial pyramid pooling, and a decoder that adds maps of stride 4.

    Input (n, channels, rows, cols), sides multiples of 16; output logits (n, classes, rows, cols). The image pooling
    sees the whole input.

    Parameters
    ----------
    channels, classes
        Of input and output.
    width
        Multiplies every hidden layer's channels (at least 8).
    depth
        Of the ResNet.
    rates
        Dilations of the pyramid.
    """

    stride = 16
    halo = None
    margin = 0

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        width: float = 1.0,
        depth: int = 50,
        rates: Sequence[int] = (6, 12, 18),
    ) -> None:
        super().__init__()
        norm = nn.BatchNorm2d
        maps, low = max(8, scaled(256, width)), max(8, scaled(48, width))
        self.trunk = ResNet(depth, channels, width, norm, dilations=(1, 1, 1, 2))
        self.aspp = ASPP(self.trunk.widths[-1], maps, rates, norm)
        self.low_level = Unit(self.trunk.widths[0], low, 1, norm)
        self.decoder = nn.Sequential(
            Unit(maps + low, maps, 3, norm), Unit(maps, maps, 3, norm), nn.Conv2d(maps, classes, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the input's size."""
        fine, *_, coarse = self.trunk(image)
        context = stretch(self.aspp(coarse), size_of(fine))
        logits = self.decoder(torch.cat([self.low_level(fine), context], dim=1))
        return stretch(logits, size_of(image))
