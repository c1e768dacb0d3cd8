# mypy: disallow-subclassing-any=False
"""YOLOv3 on Darknet-53 (Redmon & Farhadi 2018, arXiv 1804.02767): the detector of P4."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.blocks import set_norm_eps

STRIDES = (8, 16, 32)
ANCHORS_PER_HEAD = 3
# tx, ty, tw, th, objectness; the logits of the classes follow.
BOX_CHANNELS = 5

# Of the input's halvings 1 to 5: channels and residual blocks.
_WIDTHS = (64, 128, 256, 512, 1024)
_BLOCKS = (1, 2, 8, 8, 4)
_STEM = 32


class ConvUnit(nn.Sequential):
    """Convolution without bias, batch normalization, LeakyReLU(0.1)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.1, inplace=True),
        )


class Residual(nn.Module):
    """Darknet's residual block: 1×1 to half the width, 3×3 back, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(width, width // 2, 1), ConvUnit(width // 2, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's body to ``x``."""
        added: Tensor = x + self.body(x)
        return added


class Scale(nn.Module):
    """What YOLOv3 does at one stride: five convolutions, a head, and unless it is the last a bridge to the next stride.

    inputs: channels that come in. width: of the 3×3 convolutions; the 1×1 ones are half as wide.
    outputs: of the head.
    """

    def __init__(self, inputs: int, width: int, outputs: int, last: bool) -> None:
        super().__init__()
        half = width // 2
        self.neck = nn.Sequential(
            ConvUnit(inputs, half, 1),
            ConvUnit(half, width, 3),
            ConvUnit(width, half, 1),
            ConvUnit(half, width, 3),
            ConvUnit(width, half, 1),
        )
        self.head = nn.Sequential(ConvUnit(half, width, 3), nn.Conv2d(width, outputs, 1))
        if not last:
            self.bridge = ConvUnit(half, half // 2, 1)


class YOLOv3(nn.Module):
    """Detector: Darknet-53 without its classifier, and a head at each of three strides.

    Input (n, channels, rows, cols), sides multiples of 32. Output, for strides 8, 16 and 32: raw logits
    (n, 3·(5 + classes), rows / stride, cols / stride), anchor by anchor [tx, ty, tw, th, objectness, classes...].

    Modules stand in the order of darknet's yolov3.cfg, which is the order of its weight files.

    Parameters
    ----------
    channels: of the input.
    classes: what a box may be; independent logits.
    width: factor on every hidden channel count.
    blocks: residual blocks after each of the five halvings.
    norm_eps: what batch normalization adds to the variance, see ``set_norm_eps``.

    """

    stride = STRIDES[-1]

    def __init__(
        self,
        channels: int = 3,
        classes: int = 1,
        width: float = 1.0,
        blocks: tuple[int, ...] = _BLOCKS,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.classes = classes
        # Even, because every 1×1 convolution halves them, and the bridges twice.
        stem, *widths = (max(4, 4 * round(w * width / 4)) for w in (_STEM, *_WIDTHS))
        self.stem = ConvUnit(channels, stem, 3)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvUnit(inputs, outputs, 3, 2), *(Residual(outputs) for _ in range(count)))
            for inputs, outputs, count in zip([stem, *widths[:-1]], widths, blocks, strict=True)
        )
        self.scales = nn.ModuleDict()
        carried = 0
        for stride, outputs in zip(reversed(STRIDES), reversed(widths[-3:]), strict=True):
            self.scales[str(stride)] = Scale(
                outputs + carried, outputs, ANCHORS_PER_HEAD * (BOX_CHANNELS + classes), stride == STRIDES[0]
            )
            carried = outputs // 4
        set_norm_eps(self, norm_eps)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the raw logits of strides 8, 16 and 32."""
        x = self.stem(image)
        features = {}
        for halvings, stage in enumerate(self.stages, start=1):
            x = features[2**halvings] = stage(x)
        heads = {}
        for stride in reversed(STRIDES):
            scale = self.scales[str(stride)]
            if stride != STRIDES[-1]:
                x = torch.cat([x, features[stride]], dim=1)
            x = scale.neck(x)
            heads[stride] = scale.head(x)
            if stride != STRIDES[0]:
                x = functional.interpolate(scale.bridge(x), scale_factor=2.0, mode="nearest")
        return heads[8], heads[16], heads[32]


def last_convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions that give the logits of strides 8, 16 and 32, of a YOLOv3 or a network like it."""
    heads = network.scales if isinstance(network, YOLOv3) else network.heads
    lasts = [heads[str(stride)] for stride in STRIDES]
    return [(last.head if isinstance(last, Scale) else last)[-1] for last in lasts]
