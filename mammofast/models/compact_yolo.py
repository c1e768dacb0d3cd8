# mypy: disallow-subclassing-any=False
"""A compact YOLOv3 (Redmon & Farhadi 2018, arXiv 1804.02767): its residual trunk and three heads, an eighth as wide."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.yolov3 import ANCHORS_PER_HEAD, STRIDES, ConvUnit, Residual

# tx, ty, tw, th, objectness, class.
CHANNELS = 6


class CompactYolo(nn.Module):
    """Detector for one class on one grey channel.

    Input (n, 1, rows, cols), sides multiples of 32. Output, for strides 8, 16 and 32: raw logits
    (n, 3·6, rows / stride, cols / stride), anchor by anchor [tx, ty, tw, th, objectness, class].

    widths: channels after each halving. blocks: residual blocks there. width: factor on all channel counts.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 64, 112, 192),
        blocks: tuple[int, ...] = (0, 1, 2, 3, 2),
        width: float = 1.0,
    ) -> None:
        super().__init__()
        # Fours, because they are halved twice.
        widths = tuple(max(4, 4 * round(w * width / 4)) for w in widths) if width != 1 else widths
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 1
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stages[f"stage_{2 << i}"] = nn.Sequential(
                ConvUnit(inputs, width, 3, 2), *(Residual(width) for _ in range(count))
            )
            inputs = width
        self.trunk = nn.ModuleDict(stages)
        self.necks, self.heads, self.bridges = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        carried = 0
        for stride, width in zip(reversed(STRIDES), reversed(widths[-3:]), strict=True):
            half = width // 2
            self.necks[str(stride)] = nn.Sequential(
                ConvUnit(width + carried, half, 1), ConvUnit(half, width, 3), ConvUnit(width, half, 1)
            )
            self.heads[str(stride)] = nn.Sequential(
                ConvUnit(half, width, 3), nn.Conv2d(width, ANCHORS_PER_HEAD * CHANNELS, 1)
            )
            carried = half // 2
            if stride != STRIDES[0]:
                self.bridges[str(stride)] = ConvUnit(half, carried, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the raw logits of strides 8, 16 and 32."""
        features = {}
        x = image
        for name, stage in self.trunk.items():
            x = features[name] = stage(x)
        out = {}
        carried: Tensor | None = None
        for stride in reversed(STRIDES):
            x = features[f"stage_{stride}"]
            if carried is not None:
                x = torch.cat([carried, x], dim=1)
            x = self.necks[str(stride)](x)
            out[stride] = self.heads[str(stride)](x)
            if stride != STRIDES[0]:
                carried = functional.interpolate(self.bridges[str(stride)](x), scale_factor=2.0, mode="nearest")
        return out[8], out[16], out[32]
