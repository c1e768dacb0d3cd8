"""The calibration's choice where the right one is known."""

import numpy as np
import torch
from torch import nn

from mammofast.training.calibrate import choose
from mammofast.training.data import Example

SCALES = ((320, 160), (640, 320), (960, 480))
ANCHORS = np.array([[12, 20], [18, 30], [25, 38], [30, 50], [40, 60], [50, 76], [60, 96], [80, 120], [105, 170]], float)
STRIDES = (8, 16, 32)
CLASS_LOGIT = 12.0


class Scripted(nn.Module):
    """A detector that says boxes of a fixed part of the image at given places, with given objectness logits.

    says: (x, y, logit), places as parts of the image; every box is an eighth of the image wide and high.
    """

    def __init__(self, says):
        super().__init__()
        self.says = says

    def forward(self, image):
        rows, cols = image.shape[2:]
        outputs = [torch.full((1, 3, 6, rows // s, cols // s), -20.0) for s in STRIDES]
        for x, y, logit in self.says:
            col, row = x * cols / 8, y * rows / 8
            cell = outputs[0][0, 0, :, int(row), int(col)]
            fx, fy = np.clip(col % 1, 0.01, 0.99), np.clip(row % 1, 0.01, 0.99)
            size = np.log([cols / 8 / ANCHORS[0, 0], rows / 8 / ANCHORS[0, 1]])
            cell[:] = torch.tensor(
                [np.log(fx / (1 - fx)), np.log(fy / (1 - fy)), *size, logit, CLASS_LOGIT], dtype=torch.float32
            )
        return [o.reshape(1, 18, *o.shape[3:]) for o in outputs]


def example(*places):
    boxes = [[x - 1 / 16, y - 1 / 16, x + 1 / 16, y + 1 / 16] for x, y in places]
    none = np.zeros((0, 8, 8), np.uint8)
    inputs = tuple(np.zeros(scale, np.uint8) for scale in SCALES)
    return Example(inputs, np.array(boxes, np.float32).reshape(-1, 4), none, none)


def chosen(says, examples):
    return choose(Scripted(says), examples, ANCHORS, STRIDES, 0.3, 0.45, 0.6)


def confidence(choice, logit):
    return 1 / (1 + np.exp(-choice.slope * (logit - choice.centre)))


def test_the_cut_falls_between_masses_and_the_rest():
    choice = chosen([(0.3, 0.3, -1.0), (0.7, 0.7, -2.0)], [example((0.3, 0.3))] * 2)
    assert (choice.sensitivity, choice.fp_per_image) == (1.0, 0.0)
    assert confidence(choice, -1.0) >= 0.3
    # Either not a box at all, or too weak beside the mass for fusion.
    assert confidence(choice, -2.0) < max(0.3, 0.6 * confidence(choice, -1.0))


def test_it_is_steep_enough_for_a_faint_mass_beside_a_plain_one():
    says = [(0.3, 0.3, 2.0), (0.7, 0.7, -0.5)]
    choice = chosen(says, [example((0.3, 0.3), (0.7, 0.7))])
    assert choice.sensitivity == 1.0
    # As fusion asks: all scales at the faint confidence, over the plain one.
    assert confidence(choice, -0.5) / confidence(choice, 2.0) > 0.6


def test_too_many_false_positives_are_not_bought_with_sensitivity():
    # The faint mass of one image in four costs a false positive in the other three.
    cases = [example((0.3, 0.3), (0.7, 0.7))] + [example((0.3, 0.3))] * 3
    choice = chosen([(0.3, 0.3, 2.0), (0.7, 0.7, 0.0)], cases)
    assert choice.fp_per_image == 0.0
    assert choice.sensitivity == 4 / 5
