# mypy: disallow-subclassing-any=False
"""The U-Net of Sun et al. 2020 (PMB 65 055005): three kinds of unit, mixed freely between encoder and decoder."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.blocks import BilinearUp, ConvNormReLU, DeconvUp, Encoder, scaled
from mammofast.models.receptive_field import halo, in_turn

WIDTHS = (64, 128, 256, 512, 1024)


class BasicUnit(nn.Sequential):
    """Two 3×3 convolutions, each with batch normalization and ReLU (eq. 1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvNormReLU(inputs, outputs), ConvNormReLU(outputs, outputs))


class DeepUnit(nn.Sequential):
    """Three 3×3 convolutions, each with batch normalization and ReLU (eq. 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        units = [ConvNormReLU(outputs, outputs) for _ in range(2)]
        super().__init__(ConvNormReLU(inputs, outputs), *units)


class ResUnit(nn.Module):
    """The deep unit with its first convolution's output added before the last ReLU (eq. 3).

    The paper's equation adds that output as it is; the authors' code adds it after its ReLU, and so does this.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvNormReLU(inputs, outputs)
        self.body = nn.Sequential(ConvNormReLU(outputs, outputs), ConvNormReLU(outputs, outputs, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU(first + body(first))."""
        x = self.first(x)
        return functional.relu(x + self.body(x))


Unit = Callable[[int, int], nn.Module]
UNITS: dict[str, Unit] = {"basic": BasicUnit, "deep": DeepUnit, "res": ResUnit}


def encoder_of(unit: Unit, channels: int, widths: list[int]) -> Encoder:
    """Return an encoder with a stage of one unit for each width."""
    return Encoder(unit(inputs, outputs) for inputs, outputs in pairwise([channels, *widths]))


def upsampling(inputs: int, outputs: int, *, deconv: bool, align_corners: bool) -> nn.Module:
    """Return P2's upsampling by 2: bilinear and a 3×3 convolution, or a 2×2 transposed one."""
    return DeconvUp(inputs, outputs) if deconv else BilinearUp(inputs, outputs, align_corners=align_corners)


class UNetP2(nn.Module):
    """U-Net with bilinear upsampling (BU) blocks.

    Input (n, channels, rows, cols), sides multiples of 16; output logits (n, classes, rows, cols).

    encoder, decoder: the unit, "basic", "deep" or "res"; the paper's U-Net has basic ones, its best asymmetric one
    res units down and basic ones up. deconv: 2×2 transposed convolutions instead of bilinear upsampling.
    align_corners: of bilinear upsampling. The authors' way, True, places each pixel by the size of the whole image, so
    that no tile can stand for a part of it; with False the network sees ``halo`` pixels around each.
    """

    stride = 16
    margin = 0

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        encoder: str = "basic",
        decoder: str = "basic",
        deconv: bool = False,
        align_corners: bool = True,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        for name in (encoder, decoder):
            if name not in UNITS:
                raise ValueError(f"a unit is one of {', '.join(UNITS)}, not {name!r}")
        widths = [scaled(w, width) for w in WIDTHS]
        steps = list(pairwise(reversed(widths)))
        self.encoder = encoder_of(UNITS[encoder], channels, widths)
        self.ups = nn.ModuleList(
            upsampling(high, low, deconv=deconv, align_corners=align_corners) for high, low in steps
        )
        self.decoder = nn.ModuleList(UNITS[decoder](2 * low, low) for _, low in steps)
        self.head = nn.Conv2d(widths[0], classes, 1)

        path = [*self.encoder.layers(), *in_turn(self.ups, self.decoder)]
        self.halo = halo(self.stride, path) if deconv or not align_corners else None

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        x, *skips = self.encoder(image)
        for up, unit, low in zip(self.ups, self.decoder, skips, strict=True):
            x = unit(torch.cat([low, up(x)], dim=1))
        return self.head(x)
