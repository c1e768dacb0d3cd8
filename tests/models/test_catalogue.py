"""The list of networks against the networks, and against what their papers and public files state."""

import pytest
import torch

from mammofast.errors import ModelError
from mammofast.models import create, find, names
from mammofast.models.catalogue import OUTPUTS
from mammofast.models.counting import count_layers, count_macs, count_parameters

# (layers, parameters, GMAC) as the papers state them, as their public files count, or worked out from their text apart
# from this code; None where nothing is known.
KNOWN = {
    "aunet": (44, 75_495_162, 106.4),
    "aunet-r2": (44, 76_714_562, None),
    "aunet-r4": (44, 76_017_762, None),
    "aunet-r8": (44, 75_669_362, None),
    "aunet-r32": (44, 75_408_062, None),
    "aunet-gray": (44, 75_494_010, None),
    "aunet-one-class": (44, 75_495_097, None),
    "unet-p2": (23, 34_527_106, 65.4),
    "unet-p2-res-basic": (28, 47_103_682, 77.4),
    "unet-p2-deep-basic": (28, 47_103_682, None),
    "unet-p2-basic-res": (27, 37_663_426, None),
    "unet-p2-basic-deep": (27, 37_663_426, None),
    "unet-p2-res-res": (32, 50_240_002, None),
    "unet-p2-res-deep": (32, 50_240_002, None),
    "unet-p2-deep-res": (32, 50_240_002, None),
    "unet-p2-deep-deep": (32, 50_240_002, None),
    "fusionnet": (50, 78_532_354, 120.9),
    "fc-densenet103": (103, 9_322_091, None),
    "fc-densenet103-p2": (103, 13_917_826, 59.2),
    "fc-densenet103-p2-deconv": (103, 13_916_258, None),
    "fc-densenet56": (56, 1_376_795, None),
    "fc-densenet56-two-class": (56, 1_375_058, 46.1),
    "fc-densenet56-gray": (56, 1_374_194, None),
    "aspp-fc-densenet": (51, 2_332_274, None),
    "aspp-fc-densenet-strided": (47, 2_207_186, None),
    "fcn32s": (16, 134_268_738, None),
    "fcn16s": (18, 134_269_830, None),
    "fcn8s": (20, 134_270_410, None),
    "fcn32s-cityscapes": (16, 134_338_387, None),
    "fcn16s-cityscapes": (18, 134_353_929, None),
    "fcn8s-cityscapes": (20, 134_364_607, None),
    "unet": (23, 31_031_810, None),
    "unet-valid": (23, 31_031_810, None),
    "unet-bn": (23, 31_043_586, None),
    "unet-gray": (23, 31_030_593, None),
    "dilation10-front": (16, 134_268_738, None),
    "dilation10-context": (26, 134_268_738 + 348, None),
    "dilation10-front-cityscapes": (16, 134_338_387, None),
    "dilation10-context-cityscapes": (26, 134_338_387 + 29_792, None),
    "deeplabv3-r18-gn": (27, 15_308_866, None),
    "deeplabv3-r18-gn-cityscapes": (27, 15_313_235, None),
    "deeplabv3-r18-gn-extra": (28, 15_308_866 + 590_336, None),
    "pspnet-r50": (None, 46_582_850, None),
    "pspnet-r50-aux": (None, 48_943_172, None),
    "pspnet-r101": (None, 65_574_978, None),
    "deeplabv3plus-r50": (None, 40_347_298, None),
    "deeplabv3plus-r101": (None, 59_339_426, None),
    "yolov3": (75, 61_523_734, 65.3),
    "yolov3-coco": (75, 61_949_149, None),
    "v19-unet-pp": (40, 35_440_452, 143.9),
    "v19-unet-pp-fast": (37, 35_440_257, None),
    "xnet-vgg19": (47, 29_460_257, None),
    "xnet-vgg19-transpose": (None, 31_452_961, None),
    "vgg19-unet": (25, 30_202_753, None),
    "cgan": (16, 13_607_043, None),
    "cgan-ngf64": (16, 54_411_523, None),
    "cgan-discriminator": (5, 696_673, None),
    # Three U-Nets of one class; the second and third see the probability before them as one more channel.
    "cascaded-unet": (None, 3 * 31_031_745 + 2 * 64 * 9, None),
    "unet-pp-keras": (41, 9_041_601, None),
    "unet-pp": (31, 9_162_753, None),
    "unet-pp-64": (31, 36_628_481, None),
    "faster-rcnn-r101-c4": (109, 47_267_456, None),
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
    layers, parameters, gmac = KNOWN[name]
    assert entry.parameters == parameters
    assert layers in (None, entry.layers)
    assert gmac in (None, entry.gmac)


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
