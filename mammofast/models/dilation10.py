# mypy: disallow-subclassing-any=False
"""Dilation10 (Yu & Koltun 2016, arXiv 1511.07122): a dilated VGG16 front end and a context module."""

import torch
from torch import Tensor, nn

from mammofast.models.receptive_field import halo
from mammofast.models.resizing import fill_bilinear
from mammofast.models.vgg import score_head, vgg

DILATIONS = (1, 1, 2, 4, 8, 16, 32, 64, 1)


class Context(nn.Sequential):
    """3×3 convolutions of growing dilation on the classes' maps, each with ReLU, and a 1×1 convolution.

    They start as the identity with a little noise.
    """

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = []
        for dilation in DILATIONS:
            layers += [nn.Conv2d(classes, classes, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.Conv2d(classes, classes, 1))
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                _identity(layer)


class Dilation10(nn.Module):
    """VGG16 without its last two poolings, dilated instead, then the context module, then bilinear upsampling by 8.

    The paper P3's "front" is the front end alone; its "context" (front end frozen) and "global" (all tuned) are two
    ways to train the same network with the context module. Every convolution keeps the size; Yu & Koltun's own front
    end does without padding, on an input mirrored by 186 pixels.

    Input (n, channels, rows, cols), sides multiples of 8; output logits (n, classes, rows, cols).

    Parameters
    ----------
    channels, classes
        Of input and output.
    width
        Multiplies the channels of every hidden layer of the front end.
    context
        With the context module.
    """

    stride = 8
    margin = 0

    def __init__(self, channels: int = 3, classes: int = 2, width: float = 1.0, context: bool = True) -> None:
        super().__init__()
        self.features = vgg(16, channels, width, pools=3, dilations=(1, 1, 1, 1, 2))
        self.head = score_head(classes, width, dilation=4)
        self.context = Context(classes) if context else nn.Identity()
        # Fixed, not trained: one kernel for each class.
        self.up = fill_bilinear(nn.ConvTranspose2d(classes, classes, 16, 8, 4, groups=classes, bias=False))
        self.up.requires_grad_(False)
        self.halo: int = halo(self.stride, self.children())

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the input's size."""
        logits: Tensor = self.up(self.context(self.head(self.features(image))))
        return logits


def _identity(layer: nn.Conv2d) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    centre = layer.kernel_size[0] // 2
    with torch.no_grad():
        layer.weight[:, :, centre, centre] += torch.eye(layer.out_channels)
