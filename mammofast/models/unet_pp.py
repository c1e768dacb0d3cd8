# mypy: disallow-subclassing-any=False
"""UNet++ (Zhou et al. 2018, arXiv 1807.10165): nodes X(i, j) at stride 2^i, with dense skips and deep supervision."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from mammofast.models.blocks import ConvNormReLU, Encoder, scaled
from mammofast.models.receptive_field import halo

Widths = Sequence[int]


class Node(nn.Module):
    """X(i, j): the node below, at twice its size, and all nodes to the left, convolved together."""

    def __init__(self, up: nn.Module, convs: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.convs = convs

    def forward(self, left: list[Tensor], below: Tensor) -> Tensor:
        """Return the node's maps."""
        node: Tensor = self.convs(torch.cat([*left, self.up(below)], dim=1))
        return node


# Builds a node from its channels: those of all nodes to the left, those of the node below, its own.
NodeFactory = Callable[[int, int, int], Node]


def upsampling_node(left: int, below: int, width: int, mode: str, bias: bool = False) -> Node:
    """Return a node that interpolates ("nearest", "bilinear") and has batch normalization; bias: of convolutions."""
    return Node(nn.Upsample(scale_factor=2, mode=mode), norm_unit(left + below, width, bias))


def deconvolution_node(left: int, below: int, width: int) -> Node:
    """Return the node of Zhou's Keras code: 2×2 transposed convolution, no batch normalization."""
    return Node(nn.ConvTranspose2d(below, width, 2, stride=2), plain_unit(left + width, width))


def norm_unit(inputs: int, outputs: int, bias: bool = True) -> nn.Sequential:
    """Return two 3×3 convolutions, each with batch normalization and ReLU."""
    return nn.Sequential(ConvNormReLU(inputs, outputs, bias=bias), ConvNormReLU(outputs, outputs, bias=bias))


def plain_unit(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3×3 convolutions, each with ReLU."""
    convs = (nn.Conv2d(before, outputs, 3, padding=1) for before in (inputs, outputs))
    return nn.Sequential(*(layer for conv in convs for layer in (conv, nn.ReLU(inplace=True))))


class NestedDecoder(nn.ModuleDict):
    """The triangle of nodes right of an encoder, whose maps are its column 0.

    Row i has the columns 1 to ``rows - i``. A node sees the nodes to its left and the one below and to the left; where
    that is one of column 0, it sees ``lower``.

    encoder: channels of column 0. lower: channels of what column 1 sees from below, row by row. widths: channels of
    each row's nodes. node: builds one.
    """

    def __init__(self, encoder: Widths, lower: Widths, widths: Widths, node: NodeFactory) -> None:
        super().__init__()
        self.rows = len(widths)
        for i, width in enumerate(widths):
            for j in range(1, self.rows - i + 1):
                below = lower[i] if j == 1 else widths[i + 1]
                self[f"{i}_{j}"] = node(encoder[i] + (j - 1) * width, below, width)

    def deepest(self) -> list[nn.Module]:
        """Return the nodes on the way up from the lowest map, in order: no other way to the last node sees farther."""
        return [self[f"{i}_{self.rows - i}"] for i in reversed(range(self.rows))]

    def forward(self, encoder: Sequence[Tensor], lower: Sequence[Tensor]) -> list[Tensor]:
        """Return row 0's nodes, from column 1 on."""
        grid = [[x] for x in encoder[: self.rows]]
        for j in range(1, self.rows + 1):
            for i in range(self.rows - j + 1):
                below = lower[i] if j == 1 else grid[i + 1][j - 1]
                grid[i].append(self[f"{i}_{j}"](grid[i], below))
        return grid[0][1:]


class Heads(nn.ModuleDict):
    """1×1 convolutions to logits on row 0's nodes, on all of them or on the last one only, each under its column."""

    def __init__(self, inputs: int, classes: int, columns: int, deep_supervision: bool) -> None:
        used = range(1, columns + 1) if deep_supervision else [columns]
        super().__init__({str(j): nn.Conv2d(inputs, classes, 1) for j in used})
        self.unused = tuple(str(j) for j in range(1, columns + 1) if j not in used)

    def forward(self, nodes: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Return one head's logits; of several a list while training, else the mean of their sigmoids."""
        logits = [head(nodes[int(j) - 1]) for j, head in self.items()]
        if len(logits) == 1:
            return logits[0]
        if self.training:
            return logits
        return torch.stack([torch.sigmoid(x) for x in logits]).mean(dim=0)


class UNetPP(nn.Module):
    """UNet++ trained from scratch: the breast-region network of P5.

    Input (n, channels, rows, cols), sides multiples of 16 (of 2^(number of widths - 1)). Output (n, classes, rows,
    cols): logits of the last head;
    with deep supervision a list of four heads' logits while training, else the mean of their sigmoids.

    Parameters
    ----------
    channels: of the input.
    classes: masks, each with a sigmoid of its own.
    width: factor on every hidden channel count.
    widths: channels at each stride.
    up: "bilinear", with batch normalization; or "deconvolution" without, as Zhou's Keras code has it.
    deep_supervision: heads on X(0, 1) ... X(0, 4) instead of X(0, 4) alone.

    """

    margin = 0

    def __init__(
        self,
        channels: int = 1,
        classes: int = 1,
        width: float = 1.0,
        widths: Widths = (32, 64, 128, 256, 512),
        up: str = "bilinear",
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        ways: dict[str, tuple[Callable[[int, int], nn.Module], NodeFactory]] = {
            "bilinear": (norm_unit, partial(upsampling_node, mode="bilinear", bias=True)),
            "deconvolution": (plain_unit, deconvolution_node),
        }
        if up not in ways:
            raise ValueError(f"up is one of {', '.join(ways)}, not {up!r}")
        unit, node = ways[up]
        widths = [scaled(w, width) for w in widths]
        self.stride = 1 << (len(widths) - 1)
        self.encoder = Encoder(unit(inputs, outputs) for inputs, outputs in pairwise([channels, *widths]))
        self.decoder = NestedDecoder(widths[:-1], widths[1:], widths[:-1], node)
        self.heads = Heads(widths[0], classes, len(widths) - 1, deep_supervision)
        self.unused_weights = tuple(f"heads.{j}." for j in self.heads.unused)
        way_down = [layer for stage in self.encoder for layer in (nn.MaxPool2d(2), stage)][1:]
        self.halo = halo(self.stride, [*way_down, *self.decoder.deepest()])

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits or probabilities, see above."""
        column = self.encoder(image)[::-1]
        out: Tensor | list[Tensor] = self.heads(self.decoder(column[:-1], column[1:]))
        return out
