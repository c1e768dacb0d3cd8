"""How far networks look, against the papers' tables and against where an impulse arrives."""

import pytest
import torch
from torch import nn

from mammofast.models import create
from mammofast.models.receptive_field import halo, interval
from mammofast.models.unet import UNet
from mammofast.models.vgg import vgg

# Tables 2 and 5 of P3 as corrected in Long et al. 2015 (404, not 292): after each convolution and pooling.
FCN = [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212, 404, 404, 404]
FRONT = [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 124, 156, 188, 380, 380, 380]
UNET = [3, 5, 6, 10, 14, 16, 24, 32, 36, 52, 68, 76, 108, 140]

# Rows of the strips.
TILED = {
    "fcn32s": 32,
    "fcn16s": 32,
    "fcn8s": 32,
    "unet": 16,
    "unet-valid": 188,
    "dilation10-front": 8,
    "dilation10-context": 8,
}


def sizes(*modules):
    """The receptive field after each layer that looks aside, and after each 1×1 convolution."""
    layers = [leaf for module in modules for leaf in module.modules() if not list(leaf.children())]
    looking = [i for i, layer in enumerate(layers, start=1) if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
    fields = [interval(layers[:end], 0, 0) for end in looking]
    return [last - first + 1 for first, last in fields]


def test_fcn_as_in_the_papers_table():
    network = create("fcn32s", width=1 / 64)
    assert sizes(network.features, network.head) == FCN


def test_dilation10_front_end_as_in_the_papers_table_and_context_2444():
    network = create("dilation10-context", width=1 / 64)
    assert sizes(network.features, network.head) == FRONT
    assert sizes(network.features, network.head, network.context)[-1] == 2444


def test_unet_contracts_as_in_the_papers_table():
    network = UNet(width=1 / 64, padding="valid")
    way_down = [layer for stage in network.contracting for layer in (stage, network.pool)][:-1]
    assert sizes(*way_down) == UNET


@pytest.mark.parametrize("name", TILED)
def test_the_halo_is_as_far_as_an_impulse_reaches(name):
    network = positive(create(name, width=1 / 64))
    stride, margin, reach = network.stride, network.margin, network.halo
    middle = (reach + margin) // stride * stride + 2 * stride
    cols = 2 * middle + (12 if margin else 0)
    image = torch.zeros(stride, 3, TILED[name], cols, dtype=torch.float64)
    for place in range(stride):
        image[place, :, TILED[name] // 2, middle + place] = 1
    with torch.no_grad():
        arrives = (network(image) > 0).any(dim=1).any(dim=1)
    where = [torch.nonzero(arrives[place]).flatten() + margin - middle - place for place in range(stride)]
    farthest = int(torch.cat(where).abs().max())
    assert reach - stride < farthest <= reach


@pytest.mark.parametrize("name", [name for name in TILED if name != "unet-valid"])
def test_a_tile_with_its_halo_gives_the_whole_images_logits(name):
    torch.manual_seed(1)
    network = create(name, width=1 / 16 if "context" not in name else 1 / 64).eval()
    stride, reach, rows = network.stride, network.halo, TILED[name]
    image = torch.rand(1, 3, rows, 2 * reach + 6 * stride)
    with torch.no_grad():
        whole = network(image)
        tile = network(image[..., stride : 2 * reach + 3 * stride])
    inner = slice(reach + stride, reach + 3 * stride)
    torch.testing.assert_close(tile[..., reach : reach + 2 * stride], whole[..., inner], rtol=0, atol=1e-5)


def positive(network):
    """No bias and no weight of 0 or below: nothing that could hide where an impulse arrives."""
    torch.manual_seed(1)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            parameter.data = torch.zeros_like(parameter) if name.endswith("bias") else torch.rand_like(parameter) + 0.1
    return network.double().eval()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 1, 3, 2, 1),
        nn.Conv2d(1, 1, 3, 1, 4, 4),
        nn.MaxPool2d(3, 2, 1),
        nn.ConvTranspose2d(1, 1, 4, 2, 1),
        nn.ConvTranspose2d(1, 1, 2, 2),
        nn.ConvTranspose2d(1, 1, 16, 8, 4),
        nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.ReLU(),
    ],
)
def test_an_interval_is_where_a_layers_gradient_falls(layer):
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    for position in range(8, 24):
        # Rising to the right, then to the left: a pooling's window shows its last, then its first position.
        seen = set()
        for ramp in (torch.arange(64.0), -torch.arange(64.0)):
            image = ramp.expand(1, 1, 64, 64).clone().requires_grad_()
            layer(image + 100)[0, 0, 8, position].backward()
            seen |= set(torch.nonzero(image.grad.sum(dim=(0, 1, 2))).flatten().tolist())
        assert interval([layer], position, position) == (min(seen), max(seen))


def test_the_halo_of_a_branching_network_is_its_longest_paths():
    near, far = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=5, dilation=5)
    assert halo(1, [near], [far]) == 5
    assert halo(4, [near], [far]) == 8


def test_corner_aligned_upsampling_has_no_halo():
    with pytest.raises(ValueError, match="align_corners"):
        halo(2, [vgg(16), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)])
