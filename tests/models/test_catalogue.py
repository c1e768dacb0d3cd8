"""The list of networks against the networks, and against what their papers and public files state."""

import pytest
import torch

from mammofast.errors import ModelError
from mammofast.models import create, find, names
from mammofast.models.catalogue import OUTPUTS
from mammofast.models.counting import count_layers, count_macs, count_parameters

# (layers, parameters) as the papers state them or as their public files count; None where neither does.
KNOWN = {
    "aunet": (44, 75_495_162),
    "aunet-r2": (44, 76_714_562),
    "aunet-r4": (44, 76_017_762),
    "aunet-r8": (44, 75_669_362),
    "aunet-r32": (44, 75_408_062),
    "aunet-gray": (44, 75_494_010),
    "aunet-one-class": (44, 75_495_097),
    "unet-p2": (23, 34_527_106),
    "unet-p2-res-basic": (28, 47_103_682),
    "unet-p2-deep-basic": (28, 47_103_682),
    "unet-p2-basic-res": (27, 37_663_426),
    "unet-p2-basic-deep": (27, 37_663_426),
    "unet-p2-res-res": (32, 50_240_002),
    "unet-p2-res-deep": (32, 50_240_002),
    "unet-p2-deep-res": (32, 50_240_002),
    "unet-p2-deep-deep": (32, 50_240_002),
    "fusionnet": (50, 78_532_354),
    "fc-densenet103": (103, 9_322_091),
    "fc-densenet103-p2": (103, 13_917_826),
    "fc-densenet56": (56, 1_376_795),
}


@pytest.mark.parametrize("name", names())
def test_every_line_is_what_the_network_counts(name):
    entry = find(name)
    with torch.device("meta"):
        network = create(name)
    assert count_parameters(network) == entry.parameters
    assert count_layers(network) == entry.layers
    assert round(count_macs(network, (1, *entry.input)) / 1e9, 1) == entry.gmac
    assert entry.output in OUTPUTS
    assert entry.source


@pytest.mark.parametrize("name", KNOWN)
def test_counts_are_the_papers(name):
    entry = find(name)
    layers, parameters = KNOWN[name]
    assert entry.parameters == parameters
    assert layers in (None, entry.layers)


def test_an_unknown_network_says_which_are_near():
    with pytest.raises(ModelError, match=r"'aunett'.*did you mean aunet.*`mammofast models`"):
        create("aunett")


def test_an_unknown_option_is_named():
    with pytest.raises(ModelError, match=r"'compact-yolo' cannot be built.*colour"):
        create("compact-yolo", colour=True)


def test_counting_against_a_network_done_by_hand():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1),  # 8·3·9 weights at 8 × 8 places
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=4),  # 8·2·9 at 8 × 8
        torch.nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2),  # 8·2·4 from 8 × 8
        torch.nn.Flatten(),
        torch.nn.Linear(1024, 5),
    )
    assert count_macs(network, (1, 3, 16, 16)) == 8 * 3 * 9 * 64 + 8 * 2 * 9 * 64 + 8 * 2 * 4 * 64 + 5120
    assert count_layers(network) == 4
    assert count_parameters(network) == (8 * 27 + 8) + (8 * 18 + 8) + (8 * 8 + 4) + (5120 + 5)
    network[0].weight.requires_grad_(False)
    assert count_layers(network) == 3
