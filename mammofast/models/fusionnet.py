# mypy: disallow-subclassing-any=False
"""FusionNet (Quan et al. 2016, arXiv 1612.05360) as Sun et al. 2020 size it: summed skips, bilinear upsampling."""

from itertools import pairwise

from torch import Tensor, nn

from mammofast.models.blocks import ConvNormReLU, scaled
from mammofast.models.receptive_field import halo, in_turn
from mammofast.models.unet_p2 import WIDTHS, encoder_of, upsampling


class FusionUnit(nn.Module):
    """Convolution, a residual body of three, convolution: all 3×3 with batch normalization and ReLU.

    The body's last convolution has no ReLU, nor has the sum.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvNormReLU(inputs, outputs)
        self.body = nn.Sequential(
            ConvNormReLU(outputs, outputs), ConvNormReLU(outputs, outputs), ConvNormReLU(outputs, outputs, relu=False)
        )
        self.last = ConvNormReLU(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return last(first + body(first))."""
        x = self.first(x)
        return self.last(x + self.body(x))


class FusionNet(nn.Module):
    """U-shaped network of five-convolution units whose skips are added, not concatenated.

    Input (n, channels, rows, cols), sides multiples of 16; output logits (n, classes, rows, cols).

    deconv: 2×2 transposed convolutions instead of bilinear upsampling and a 3×3 convolution. align_corners: as in
    ``UNetP2``.
    """

    stride = 16
    margin = 0

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        deconv: bool = False,
        align_corners: bool = True,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        widths = [scaled(w, width) for w in WIDTHS]
        steps = list(pairwise(reversed(widths)))
        self.encoder = encoder_of(FusionUnit, channels, widths)
        self.ups = nn.ModuleList(
            upsampling(high, low, deconv=deconv, align_corners=align_corners) for high, low in steps
        )
        self.decoder = nn.ModuleList(FusionUnit(low, low) for _, low in steps)
        self.head = nn.Conv2d(widths[0], classes, 1)

        path = [*self.encoder.layers(), *in_turn(self.ups, self.decoder)]
        self.halo = halo(self.stride, path) if deconv or not align_corners else None

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        x, *skips = self.encoder(image)
        for up, unit, low in zip(self.ups, self.decoder, skips, strict=True):
            x = unit(low + up(x))
        return self.head(x)
