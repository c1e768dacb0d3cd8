"""The cascaded U-Net's levels, each shown the one before's probabilities."""

import torch
from torch.nn import functional

from mammofast.models import create


def test_each_level_sees_the_image_at_its_size_and_what_the_one_before_thinks():
    torch.manual_seed(0)
    network = create("cascaded-unet", width=1 / 16)
    image = torch.rand(2, 3, 128, 64)
    coarse, middle, fine = network.levels
    with torch.no_grad():
        first = coarse(functional.avg_pool2d(image, 4))
        second = middle(torch.cat([functional.avg_pool2d(image, 2), enlarged(first, 2).sigmoid()], 1))
        third = fine(torch.cat([image, enlarged(second, 2).sigmoid()], 1))
        torch.testing.assert_close(network.eval()(image), third)
        for got, expected in zip(network.train()(image), [enlarged(first, 4), enlarged(second, 2), third], strict=True):
            torch.testing.assert_close(got, expected)


def enlarged(x, factor):
    size = [factor * n for n in x.shape[2:]]
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def test_more_levels_and_classes():
    with torch.device("meta"):
        network = create("cascaded-unet", width=1 / 16, levels=2, classes=3, channels=1).eval()
        assert network.stride == 32
        assert [level.contracting[0][0].in_channels for level in network.levels] == [1, 4]
        assert network(torch.zeros(1, 1, 64, 32)).shape == (1, 3, 64, 32)
