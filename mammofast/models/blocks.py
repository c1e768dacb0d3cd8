# mypy: disallow-subclassing-any=False
"""What several families share: convolution units, upsampling, the encoder of a U-shaped network."""

from collections import OrderedDict
from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional


def scaled(channels: int, width: float) -> int:
    """Return a hidden channel count of a network that is ``width`` times as wide, at least 1."""
    return max(1, round(channels * width))


def set_norm_eps(network: nn.Module, eps: float) -> None:
    """Set what every batch normalization adds to the variance: weights do not say which value they were trained with.

    PyTorch and Darknet's GPU code have 1e-5, Keras and TensorFlow 1e-3.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


class ConvNormReLU(nn.Sequential):
    """Convolution that keeps the size, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True, relu: bool = True) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        super().__init__(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs)))
        if relu:
            self.add_module("act", nn.ReLU(inplace=True))


class NormReLUConv(nn.Sequential):
    """The unit of a DenseNet: batch normalization, ReLU, convolution without normalization, dropout."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, dropout: float = 0.2
    ) -> None:
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation)
        super().__init__(
            OrderedDict(norm=nn.BatchNorm2d(inputs), act=nn.ReLU(inplace=True), conv=conv, drop=nn.Dropout(dropout))
        )


class BilinearUp(nn.Sequential):
    """Bilinear to twice the size, then convolution, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, align_corners: bool) -> None:
        unit = ConvNormReLU(inputs, outputs)
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners)
        super().__init__(OrderedDict(up=up, **unit._modules))


class DeconvUp(nn.Sequential):
    """2×2 transposed convolution to twice the size, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        conv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        super().__init__(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), act=nn.ReLU(inplace=True)))


class Encoder(nn.ModuleList):
    """The way down: max-pooling by 2 before each stage but the first."""

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__(stages)

    def layers(self) -> list[nn.Module]:
        """Return the poolings and the stages in the order they run."""
        return [layer for stage in self for layer in (nn.MaxPool2d(2), stage)][1:]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what each stage gave, the deepest first."""
        maps: list[Tensor] = []
        for stage in self:
            x = stage(functional.max_pool2d(x, 2) if maps else x)
            maps.insert(0, x)
        return maps
