"""The convolutions of VGG16 and VGG19 (Simonyan & Zisserman 2014, arXiv 1409.1556), numbered as in torchvision."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from mammofast.models.blocks import scaled

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def vgg(
    depth: int, channels: int = 3, width: float = 1.0, pools: int = 5, dilations: Sequence[int] = (1, 1, 1, 1, 1)
) -> nn.Sequential:
    """Return the five blocks of 3×3 convolutions with ReLU, each followed by a 2×2 max pooling.

    The layers have the numbers of torchvision's ``features`` (a pooling left out stays as an ``Identity``), so a
    network that keeps them as ``self.features`` has torchvision's keys, and slices such as ``features[:17]`` mean
    the same.

    Parameters
    ----------
    depth
        16 or 19.
    channels
        Input channels.
    width
        Multiplies every layer's channels.
    pools
        How many of the five poolings there are; the last ones are left out.
    dilations
        Of each block's convolutions; padding keeps the size.
    """
    layers: list[nn.Module] = []
    for block, (count, dilation, outputs) in enumerate(zip(CONVOLUTIONS[depth], dilations, widths(width), strict=True)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, outputs, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
            channels = outputs
        layers.append(nn.MaxPool2d(2) if block < pools else nn.Identity())
    return nn.Sequential(*layers)


def score_head(classes: int, width: float = 1.0, dilation: int = 1) -> nn.Sequential:
    """Return VGG's fully connected layers as convolutions that keep the size, the last one with ``classes`` maps.

    ``fc6`` (7×7) and ``fc7`` (1×1) have the numbers of torchvision's ``classifier.0`` and ``classifier.3``.

    dilation: of fc6, where poolings before it were left out.
    """
    full = scaled(4096, width)
    return nn.Sequential(
        OrderedDict(
            fc6=nn.Conv2d(widths(width)[-1], full, 7, padding=3 * dilation, dilation=dilation),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(0.5),
            fc7=nn.Conv2d(full, full, 1),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(0.5),
            score=nn.Conv2d(full, classes, 1),
        )
    )


def widths(width: float = 1.0) -> list[int]:
    """Return the channels of the five blocks."""
    return [scaled(full, width) for full in WIDTHS]


def stages(features: nn.Sequential) -> list[nn.Sequential]:
    """Cut the layers before every pooling: block 1 (stride 1), pooling and block 2 (stride 2), ... block 5 (stride 16).

    With all five poolings, the last one is a sixth stage. The stages share their layers with ``features``.
    """
    cuts = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    return [features[start:end] for start, end in zip([0, *cuts], [*cuts, len(features)], strict=True)]
