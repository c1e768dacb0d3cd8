import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mammofast.evaluation import dice, iou, precision, relative_area_difference, sensitivity, specificity

pairs = st.tuples(st.integers(0, 8), st.integers(0, 8)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


@settings(max_examples=1000, deadline=None)
@given(pairs)
def test_every_measure_equals_counting_by_hand(pair):
    prediction, truth = pair
    counts = {(p, t): 0 for p in (False, True) for t in (False, True)}
    for p, t in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        counts[p, t] += 1
    tp, fp, fn, tn = (counts[key] for key in ((True, True), (True, False), (False, True), (False, False)))

    def same(got, part, whole, empty):
        expected = part / whole if whole else empty
        assert got == expected or (math.isnan(got) and math.isnan(expected))

    same(dice(prediction, truth), 2 * tp, 2 * tp + fp + fn, 1.0)
    same(iou(prediction, truth), tp, tp + fp + fn, 1.0)
    same(sensitivity(prediction, truth), tp, tp + fn, math.nan)
    same(precision(prediction, truth), tp, tp + fp, math.nan)
    same(specificity(prediction, truth), tn, tn + fp, math.nan)
    same(relative_area_difference(prediction, truth), abs(fp - fn), tp + fn, math.nan if fp else 0.0)


def test_labels_count_as_mass():
    assert dice(np.array([[0, 2, 255]], np.uint8), np.array([[0, 1, 1]], np.uint8)) == 1.0


@pytest.mark.parametrize("measure", [dice, iou, sensitivity, precision, specificity, relative_area_difference])
def test_shapes_must_agree(measure):
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        measure(np.zeros((2, 3)), np.zeros((1, 3)))
