"""YOLOv3: what it costs and gives at the paper's five sizes. Its forward pass is held by tests/models/layouts."""

import pytest
import torch

from mammofast.models import create
from mammofast.models.counting import count_layers, count_macs, count_parameters
from mammofast.models.yolov3 import ANCHORS_PER_HEAD

# (rows, cols): multiply-adds in 10⁹, candidate boxes.
SIZES = {
    (320, 160): (9.7, 3150),
    (512, 256): (24.7, 8064),
    (640, 320): (38.6, 12600),
    (832, 416): (65.3, 21294),
    (960, 480): (86.9, 28350),
}


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return create("yolov3").eval()


@pytest.mark.parametrize("size", SIZES)
def test_candidates_of_the_five_sizes(full, size):
    heads = full(torch.zeros(2, 3, *size, device="meta"))
    rows, cols = size
    assert [tuple(head.shape) for head in heads] == [(2, 18, rows // s, cols // s) for s in (8, 16, 32)]
    assert sum(ANCHORS_PER_HEAD * head[0, 0].numel() for head in heads) == SIZES[size][1]


def test_cost_of_the_five_sizes(full):
    macs = {size: count_macs(full, (1, 3, *size)) / 1e9 for size in SIZES}
    assert {size: round(gmac, 1) for size, gmac in macs.items()} == {size: gmac for size, (gmac, _) in SIZES.items()}
    assert round(sum(macs.values()), 1) == 225.2


def test_the_backbone_is_darknet53_without_its_classifier(full):
    assert count_parameters(full.stem) + count_parameters(full.stages) == 40_584_928
    assert count_layers(full.stem) + count_layers(full.stages) == 52


@pytest.mark.parametrize("width", [1, 1 / 8, 1 / 16, 1 / 1000])
def test_any_width_and_class_count(width):
    with torch.device("meta"):
        heads = create("yolov3", channels=1, classes=4, width=width)(torch.zeros(1, 1, 64, 32))
    assert [tuple(head.shape) for head in heads] == [(1, 27, 8, 4), (1, 27, 4, 2), (1, 27, 2, 1)]
