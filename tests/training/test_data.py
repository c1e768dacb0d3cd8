"""Examples show a mass where their boxes and masks say."""

import numpy as np
import pytest
from scipy import stats

from mammofast.methods.contrast import Contrast
from mammofast.phantom.plan import Mix, Purpose, plan_studies
from mammofast.training.data import make_example, mass_box

SCALES = ((320, 160), (640, 320))


@pytest.fixture(scope="module")
def cases():
    planned = [v for s in plan_studies(2, 5, Purpose.TRAINING, Mix(1.0, 0.5, 0.0)) for v in s][:6]
    return [(p, make_example(p, Contrast(1.0, 99.5), SCALES, (256, 256), 0.25, 2)) for p in planned]


def test_shapes(cases):
    for planned, example in cases:
        n = len(planned.masses)
        assert [i.shape for i in example.inputs] == list(SCALES)
        assert example.boxes.shape == (n, 4)
        assert example.crops.shape == example.masks.shape == (2 * n, 256, 256)
        assert (example.boxes >= 0).all()
        assert (example.boxes <= 1).all()


def test_boxes_are_the_truths(cases):
    for planned, example in cases:
        view = planned.draw()
        truth = view.truth()
        for k, part in enumerate(example.boxes):
            rows, cols = np.nonzero(truth == k + 1)
            exact = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
            size = np.array([view.detector.cols, view.detector.rows] * 2)
            assert np.abs(part * size - exact).max() <= 1.5 * view.detector.step
            assert np.abs(np.array(mass_box(view, k)) - exact).max() <= 1.5 * view.detector.step


def test_crops_are_brighter_under_their_masks(cases):
    brighter = []
    for _, example in cases:
        for crop, mask in zip(example.crops, example.masks, strict=True):
            assert 0.1 < mask.mean() < 0.9
            brighter.append(crop[mask > 0].mean() > crop[mask == 0].mean())
            # Equalized: grey values are spread evenly.
            assert stats.kstest(crop.ravel() / 255, "uniform").statistic < 0.25
    assert np.mean(brighter) > 0.9
