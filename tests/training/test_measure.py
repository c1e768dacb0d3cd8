"""Matching findings to truth."""

import numpy as np
import pytest

from mammofast.records import Finding
from mammofast.training.measure import box_iou, match


def finding(box, confidence):
    return Finding(box, 1.0, confidence, np.zeros((box[3] - box[1], box[2] - box[0]), bool))


def test_iou():
    assert box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 10, 10), (10, 10, 20, 20)) == 0


def test_one_to_one_by_falling_confidence():
    truth = [(0, 0, 10, 10), (100, 100, 120, 120)]
    found = [finding((0, 0, 10, 9), 0.4), finding((0, 0, 10, 10), 0.9), finding((100, 100, 120, 109), 0.8)]
    # The surer takes the mass, the other then hits none; 9 of 20 rows are less than half.
    assert match(found, truth) == [(0.9, True), (0.8, False), (0.4, False)]
    assert match([finding((100, 100, 120, 110), 0.3)], truth) == [(0.3, True)]
    assert match(found, []) == [(0.9, False), (0.8, False), (0.4, False)]
    assert match([], truth) == []
