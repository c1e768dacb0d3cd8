# mypy: disallow-subclassing-any=False
"""ASPP-FC-DenseNet (Hai et al. 2019, J. Healthcare Eng. 8415485): FC-DenseNet56 on an atrous pyramid."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from mammofast.models.blocks import NormReLUConv, scaled
from mammofast.models.fc_densenet import STEM, Deconv, DenseBlock, TransitionUp
from mammofast.models.receptive_field import halo, in_turn

RATES = (6, 12, 18)
_POOLS = 4
_LAYERS = 4
_GROWTH = 12


class LiteralTransitionDown(nn.Sequential):
    """1×1 convolution that keeps the number of maps, then a 3×3 one of stride 2 in place of the pooling."""

    def __init__(self, maps: int, dropout: float) -> None:
        conv = NormReLUConv(maps, maps, 1, dropout=dropout)
        super().__init__(OrderedDict(conv=conv, pool=nn.Conv2d(maps, maps, 3, stride=2, padding=1)))


class StridedTransitionDown(NormReLUConv):
    """A 3×3 convolution of stride 2 that keeps the number of maps."""

    def __init__(self, maps: int, dropout: float) -> None:
        super().__init__(maps, maps, 3, stride=2, dropout=dropout)


_TRANSITIONS = {"literal": LiteralTransitionDown, "strided": StridedTransitionDown}


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1×1 and dilated 3×3 convolutions side by side, with their input, then a 1×1."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        dilated = (NormReLUConv(inputs, outputs, dilation=rate, dropout=dropout) for rate in RATES)
        self.branches = nn.ModuleList([NormReLUConv(inputs, outputs, 1, dropout=dropout), *dilated])
        self.project = NormReLUConv(inputs + len(self.branches) * outputs, outputs, 1, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projected maps at the input's size."""
        return self.project(torch.cat([x, *(branch(x) for branch in self.branches)], dim=1))


class ASPPFCDenseNet(nn.Module):
    """Segmenter of a whole mammogram.

    Input (n, channels, rows, cols), sides multiples of 16; output logits (n, classes, rows, cols).

    td: the transitions down. "literal" reads the paper's text, a 1×1 convolution and then a strided 3×3 one for the
    pooling, 51 convolutions in all; "strided" has the 3×3 one alone and so the 47 layers that the paper counts.
    """

    stride = 1 << _POOLS
    margin = 0

    def __init__(
        self, channels: int = 1, classes: int = 2, td: str = "literal", dropout: float = 0.2, width: float = 1.0
    ) -> None:
        super().__init__()
        if td not in _TRANSITIONS:
            raise ValueError(f"td is one of {', '.join(_TRANSITIONS)}, not {td!r}")
        growth, maps = scaled(_GROWTH, width), scaled(STEM, width)
        new = _LAYERS * growth
        self.stem = nn.Conv2d(channels, maps, 3, padding=1)

        self.down, self.pools, skips = nn.ModuleList(), nn.ModuleList(), []
        for _ in range(_POOLS):
            self.down.append(DenseBlock(maps, growth, _LAYERS, dropout))
            maps += new
            self.pools.append(_TRANSITIONS[td](maps, dropout))
            skips.append(maps)
        self.aspp = ASPP(maps, new, dropout)

        self.ups = nn.ModuleList(TransitionUp(new, Deconv(new, new)) for _ in skips)
        self.up = nn.ModuleList(DenseBlock(new + skip, growth, _LAYERS, dropout) for skip in reversed(skips))
        self.head = nn.Conv2d(new + skips[0] + new, classes, 1)

        # The ASPP's projection is 1×1: it looks no further than the branches.
        down, up = in_turn(self.down, self.pools), in_turn(self.ups, self.up)
        self.halo = halo(self.stride, *([self.stem, *down, branch, *up] for branch in self.aspp.branches))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        stack, skips = self.stem(image), []
        for block, pool in zip(self.down, self.pools, strict=True):
            skips.append(block(stack))
            stack = pool(skips[-1])
        stack = self.aspp(stack)
        for transition, block in zip(self.ups, self.up, strict=True):
            stack = block(transition(stack, skips.pop()))
        return self.head(stack)
