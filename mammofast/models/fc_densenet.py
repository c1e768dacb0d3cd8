# mypy: disallow-subclassing-any=False
"""FC-DenseNet (Jégou et al. 2017, arXiv 1611.09326), "the hundred layers tiramisu": dense blocks in a U."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mammofast.models.blocks import BilinearUp, NormReLUConv, scaled
from mammofast.models.receptive_field import halo, in_turn

STEM = 48


class DenseBlock(nn.ModuleList):
    """Layers that each add ``growth`` maps to the stack that they read."""

    def __init__(self, inputs: int, growth: int, layers: int, dropout: float) -> None:
        super().__init__(NormReLUConv(inputs + i * growth, growth, dropout=dropout) for i in range(layers))
        self.outputs = inputs + layers * growth

    def forward(self, stack: Tensor) -> Tensor:
        """Return the stack, the new maps last."""
        for layer in self:
            stack = torch.cat([stack, layer(stack)], dim=1)
        return stack


class TransitionDown(nn.Sequential):
    """1×1 convolution that keeps the number of maps, then max-pooling by 2."""

    def __init__(self, maps: int, dropout: float) -> None:
        super().__init__(OrderedDict(conv=NormReLUConv(maps, maps, 1, dropout=dropout), pool=nn.MaxPool2d(2)))


class Deconv(nn.ConvTranspose2d):
    """3×3 transposed convolution to twice the size.

    The authors' (Lasagne's) phase: computed without padding, one row and column too many, and these cut off at the end.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample."""
        return super().forward(x)[:, :, :-1, :-1]


class TransitionUp(nn.Module):
    """The last maps of a stack upsampled by 2, in front of the skip's."""

    def __init__(self, last: int, up: nn.Module) -> None:
        super().__init__()
        self.last = last
        self.up = up

    def forward(self, stack: Tensor, skip: Tensor) -> Tensor:
        """Return the next block's input."""
        return torch.cat([self.up(stack[:, -self.last :]), skip], dim=1)


class FCDenseNet(nn.Module):
    """Fully convolutional DenseNet.

    Input (n, channels, rows, cols), sides multiples of ``stride``; output logits (n, classes, rows, cols).

    layers: of each dense block, the way down, the bottleneck, the way up. growth: maps that a layer adds.
    upsample: "deconv", a 3×3 transposed convolution, or "bilinear", a 3×3 convolution with batch normalization and ReLU
    after bilinear upsampling. upsample_full_stack: upsample the whole stack below; Jégou et al. take a block's new maps
    only, but Sun et al. 2020 state the number of parameters that the whole stack gives. align_corners: as in
    ``UNetP2``, for "bilinear".
    """

    margin = 0

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        layers: Sequence[int] = (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4),
        growth: int = 16,
        upsample: str = "deconv",
        upsample_full_stack: bool = False,
        align_corners: bool = True,
        dropout: float = 0.2,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if len(layers) % 2 == 0:
            raise ValueError(f"layers are those of as many blocks up as down and one between, got {len(layers)} blocks")
        if upsample not in ("deconv", "bilinear"):
            raise ValueError(f"upsample is deconv or bilinear, not {upsample!r}")
        pools = len(layers) // 2
        growth, maps = scaled(growth, width), scaled(STEM, width)
        self.stem = nn.Conv2d(channels, maps, 3, padding=1)

        self.down, self.pools, skips = nn.ModuleList(), nn.ModuleList(), []
        for count in layers[:pools]:
            self.down.append(DenseBlock(maps, growth, count, dropout))
            maps += count * growth
            self.pools.append(TransitionDown(maps, dropout))
            skips.append(maps)
        self.bottleneck = DenseBlock(maps, growth, layers[pools], dropout)
        maps += layers[pools] * growth

        self.ups, self.up = nn.ModuleList(), nn.ModuleList()
        for (below, count), skip in zip(pairwise(layers[pools:]), reversed(skips), strict=True):
            new = below * growth
            last = maps if upsample_full_stack else new
            up = Deconv(last, new) if upsample == "deconv" else BilinearUp(last, new, align_corners=align_corners)
            self.ups.append(TransitionUp(last, up))
            self.up.append(DenseBlock(new + skip, growth, count, dropout))
            maps = new + skip + count * growth
        self.head = nn.Conv2d(maps, classes, 1)

        self.stride = 1 << pools
        path = [self.stem, *in_turn(self.down, self.pools), self.bottleneck, *in_turn(self.ups, self.up)]
        self.halo = None if upsample == "bilinear" and align_corners else halo(self.stride, path)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        stack, skips = self.stem(image), []
        for block, pool in zip(self.down, self.pools, strict=True):
            skips.append(block(stack))
            stack = pool(skips[-1])
        stack = self.bottleneck(stack)
        for transition, block in zip(self.ups, self.up, strict=True):
            stack = block(transition(stack, skips.pop()))
        return self.head(stack)
