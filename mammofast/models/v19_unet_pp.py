# mypy: disallow-subclassing-any=False
"""UNet++ on a VGG19 encoder: v19U-Net++, the crop segmenter of P4, and the Keras code it may have been run with."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.blocks import ConvNormReLU, scaled
from mammofast.models.receptive_field import halo
from mammofast.models.unet_pp import Heads, NestedDecoder, Node, NodeFactory, upsampling_node
from mammofast.models.vgg import stages, vgg, widths


class V19UNetPP(nn.Module):
    """v19U-Net++ (Yan et al. 2020, arXiv 2002.12079): X(i, 0) are VGG19's blocks, all other nodes are UNet++'s.

    Input (n, channels, rows, cols), sides multiples of 16. Output (n, classes, rows, cols): with deep supervision
    ("accurate") a list of four heads' logits while training, else the mean of their sigmoids; without ("fast") the
    last head's logits. The fast network takes the accurate one's weights.
    """

    stride = 16
    margin = 0

    def __init__(self, channels: int = 3, classes: int = 1, width: float = 1.0, deep_supervision: bool = True) -> None:
        super().__init__()
        column = widths(width)
        self.features = vgg(19, channels, width, pools=4)
        self.decoder = NestedDecoder(column[:-1], column[1:], column[:-1], partial(upsampling_node, mode="nearest"))
        self.heads = Heads(column[0], classes, len(column) - 1, deep_supervision)
        self.unused_weights = tuple(f"heads.{j}." for j in self.heads.unused)
        self.halo = halo(self.stride, [self.features, *self.decoder.deepest()])

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits or probabilities, see above."""
        column = _encode(self.features, image)
        out: Tensor | list[Tensor] = self.heads(self.decoder(column[:-1], column[1:]))
        return out


class XnetVGG19(nn.Module):
    """UNet++ with a VGG19 backbone as Zhou's Keras package builds it (``Xnet``), which is not what the papers draw.

    Five rows of nodes and not four; column 1 takes from below the encoder's pooled map and not the next block's; rows
    0 to 3 are 32 to 256 wide and row 4 only 16; one head, 3×3, on X(0, 5), and no deep supervision.

    Input (n, channels, rows, cols), sides multiples of 32; output logits (n, classes, rows, cols).
    up: "upsampling" (nearest) or "transpose" (4×4 transposed convolution, then one convolution).
    """

    stride = 32
    margin = 0

    def __init__(self, channels: int = 3, classes: int = 1, width: float = 1.0, up: str = "upsampling") -> None:
        super().__init__()
        nodes: dict[str, NodeFactory] = {
            "upsampling": partial(upsampling_node, mode="nearest"),
            "transpose": _transpose_node,
        }
        if up not in nodes:
            raise ValueError(f"up is one of {', '.join(nodes)}, not {up!r}")
        column = widths(width)
        rows = [scaled(w, width) for w in (32, 64, 128, 256, 16)]
        self.features = vgg(19, channels, width, pools=4)
        self.decoder = NestedDecoder(column, column, rows, nodes[up])
        self.head = nn.Conv2d(rows[0], classes, 3, padding=1)
        self.halo = halo(self.stride, [self.features, nn.MaxPool2d(2), *self.decoder.deepest(), self.head])

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        column = _encode(self.features, image)
        pooled = [functional.max_pool2d(x, 2) for x in column]
        logits: Tensor = self.head(self.decoder(column, pooled)[-1])
        return logits


def _encode(features: nn.Sequential, image: Tensor) -> list[Tensor]:
    """Return what VGG's five blocks give, strides 1 to 16."""
    column = []
    for stage in stages(features):
        image = stage(image)
        column.append(image)
    return column


def _transpose_node(left: int, below: int, width: int) -> Node:
    up = nn.Sequential(
        nn.ConvTranspose2d(below, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
    return Node(up, ConvNormReLU(left + width, width, bias=False))
