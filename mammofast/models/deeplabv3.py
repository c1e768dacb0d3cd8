# mypy: disallow-subclassing-any=False
"""DeepLabv3 (Chen et al. 2017, arXiv 1706.05587) on ResNet-18 with group normalization, as the mammography study P3."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mammofast.models.blocks import scaled
from mammofast.models.resizing import size_of, stretch
from mammofast.models.resnet import GroupNorm, Norm, ResNet

NORMS: dict[str, Norm] = {"batch": nn.BatchNorm2d, "group": GroupNorm}


class Unit(nn.Sequential):
    """Convolution that keeps the size, normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, norm: Norm, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
            norm(outputs),
            nn.ReLU(inplace=True),
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1×1, three dilated 3×3 convolutions and the image's mean, joined by a 1×1."""

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int], norm: Norm) -> None:
        super().__init__()
        atrous = [Unit(inputs, outputs, 3, norm, rate) for rate in rates]
        self.branches = nn.ModuleList([Unit(inputs, outputs, 1, norm), *atrous])
        self.pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), Unit(inputs, outputs, 1, norm))
        self.project = Unit((len(rates) + 2) * outputs, outputs, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined maps, of the input's size."""
        maps = [branch(x) for branch in self.branches]
        maps.append(stretch(self.pooling(x), size_of(x)))
        out: Tensor = self.project(torch.cat(maps, dim=1))
        return out


class DeepLabv3(nn.Module):
    """ResNet whose last two stages are dilated by 2 and 4 (output stride 8), atrous spatial pyramid pooling, bilinear.

    Input (n, channels, rows, cols); output logits (n, classes, rows, cols). The image pooling and group normalization
    see the whole input. The paper's 769 pixels give maps of 97; any size does, multiples of 8 are stretched exactly.

    Parameters
    ----------
    channels, classes
        Of input and output.
    width
        Multiplies every hidden layer's channels (at least 8).
    depth
        Of the ResNet.
    norm
        "group" (32 groups; the paper does not say how many) or "batch".
    rates
        Dilations of the pyramid.
    extra_convolution
        One more 3×3 convolution before the classes, as in torchvision.
    """

    stride = 8
    halo = None
    margin = 0

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        width: float = 1.0,
        depth: int = 18,
        norm: str = "group",
        rates: Sequence[int] = (12, 24, 36),
        extra_convolution: bool = False,
    ) -> None:
        super().__init__()
        normalize = NORMS[norm]
        maps = max(8, scaled(256, width))
        self.trunk = ResNet(depth, channels, width, normalize, dilations=(1, 1, 2, 4))
        self.aspp = ASPP(self.trunk.widths[-1], maps, rates, normalize)
        extra = [Unit(maps, maps, 3, normalize)] if extra_convolution else []
        self.head = nn.Sequential(*extra, nn.Conv2d(maps, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the input's size."""
        *_, x = self.trunk(image)
        return stretch(self.head(self.aspp(x)), size_of(image))
