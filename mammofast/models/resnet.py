# mypy: disallow-subclassing-any=False
"""The trunk of ResNet (He et al. 2015, arXiv 1512.03385), dilated if wanted, with the keys of torchvision's."""

from collections.abc import Callable, Sequence
from math import gcd

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]

WIDTHS = (64, 128, 256, 512)


class GroupNorm(nn.GroupNorm):
    """Group normalization (Wu & He 2018, arXiv 1803.08494) of 32 groups, fewer where channels are few.

    A group has two channels at least: one value alone, as of an image's mean, would become zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(gcd(32, channels // 2, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` normalized; torch's own forward also looks at the batch, which an export must not."""
        normalized: Tensor = torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        return normalized


class Residual(nn.Module):
    """What the two blocks share: ReLU(body(x) + shortcut), the shortcut being a strided 1×1 where shapes differ."""

    expansion: int

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            None
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.body(x) + shortcut)
        return out

    def body(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut."""
        raise NotImplementedError


class BasicBlock(Residual):
    """Two 3×3 convolutions, both dilated (torchvision's refuses dilation), alike in Caffe's models."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, norm: Norm, caffe: bool = False) -> None:
        super().__init__(inputs, width, stride, norm)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, dilation, dilation, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = norm(width)

    def body(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return x


class Bottleneck(Residual):
    """1×1 to the block's width, 3×3, 1×1 to four times the width.

    The 3×3 convolution has the stride (torchvision), or the first 1×1 (He et al., whose weights are Caffe's).
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, norm: Norm, caffe: bool = False) -> None:
        super().__init__(inputs, 4 * width, stride, norm)
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, first, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, dilation, dilation, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = norm(4 * width)

    def body(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut."""
        return self.after_conv1(self.conv1(x))

    def after_conv1(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut, from what the first convolution gave."""
        x = self.relu(self.bn1(x))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return x


DEPTHS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """ResNet without its pooling and fully connected layer.

    Input (n, channels, rows, cols); output: what ``layer1`` to ``layer4`` return, of ``widths`` channels at strides
    4, 8, 16 and 32, less where a stage is dilated.

    Parameters
    ----------
    depth
        18, 34, 50 or 101.
    channels
        Input channels.
    width
        Multiplies every layer's channels (the stem's are at least 8).
    norm
        Makes the normalization of so many channels: ``nn.BatchNorm2d``, ``GroupNorm``, ...
    dilations
        Of the four stages; a dilated stage keeps its input's size. (1, 1, 2, 4) gives output stride 8,
        (1, 1, 1, 2) gives 16.
    caffe
        As in the published Caffe models: a bottleneck's stride in its first convolution, max pooling rounded up.
    """

    def __init__(
        self,
        depth: int,
        channels: int = 3,
        width: float = 1.0,
        norm: Norm = nn.BatchNorm2d,
        dilations: Sequence[int] = (1, 1, 1, 1),
        caffe: bool = False,
    ) -> None:
        super().__init__()
        block, counts = DEPTHS[depth]
        stem, *_ = inner = [max(8, round(width * full)) for full in WIDTHS]
        self.widths = tuple(block.expansion * channels for channels in inner)
        self.conv1 = nn.Conv2d(channels, stem, 7, 2, 3, bias=False)
        self.bn1 = norm(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 0, ceil_mode=True) if caffe else nn.MaxPool2d(3, 2, 1)
        inputs = stem
        for i, (count, dilation) in enumerate(zip(counts, dilations, strict=True)):
            layers: list[nn.Module] = []
            for j in range(count):
                stride = 2 if i and not j and dilation == 1 else 1
                layers.append(block(inputs, inner[i], stride, dilation, norm, caffe=caffe))
                inputs = self.widths[i]
            setattr(self, f"layer{i + 1}", nn.Sequential(*layers))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, image: Tensor) -> Tensor:
        """Return what ``layer1`` takes, stride 4."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        return x

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the outputs of the four stages."""
        x = self.stem(image)
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            outputs.append(x)
        return outputs
