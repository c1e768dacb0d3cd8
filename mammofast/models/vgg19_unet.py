# mypy: disallow-subclassing-any=False
"""A U-Net on a VGG19 encoder: what P4's U-Net with weights pre-trained on ImageNet may be."""

from itertools import pairwise

from torch import Tensor, nn

from mammofast.models.receptive_field import halo
from mammofast.models.unet_pp import upsampling_node
from mammofast.models.vgg import stages, vgg, widths


class VGG19UNet(nn.Module):
    """U-Net: VGG19's five blocks down, and up at each stride nearest upsampling, the skip and two 3×3 convolutions.

    Input (n, channels, rows, cols), sides multiples of 16; output logits (n, classes, rows, cols).
    """

    stride = 16
    margin = 0

    def __init__(self, channels: int = 3, classes: int = 1, width: float = 1.0) -> None:
        super().__init__()
        column = widths(width)
        self.features = vgg(19, channels, width, pools=4)
        self.decoder = nn.ModuleList(
            upsampling_node(low, high, low, mode="nearest") for low, high in reversed(list(pairwise(column)))
        )
        self.head = nn.Conv2d(column[0], classes, 1)
        self.halo = halo(self.stride, [self.features, self.decoder, self.head])

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        skips: list[Tensor] = []
        x = image
        for stage in stages(self.features):
            x = stage(x)
            skips.append(x)
        skips.pop()
        for node in self.decoder:
            x = node([skips.pop()], x)
        logits: Tensor = self.head(x)
        return logits
