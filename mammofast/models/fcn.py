# mypy: disallow-subclassing-any=False
"""Fully convolutional networks (Long et al. 2015, arXiv 1411.4038) as the mammography study P3 builds them."""

from torch import Tensor, nn

from mammofast.models.receptive_field import halo
from mammofast.models.resizing import fill_bilinear
from mammofast.models.vgg import score_head, vgg, widths

_POOL3, _POOL4 = 17, 24  # where the layers after VGG16's third and fourth pooling begin


class FCN(nn.Module):
    """VGG16 with its fully connected layers as convolutions; FCN-16s and FCN-8s also score finer poolings and add up.

    Every convolution keeps the size. The paper sums 512 or 256 maps with the classes' maps; as in Long et al.'s files
    a 1×1 convolution scores those poolings first, and no score passes a ReLU.

    Input (n, channels, rows, cols), sides multiples of 32; output logits (n, classes, rows, cols).

    Parameters
    ----------
    channels, classes
        Of input and output.
    width
        Multiplies every hidden layer's channels.
    prediction_stride
        32, 16 or 8: how coarse the last score is that is stretched (bilinear) to the input's size.
    """

    stride = 32
    margin = 0

    def __init__(self, channels: int = 3, classes: int = 2, width: float = 1.0, prediction_stride: int = 8) -> None:
        super().__init__()
        if prediction_stride not in (8, 16, 32):
            raise ValueError(f"prediction_stride is 8, 16 or 32, not {prediction_stride}")
        *_, width3, width4, _ = widths(width)
        self.features = vgg(16, channels, width)
        self.head = score_head(classes, width)
        skips = (width4, width3)[: (32 // prediction_stride).bit_length() - 1]
        self.score_pools = nn.ModuleList(nn.Conv2d(skip, classes, 1) for skip in skips)
        self.doublings = nn.ModuleList(
            fill_bilinear(nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1)) for _ in skips
        )
        self.up = nn.Upsample(scale_factor=prediction_stride, mode="bilinear", align_corners=False)
        # The path through the fifth pooling sees all that the shorter ones see.
        self.halo: int = halo(self.stride, [self.features, self.head, self.doublings, self.up])

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the input's size."""
        pool3 = self.features[:_POOL3](image)
        pool4 = self.features[_POOL3:_POOL4](pool3)
        pool5 = self.features[_POOL4:](pool4)
        score = self.head(pool5)
        # FCN-32s has neither skip, FCN-16s the first.
        for pool, score_pool, double in zip((pool4, pool3), self.score_pools, self.doublings, strict=False):
            score = double(score) + score_pool(pool)
        logits: Tensor = self.up(score)
        return logits
