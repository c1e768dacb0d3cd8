# mypy: disallow-subclassing-any=False
"""U-Net (Ronneberger et al. 2015, arXiv 1505.04597), as published without padding or with it."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mammofast.models.blocks import scaled
from mammofast.models.receptive_field import halo

WIDTHS = (64, 128, 256, 512, 1024)


class Pair(nn.Sequential):
    """Two 3×3 convolutions, each with batch normalization if wanted, and ReLU."""

    def __init__(self, inputs: int, outputs: int, padding: int, batch_norm: bool) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers.append(nn.Conv2d(channels, outputs, 3, padding=padding))
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet(nn.Module):
    """Four halvings by max pooling, four doublings by 2×2 transposed convolution with ReLU, a skip at each size.

    Parameters
    ----------
    channels, classes
        Of input and output.
    width
        Multiplies every hidden layer's channels.
    padding
        "same": input (n, channels, rows, cols), sides multiples of 16; output logits (n, classes, rows, cols).
        "valid", as published: sides are 12 more than a multiple of 16, at least 188, and the output lacks ``margin``
        = 92 pixels on each side: 572 gives 388. The skips are cropped by 4, 16, 40 and 88.
    batch_norm
        Batch normalization after each 3×3 convolution.
    """

    stride = 16

    def __init__(
        self, channels: int = 3, classes: int = 2, width: float = 1.0, padding: str = "same", batch_norm: bool = False
    ) -> None:
        super().__init__()
        if padding not in ("same", "valid"):
            raise ValueError(f'padding is "same" or "valid", not {padding!r}')
        lost = 0 if padding == "same" else 2  # by a pair of convolutions, on each side
        pad = 1 if padding == "same" else 0
        widths = [scaled(full, width) for full in WIDTHS]
        down = [Pair(inputs, outputs, pad, batch_norm) for inputs, outputs in pairwise([channels, *widths])]
        self.contracting = nn.ModuleList(down)
        self.pool = nn.MaxPool2d(2)
        self.doublings = nn.ModuleList()
        self.expanding = nn.ModuleList()
        self.crops: list[int] = []
        crop = -lost
        for wide, narrow in pairwise(reversed(widths)):
            crop = 2 * (crop + 2 * lost)
            self.crops.append(crop)
            double = nn.ConvTranspose2d(wide, narrow, 2, stride=2)
            self.doublings.append(nn.Sequential(double, nn.ReLU(inplace=True)))
            self.expanding.append(Pair(2 * narrow, narrow, pad, batch_norm))
        self.head = nn.Conv2d(widths[0], classes, 1)
        self.margin = crop + 2 * lost
        # The path through the bottom sees all that the skips see.
        way_down = [layer for stage in down for layer in (self.pool, stage)][1:]
        way_up = [layer for stages in zip(self.doublings, self.expanding, strict=True) for layer in stages]
        self.halo: int = halo(self.stride, [*way_down, *way_up], margin=self.margin)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        *stages, bottom = self.contracting
        x = image
        skips: list[Tensor] = []
        for stage in stages:
            x = stage(x)
            skips.insert(0, x)
            x = self.pool(x)
        x = bottom(x)
        for skip, crop, double, stage in zip(skips, self.crops, self.doublings, self.expanding, strict=True):
            x = stage(torch.cat([_cropped(skip, crop), double(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _cropped(image: Tensor, pixels: int) -> Tensor:
    return image[:, :, pixels:-pixels, pixels:-pixels] if pixels else image
