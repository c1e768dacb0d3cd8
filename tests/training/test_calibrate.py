"""The calibration's choice where the right one is known, and what it does to the network."""

import numpy as np
import pytest
import torch
from torch import nn

from mammofast.compilation.defaults import METHODS, RoleMade
from mammofast.methods.parameters import read_parameters
from mammofast.methods.two_stage import TwoStageParameters
from mammofast.models import create
from mammofast.training.calibrate import _rate, _Scale, calibrate, sharpen

SCALES = ((320, 160), (640, 320), (960, 480), (512, 256), (832, 416))
ANCHORS = ((12, 20), (18, 30), (25, 38), (30, 50), (40, 60), (50, 76), (60, 96), (80, 120), (105, 170))
STRIDES = (8, 16, 32)


def method_of(**others):
    made = RoleMade(SCALES, 1, {})
    values = METHODS["two_stage"].parameters({"detector": made, "segmenter": made})
    return read_parameters(TwoStageParameters, {**values, "anchors": [list(a) for a in ANCHORS], **others}, "test")


class Scripted(nn.Module):
    """A detector that says boxes of a fixed part of the image at given places, with given objectness logits.

    says: (x, y, logit, scales), places as parts of the image, and the inputs' rows at which it says so; every box is an
    eighth of the image wide and high. ``heads`` are there to be sharpened.
    """

    def __init__(self, says):
        super().__init__()
        self.says = says
        self.heads = nn.ModuleDict({str(s): nn.Sequential(nn.Conv2d(1, 18, 1)) for s in STRIDES})
        for head in self.heads.values():
            nn.init.zeros_(head[0].weight)
            nn.init.zeros_(head[0].bias)

    def forward(self, image):
        rows, cols = image.shape[2:]
        outputs = [torch.full((1, 3, 6, rows // s, cols // s), -20.0) for s in STRIDES]
        for x, y, logit, *only in self.says:
            if only and rows not in only[0]:
                continue
            col, row = x * cols / 8, y * rows / 8
            cell = outputs[0][0, 0, :, int(row), int(col)]
            fx, fy = np.clip(col % 1, 0.01, 0.99), np.clip(row % 1, 0.01, 0.99)
            size = np.log([cols / 8 / ANCHORS[0][0], rows / 8 / ANCHORS[0][1]])
            cell[:] = torch.tensor(
                [np.log(fx / (1 - fx)), np.log(fy / (1 - fy)), *size, logit, 0.0], dtype=torch.float32
            )
        return [o.reshape(1, 18, *o.shape[3:]) for o in outputs]


def case(*places):
    boxes = [[x - 1 / 16, y - 1 / 16, x + 1 / 16, y + 1 / 16] for x, y in places]
    return [np.zeros(scale, np.uint8) for scale in SCALES], np.array(boxes, np.float32).reshape(-1, 4)


def chosen(says, cases, **others):
    return calibrate(Scripted(says), cases, method_of(**others))


def confidence(choice, logit):
    return 1 / (1 + np.exp(-choice.slope * (logit - choice.centre)))


def test_the_cut_falls_between_masses_and_the_rest():
    choice = chosen([(0.3, 0.3, -1.0), (0.7, 0.7, -2.0)], [case((0.3, 0.3))] * 2)
    assert (choice.sensitivity, choice.fp_per_image) == (1.0, 0.0)
    assert confidence(choice, -1.0) >= 0.3
    # Either not a box at all, or too weak beside the mass for fusion.
    assert confidence(choice, -2.0) < max(0.3, 0.6 * confidence(choice, -1.0))


def test_it_is_steep_enough_for_a_faint_mass_beside_a_plain_one():
    says = [(0.3, 0.3, 2.0), (0.7, 0.7, -0.5)]
    choice = chosen(says, [case((0.3, 0.3), (0.7, 0.7))])
    assert choice.sensitivity == 1.0
    # As fusion asks: all scales at the faint confidence, over the plain one.
    assert confidence(choice, -0.5) / confidence(choice, 2.0) > 0.6


class Deceived(Scripted):
    """On bright images it says something else."""

    def __init__(self, says, of_bright):
        super().__init__(says)
        self.of_bright = of_bright

    def forward(self, image):
        return Scripted.forward(self, image) if not image.any() else Scripted(self.of_bright)(image)


def test_it_is_steep_where_no_gentle_cut_parts_a_faint_mass_from_what_is_none():
    """Gentle, the faint mass is either silenced by the plain one or no stronger than what is seen where none is."""
    network = Deceived([(0.3, 0.3, 2.0), (0.7, 0.7, -0.5)], [(0.5, 0.5, -1.25)])
    empty = [np.full(scale, 255, np.uint8) for scale in SCALES], np.empty((0, 4), np.float32)
    choice = calibrate(network, [case((0.3, 0.3), (0.7, 0.7)), *[empty] * 10], method_of())
    assert (choice.sensitivity, choice.fp_per_image) == (1.0, 0.0)
    assert confidence(choice, -0.5) > 0.6
    assert confidence(choice, -1.25) < 0.3


def test_four_scales_of_five_outvote_one_even_where_they_are_fainter():
    most = (640, 960, 512, 832)
    choice = chosen([(0.3, 0.3, 3.0), (0.7, 0.7, 1.0, most)], [case((0.3, 0.3), (0.7, 0.7))])
    assert choice.sensitivity == 1.0
    assert 4 * confidence(choice, 1.0) / confidence(choice, 3.0) >= 3


def test_too_many_false_positives_are_not_bought_with_sensitivity():
    # The faint mass of one image in four costs a false positive in the other three.
    cases = [case((0.3, 0.3), (0.7, 0.7))] + [case((0.3, 0.3))] * 3
    choice = chosen([(0.3, 0.3, 2.0), (0.7, 0.7, 0.0)], cases)
    assert choice.fp_per_image == 0.0
    assert choice.sensitivity == 4 / 5


def test_of_equal_choices_the_gentlest_is_taken():
    assert chosen([(0.3, 0.3, 2.0)], [case((0.3, 0.3))]).slope == 1.0


@pytest.mark.parametrize("box, sensitivity", [("fused", 0.0), ("mask", 1.0)])
def test_a_box_that_a_mask_will_correct_need_only_lie_on_the_mass(box, sensitivity):
    # An eighth wide, off by 40 % of it in both directions: IoU 0.22; by 30 %: 0.32.
    off = 0.3 / 8
    choice = chosen([(0.3, 0.3, 2.0)], [case((0.3 + off, 0.3 + off))], box=box)
    assert choice.sensitivity == sensitivity


@pytest.mark.parametrize("name", ["compact-yolo", "yolov3"])
def test_sharpen_changes_objectness_and_the_one_class_alone(name):
    torch.manual_seed(0)
    network = create(name, channels=1, width=0.05) if name == "yolov3" else create(name, width=0.1)
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = network.eval()(x)
        sharpen(network, 3.0, -0.5)
        after = network(x)
    for a, b in zip(before, after, strict=True):
        a, b = a.view(3, 6, -1), b.view(3, 6, -1)
        torch.testing.assert_close(b[:, 4], 3 * (a[:, 4] + 0.5))
        torch.testing.assert_close(b[:, :4], a[:, :4])
        assert float(torch.sigmoid(b[:, 5]).min()) == pytest.approx(1, abs=1e-6)


def test_calibrating_leaves_the_network_as_it_says():
    network = Scripted([(0.3, 0.3, 2.0)])
    for head in network.heads.values():
        nn.init.constant_(head[0].bias, 1.0)
    choice = calibrate(network, [case((0.3, 0.3))], method_of())
    for head in network.heads.values():
        bias = head[0].bias.view(3, 6)
        assert bias[:, 4].tolist() == [choice.slope * (1.0 - choice.centre)] * 3


@pytest.mark.parametrize("empty, expected", [(10, 1 / 10), (9, 1 / 29)])
def test_false_positives_are_counted_where_there_is_no_mass_if_there_are_enough_such(empty, expected):
    box = np.array([[1000, 1000, 1500, 1500]], np.float32)
    seen = [_Scale(box, np.array([3.0]))] * 5
    silent = [_Scale(box[:0], np.array([]))] * 5
    mass = (seen, box / 4096)
    none = np.zeros((0, 4), np.float32)
    choice = _rate([mass] * 20 + [(seen, none)] + [(silent, none)] * (empty - 1), 1.0, 0.0, method_of())
    assert (choice.sensitivity, choice.fp_per_image) == (1.0, pytest.approx(expected))
