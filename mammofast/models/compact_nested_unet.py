# mypy: disallow-subclassing-any=False
"""A compact nested U-Net (UNet++, Zhou et al. 2018, arXiv 1807.10165): nodes X(i, j), dense skips, deep supervision."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.blocks import scaled


class Node(nn.Sequential):
    """Two 3×3 convolutions, each with batch normalization and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class CompactNestedUNet(nn.Module):
    """Segmenter of one class in a grey crop.

    A strided convolution halves the crop first, and the logits are stretched back (bilinear): an eighth of a crop's
    mass is far larger than a pixel, and the network costs a quarter.

    Input (n, 1, rows, cols), sides multiples of 16; output logits (n, 1, rows, cols), the mean of the heads on
    X(0, 1) to X(0, depth - 1); while training, one output per head.

    widths: channels of the rows of nodes. width: factor on all of them.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), width: float = 1.0) -> None:
        super().__init__()
        widths = tuple(scaled(each, width) for each in widths)
        self.depth = len(widths)
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        self.nodes = nn.ModuleDict()
        for i, width in enumerate(widths):
            self.nodes[f"{i}_0"] = Node(widths[max(i - 1, 0)], width)
            for j in range(1, self.depth - i):
                self.nodes[f"{i}_{j}"] = Node(j * width + widths[i + 1], width)
        self.heads = nn.ModuleList(nn.Conv2d(widths[0], 1, 1) for _ in range(1, self.depth))

    def forward(self, crop: Tensor) -> Tensor | list[Tensor]:
        """Return logits, one tensor per head while training, else their mean."""
        x: dict[tuple[int, int], Tensor] = {}
        for j in range(self.depth):
            for i in range(self.depth - j):
                x[i, j] = self.nodes[f"{i}_{j}"](self._node_input(x, i, j, crop))
        logits = [head(x[0, j]) for j, head in enumerate(self.heads, start=1)]
        if self.training:
            return [_stretch(value) for value in logits]
        return _stretch(torch.stack(logits).mean(dim=0))

    def _node_input(self, x: dict[tuple[int, int], Tensor], i: int, j: int, crop: Tensor) -> Tensor:
        if j:
            below = functional.interpolate(x[i + 1, j - 1], scale_factor=2.0, mode="nearest")
            return torch.cat([*(x[i, k] for k in range(j)), below], dim=1)
        if i:
            return functional.max_pool2d(x[i - 1, 0], 2)
        stem: Tensor = self.stem(crop)
        return stem


def _stretch(logits: Tensor) -> Tensor:
    return functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
