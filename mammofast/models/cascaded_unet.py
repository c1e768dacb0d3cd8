# mypy: disallow-subclassing-any=False
"""The cascaded U-Net that P4 compares with (Yan et al., EMBC 2019), reconstructed: its text and code were not found."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.unet import UNet


class CascadedUNet(nn.Module):
    """U-Nets at resolutions a factor of 2 apart, each shown the one before's probabilities beside the image.

    A reconstruction from what P4 says, a "multi-scale cascade of U-Net" with auto-context on the whole image, and not
    verified against the authors' network. The coarsest level sees the image alone; the finest, at full size, decides.

    Input (n, channels, rows, cols), sides multiples of 16·2^(levels - 1); output logits (n, classes, rows, cols); while
    training a list, coarsest level first, each stretched to the input's size.
    """

    # A coarse level sees far beyond any tile.
    halo = None
    margin = 0

    def __init__(self, channels: int = 3, classes: int = 1, width: float = 1.0, levels: int = 3) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            UNet(channels + (classes if level else 0), classes, width) for level in range(levels)
        )
        self.stride = UNet.stride << (levels - 1)
        # The level that is asked; another than the last only while levels are trained one by one.
        self.decides = levels - 1

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return the finest level's logits; while training, all levels'."""
        images = [image]
        for _ in self.levels[1:]:
            images.insert(0, functional.avg_pool2d(images[0], 2))
        logits: list[Tensor] = []
        for scaled, network in zip(images, self.levels, strict=True):
            seen = torch.cat([scaled, torch.sigmoid(_enlarged(logits[-1], 2))], dim=1) if logits else scaled
            logits.append(network(seen))
        last = len(logits) - 1
        if self.training:
            return [_enlarged(x, 1 << (last - level)) for level, x in enumerate(logits)]
        return _enlarged(logits[self.decides], 1 << (last - self.decides))


def _enlarged(logits: Tensor, factor: int) -> Tensor:
    return functional.interpolate(logits, scale_factor=float(factor), mode="bilinear") if factor > 1 else logits
