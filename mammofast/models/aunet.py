# mypy: disallow-subclassing-any=False
"""AUNet (Sun et al. 2020, PMB 65 055005): residual encoder, attention-guided dense-upsampling decoder."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.blocks import ConvNormReLU, scaled
from mammofast.models.unet_p2 import WIDTHS, BasicUnit, ResUnit, encoder_of, upsampling


class ChannelAttention(nn.Module):
    """Each channel times a weight in 0..1, drawn from all channels' means (squeeze and excitation; eqs. 4 to 6)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        squeezed = max(1, channels // reduction)
        self.fc = nn.Sequential(nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        means = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return x * self.fc(means)[:, :, None, None]


class DenseUp(nn.Sequential):
    """Dense upsampling convolution: four times the channels, then each four become 2×2 pixels.

    Normalization and ReLU come before the shuffle.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvNormReLU(inputs, 4 * outputs), nn.PixelShuffle(2))


class AUBlock(nn.Module):
    """Attention-guided dense upsampling: the high-level maps upsampled in two ways, one of them merged with the low."""

    def __init__(self, high: int, low: int, reduction: int, deconv: bool) -> None:
        super().__init__()
        self.dense = DenseUp(high, low)
        self.bilinear = upsampling(high, low, deconv=deconv, align_corners=True)
        self.smooth = ConvNormReLU(low, low)
        self.attention = ChannelAttention(2 * low, reduction)
        self.unit = BasicUnit(2 * low, low)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Return the decoder's maps at the low-level maps' size."""
        fused = self.smooth(low + self.dense(high))
        return self.unit(self.attention(torch.cat([fused, self.bilinear(high)], dim=1)))


class AUNet(nn.Module):
    """Segmenter of a whole mammogram.

    Input (n, channels, rows, cols), sides multiples of 16; output logits (n, classes, rows, cols).

    reduction: of the channel attention, R in the paper (2, 4, 8, 16, 32). deconv: 2×2 transposed convolutions where
    the paper upsamples bilinearly.
    """

    stride = 16
    margin = 0
    halo = None  # The attention looks at the whole image.

    def __init__(
        self, channels: int = 3, classes: int = 2, reduction: int = 16, deconv: bool = False, width: float = 1.0
    ) -> None:
        super().__init__()
        widths = [scaled(w, width) for w in WIDTHS]
        self.encoder = encoder_of(ResUnit, channels, widths)
        self.decoder = nn.ModuleList(AUBlock(high, low, reduction, deconv) for high, low in pairwise(reversed(widths)))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        x, *skips = self.encoder(image)
        for block, low in zip(self.decoder, skips, strict=True):
            x = block(x, low)
        return self.head(x)
