# mypy: disallow-subclassing-any=False
"""PSPNet (Zhao et al. 2017, arXiv 1612.01105) on a ResNet, a baseline of Hai et al. 2019."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mammofast.models.blocks import scaled
from mammofast.models.deeplabv3 import Unit
from mammofast.models.resizing import size_of, stretch
from mammofast.models.resnet import ResNet


class PyramidPooling(nn.Module):
    """The means of 1×1, 2×2, 3×3 and 6×6 regions, each through a 1×1 convolution, beside the maps themselves."""

    def __init__(self, inputs: int, outputs: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.units = nn.ModuleList(Unit(inputs, outputs, 1, nn.BatchNorm2d) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps and their regions' means, concatenated."""
        size = size_of(x)
        pooled = [stretch(unit(region_means(x, bins)), size) for bins, unit in zip(self.bins, self.units, strict=True)]
        return torch.cat([x, *pooled], dim=1)


def region_means(x: Tensor, bins: int) -> Tensor:
    """Return the means of ``bins`` × ``bins`` regions: adaptive average pooling of any size, which exports as products.

    ONNX has no adaptive pooling, and equal windows only where ``bins`` divides the sides.
    """
    rows, cols = (_averaging(side, bins).to(x) for side in size_of(x))
    return rows @ x @ cols.T


def _averaging(side: int, bins: int) -> Tensor:
    """Return the (bins, side) matrix whose row i averages positions ⌊i·side/bins⌋ to ⌈(i+1)·side/bins⌉."""
    position, region = torch.arange(side), torch.arange(bins)[:, None]
    start, end = region * side // bins, -(-(region + 1) * side // bins)
    inside = (position >= start) & (position < end)
    return inside / inside.sum(dim=1, keepdim=True)


class PSPNet(nn.Module):
    """ResNet of output stride 8 with a 7×7 stem, pyramid pooling of 512 maps for each of four grids, bilinear.

    Input (n, channels, rows, cols), sides multiples of 8; output logits (n, classes, rows, cols); with ``aux`` while
    training a list of two, the second from the third stage. The pooling sees the whole input.

    Parameters
    ----------
    channels, classes
        Of input and output.
    width
        Multiplies every hidden layer's channels (at least 8).
    depth
        Of the ResNet.
    aux
        With the auxiliary head.
    """

    stride = 8
    halo = None
    margin = 0

    def __init__(
        self, channels: int = 3, classes: int = 2, width: float = 1.0, depth: int = 50, aux: bool = False
    ) -> None:
        super().__init__()
        maps = max(8, scaled(512, width))
        self.trunk = ResNet(depth, channels, width, dilations=(1, 1, 2, 4))
        *_, stage3, stage4 = self.trunk.widths
        self.pooling = PyramidPooling(stage4, maps)
        self.head = _head(stage4 + 4 * maps, maps, classes)
        self.aux = _head(stage3, maps // 2, classes) if aux else None

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits at the input's size."""
        *_, stage3, stage4 = self.trunk(image)
        size = size_of(image)
        logits = stretch(self.head(self.pooling(stage4)), size)
        if self.aux is None or not self.training:
            return logits
        return [logits, stretch(self.aux(stage3), size)]


def _head(inputs: int, maps: int, classes: int) -> nn.Sequential:
    return nn.Sequential(Unit(inputs, maps, 3, nn.BatchNorm2d), nn.Dropout2d(0.1), nn.Conv2d(maps, classes, 1))
