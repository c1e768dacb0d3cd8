"""P2's U-Nets and FusionNet against their layers applied one after the other by hand."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from mammofast.models.fusionnet import FusionNet
from mammofast.models.unet_p2 import UNetP2


class Layers:
    """A network's convolutions and normalizations, each taken off in the order in which the network was built."""

    def __init__(self, network):
        self.convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        self.norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]

    def linear(self, x):
        """Convolution and normalization."""
        return self.norms.pop(0)(self.convs.pop(0)(x))

    def relu(self, x):
        return self.linear(x).clamp(min=0)


def unit(kind, layers, x):
    x = first = layers.relu(x)
    if kind == "res":
        return (first + layers.linear(layers.relu(x))).clamp(min=0)
    if kind == "fusion":
        return layers.relu(first + layers.linear(layers.relu(layers.relu(first))))
    for _ in range({"basic": 1, "deep": 2}[kind]):
        x = layers.relu(x)
    return x


def by_hand(network, image, encoder, decoder, merge, align_corners=True, deconv=False):
    parts = {name: Layers(part) for name, part in network.named_children()}
    x, skips = unit(encoder, parts["encoder"], image), []
    for _ in range(4):
        skips.append(x)
        x = unit(encoder, parts["encoder"], torch.max_pool2d(x, 2))
    for skip in reversed(skips):
        if not deconv:
            x = interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=align_corners)
        x = unit(decoder, parts["decoder"], merge(skip, parts["ups"].relu(x)))
    logits = parts["head"].convs.pop(0)(x)
    assert not any(part.convs or part.norms for part in parts.values()), "a layer that nothing uses"
    return logits


def lively(network):
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
        nn.init.normal_(norm.bias, 0, 0.3)
    network.double().train()(torch.rand(2, 3, 64, 64, dtype=torch.double))
    return network.eval()


CASES = [{"encoder": e, "decoder": d} for e, d in product(["basic", "deep", "res"], repeat=2)]
CASES += [{"encoder": "basic", "decoder": "basic", **o} for o in ({"align_corners": False}, {"deconv": True})]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_unet_is_its_layers_in_order(options):
    torch.manual_seed(0)
    image = torch.rand(2, 3, 32, 48, dtype=torch.double)
    with torch.no_grad():
        network = lively(UNetP2(width=1 / 8, **options))
        found = network(image)
        expected = by_hand(network, image, merge=lambda low, high: torch.cat([low, high], dim=1), **options)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{}, {"align_corners": False}, {"deconv": True}], ids=str)
def test_fusionnet_adds_its_skips(options):
    torch.manual_seed(0)
    image = torch.rand(2, 3, 32, 48, dtype=torch.double)
    with torch.no_grad():
        network = lively(FusionNet(width=1 / 8, **options))
        found = network(image)
        expected = by_hand(network, image, "fusion", "fusion", torch.add, **options)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected)


def test_deconvolutions_make_the_sizes_that_tell_the_paper_used_none():
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in net.parameters()) for net in (UNetP2(deconv=True), FusionNet(deconv=True))]
    assert [round(n / 1e6, 2) for n in sizes] == [31.05, 75.05]
