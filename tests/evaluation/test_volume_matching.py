"""Boxes of volumes matched to masses, against counting voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammofast.evaluation import match_boxes
from tests.evaluation.by_hand import match_by_hand

corner = st.integers(0, 4)
box = st.tuples(*[corner] * 6).map(lambda b: (*map(min, b[:3], b[3:]), *map(max, b[:3], b[3:])))
confidence = st.sampled_from([0.1, 0.5, 0.5, 0.9])


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(box, confidence), max_size=6), st.lists(box, max_size=4))
def test_matching_equals_counting_voxels(candidates, truth):
    boxes, confidences = [c[0] for c in candidates], [c[1] for c in candidates]
    found = match_boxes(boxes, confidences, truth, strict=True).tolist()
    assert found == match_by_hand(boxes, confidences, truth, strict=True)


@pytest.mark.parametrize("seed", range(20))
def test_matching_equals_counting_voxels_where_many_overlap(seed):
    """Copies of the masses moved by a voxel or so: most pairs are near the threshold."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 6, (3, 3))
    truth = np.hstack([low, low + rng.integers(2, 7, (3, 3))])
    boxes = truth[rng.integers(0, 3, 8)] + rng.integers(-1, 2, (8, 6))
    confidences = rng.choice([0.2, 0.5, 0.8], 8)
    found = match_boxes(boxes, confidences, truth, strict=True).tolist()
    assert found == match_by_hand(boxes.tolist(), confidences, truth.tolist(), strict=True)


def test_an_iou_of_exactly_one_half_is_not_greater_than_it():
    one, half, more = (0, 0, 0, 4, 4, 4), (0, 0, 0, 4, 4, 8), (0, 0, 0, 4, 4, 7)
    assert match_boxes([one], [0.5], [half], strict=True).tolist() == [-1]
    assert match_boxes([one], [0.5], [half]).tolist() == [0]
    assert match_boxes([one], [0.5], [more], strict=True).tolist() == [0]


def test_boxes_of_other_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"truth: got 4 numbers a box, expected 6"):
        match_boxes([(0, 0, 0, 1, 1, 1)], [0.5], [(0, 0, 1, 1)])
    for wrong in ([(0, 0, 1)], [0, 0, 1, 1], [[(0, 0, 1, 1)]]):
        with pytest.raises(ValueError, match=r"boxes: got shape .* expected \(n, 4\) or \(n, 6\)"):
            match_boxes(wrong, [0.5], [(0, 0, 1, 1)])
