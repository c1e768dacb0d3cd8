import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from mammofast.evaluation import average_precision, froc, match_boxes
from mammofast.evaluation.truth import label_boxes
from tests.evaluation.by_hand import match_by_hand

corner = st.integers(0, 12)
box = st.tuples(corner, corner, corner, corner).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
confidence = st.sampled_from([0.1, 0.5, 0.5, 0.9])


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(box, confidence), max_size=6), st.lists(box, max_size=4))
def test_matching_equals_counting_pixels(candidates, truth):
    boxes, confidences = [c[0] for c in candidates], [c[1] for c in candidates]
    assert match_boxes(boxes, confidences, truth).tolist() == match_by_hand(boxes, confidences, truth)


def test_an_iou_of_exactly_one_half_matches():
    assert match_boxes([(0, 0, 10, 10)], [0.5], [(0, 0, 10, 20)]).tolist() == [0]
    assert match_boxes([(0, 0, 10, 10)], [0.5], [(0, 0, 10, 21)]).tolist() == [-1]
    assert match_boxes([(0, 0, 1, 3)], [0.5], [(0, 0, 1, 10)], iou_threshold=0.3).tolist() == [0]


def test_one_mass_is_found_once_and_by_the_most_confident():
    same = [(0, 0, 10, 10)] * 3
    assert match_boxes(same, [0.2, 0.9, 0.9], same[:1]).tolist() == [-1, 0, -1]
    # The confident one takes what it overlaps most, the other the mass that is left.
    truth = [(0, 0, 10, 10), (0, 1, 10, 11)]
    assert match_boxes([(0, 1, 10, 11), (0, 1, 10, 11)], [0.5, 0.9], truth).tolist() == [0, 1]


def test_empty_boxes_find_nothing():
    assert match_boxes([(5, 5, 5, 9)], [0.5], [(5, 5, 5, 9)]).tolist() == [-1]
    assert match_boxes([], [], [(0, 0, 1, 1)]).tolist() == []
    assert match_boxes([(0, 0, 1, 1)], [1.0], []).tolist() == [-1]
    with pytest.raises(ValueError, match="confidences"):
        match_boxes([(0, 0, 1, 1)], [1.0, 2.0], [])


candidates = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.5]), st.booleans()), max_size=12)


@settings(max_examples=1000, deadline=None)
@given(candidates, st.integers(0, 3), st.integers(1, 5))
def test_curves_equal_counting_at_every_threshold(found, missed, n_images):
    confidences, hits = [c for c, _ in found], [h for _, h in found]
    n_masses = sum(hits) + missed
    if n_masses == 0:
        return
    points = [(0.0, 0.0)]
    expected, last = 0.0, 0
    for threshold in sorted(set(confidences), reverse=True):
        passing = [h for c, h in found if c >= threshold]
        points.append(((len(passing) - sum(passing)) / n_images, sum(passing) / n_masses))
        expected += (sum(passing) - last) / n_masses * sum(passing) / len(passing)
        last = sum(passing)
    curve = froc(confidences, hits, n_masses, n_images)
    assert list(zip(curve.fp_per_image.tolist(), curve.sensitivity.tolist(), strict=True)) == points
    assert curve.thresholds.tolist() == [np.inf, *sorted(set(confidences), reverse=True)]
    assert average_precision(confidences, hits, n_masses) == pytest.approx(expected)
    for at in (0, 0.3, 1, 100):
        assert curve.sensitivity_at(at) == pytest.approx(max(s for f, s in points if f <= at))
        passing = [not h for c, h in found if c >= curve.threshold_at(at)]
        assert sum(passing) <= at * n_images
        lower = [c for c in confidences if c < curve.threshold_at(at)]
        assert not lower or sum(not h for c, h in found if c >= max(lower)) > at * n_images


def test_known_values():
    assert average_precision([0.9, 0.8, 0.7], [True, False, True], 2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision([], [], 3) == 0.0
    assert average_precision([0.5, 0.5], [True, False], 1) == average_precision([0.5, 0.5], [False, True], 1) == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.1], [True], 0, 1), "n_masses"),
        (([0.1], [True], 1, 0), "n_images"),
        (([0.1, 0.2], [True], 1, 1), "hits"),
        (([float("nan")], [True], 1, 1), "NaN"),
    ],
)
def test_what_is_no_evaluation_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        froc(*arguments)


def test_boxes_of_a_thousand_label_images():
    """Against scikit-image's; labels that nothing has, pixels at the border and images of nothing among them."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        shape = tuple(rng.integers(1, 12, size=2))
        labels = np.where(rng.random(shape) < rng.choice([0, 0.05, 0.5]), rng.integers(1, 6, size=shape), 0)
        theirs = [[x0, y0, x1, y1] for y0, x0, y1, x1 in (found.bbox for found in regionprops(labels))]
        assert label_boxes(labels.astype(np.uint8)).tolist() == theirs


def test_boxes_of_labels():
    labels = np.zeros((20, 30), np.uint8)
    labels[3:5, 7:11] = 3
    labels[10, 29] = 1
    labels[12, 2] = labels[19, 4] = 2
    assert label_boxes(labels).tolist() == [[29, 10, 30, 11], [2, 12, 5, 20], [7, 3, 11, 5]]
    assert label_boxes(np.zeros((3, 3), np.uint8)).shape == (0, 4)
