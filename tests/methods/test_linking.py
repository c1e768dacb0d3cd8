"""Linking slices against a graph that SciPy takes apart, and by hand."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mammofast.methods.linking import Linking, link_slices


def linked(a, b, z_a, z_b, rule):
    """Say by exact arithmetic whether two boxes are neighbours."""
    if not 1 <= abs(z_a - z_b) <= rule.max_gap + 1:
        return False
    area = [max(0, box[2] - box[0]) * max(0, box[3] - box[1]) for box in (a, b)]
    inter = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = sum(area) - inter
    return union > 0 and Fraction(inter, union) >= Fraction(str(rule.min_iou))


def by_graph(boxes, scores, slices, rule):
    n = len(boxes)
    pairs = [
        (i, j)
        for i, j in combinations(range(n), 2)
        if linked(boxes[i].astype(int).tolist(), boxes[j].astype(int).tolist(), int(slices[i]), int(slices[j]), rule)
    ]
    i, j = np.array(pairs, int).reshape(-1, 2).T
    count, which = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    found = []
    for k in range(count):
        members = np.flatnonzero(which == k)
        if len(set(slices[members].tolist())) < rule.min_slices:
            continue
        low, high = boxes[members].min(axis=0), boxes[members].max(axis=0)
        box = (*low[:2].tolist(), int(slices[members].min()), *high[2:].tolist(), int(slices[members].max()) + 1)
        found.append((-float(scores[members].max()), tuple(members.tolist()), box))
    return [(box, -score, members) for score, members, box in sorted(found)]


def test_ten_thousand_random_volumes():
    rng = np.random.default_rng(0)
    several = 0
    for _ in range(10_000):
        n = int(rng.integers(0, 11))
        low = rng.integers(0, 3, (n, 2))
        boxes = np.concatenate([low, low + rng.integers(0, 5, (n, 2))], axis=1).astype(np.float32)
        scores = (rng.integers(0, 4, n) / 4).astype(np.float32)
        slices = rng.integers(-1, 4, n)
        rule = Linking(
            min_iou=float(rng.choice([0.25, 0.5, 0.1, 1.0])),
            max_gap=int(rng.integers(0, 3)),
            min_slices=int(rng.integers(1, 3)),
        )
        got = link_slices(boxes, scores, slices, rule)
        assert [(c.box, c.score, c.members) for c in got] == by_graph(boxes, scores, slices, rule)
        several += any(len(c.members) > 2 for c in got)
    assert several > 1000


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def test_a_mass_through_slices_is_one_candidate():
    found = link_slices(
        boxes((10, 10, 20, 20), (11, 10, 21, 20), (50, 50, 60, 60), (12, 11, 22, 22)),
        np.array([0.5, 0.9, 0.7, 0.6], np.float32),
        np.array([3, 4, 4, 5]),
        Linking(),
    )
    assert [(c.box, c.members) for c in found] == [((10, 10, 3, 22, 22, 6), (0, 1, 3)), ((50, 50, 4, 60, 60, 5), (2,))]
    assert found[0].score == np.float32(0.9)


def test_a_missing_slice_is_bridged_where_the_rule_says_so():
    same = boxes((0, 0, 4, 4), (0, 0, 4, 4)), np.ones(2, np.float32), np.array([0, 2])
    assert len(link_slices(*same, Linking())) == 2
    (one,) = link_slices(*same, Linking(max_gap=1))
    assert one.box == (0, 0, 0, 4, 4, 3)
    assert link_slices(*same, Linking(min_slices=2)) == []


def test_two_boxes_of_a_slice_are_two_unless_another_slice_joins_them():
    rows = boxes((0, 0, 10, 10), (0, 2, 10, 12), (0, 1, 10, 11))
    scores = np.ones(3, np.float32)
    assert len(link_slices(rows[:2], scores[:2], np.array([0, 0]), Linking())) == 2
    assert len(link_slices(rows, scores, np.array([0, 0, 1]), Linking())) == 1


def test_nothing_found():
    assert link_slices(boxes(), np.zeros(0, np.float32), np.zeros(0, int), Linking()) == []


@pytest.mark.parametrize(
    "change, words",
    [
        ({"min_iou": 0}, "min_iou: got 0"),
        ({"min_iou": 1.5}, "min_iou: got 1.5"),
        ({"min_iou": True}, "min_iou: got True"),
        ({"max_gap": -1}, "max_gap: got -1"),
        ({"min_slices": 0}, "min_slices: got 0"),
        ({"max_gap": 1.0}, r"max_gap: got 1\.0"),
        ({"max_gap": True}, "max_gap: got True"),
    ],
)
def test_rules_that_are_none(change, words):
    with pytest.raises(ValueError, match=words):
        Linking(**change)


@pytest.mark.parametrize(
    "rows, scores, slices, words",
    [
        (np.zeros((1, 6), np.float32), np.ones(1), np.ones(1, int), r"got shapes \(1, 6\)"),
        (boxes((0, 0, 1, 1)), np.ones(2), np.ones(1, int), r"\(2,\) and \(1,\)"),
        (boxes((0, 0, 1, np.nan)), np.ones(1), np.ones(1, int), "got NaN"),
        (boxes((0, 0, 1, 1)), np.full(1, np.inf), np.ones(1, int), "got NaN or infinity"),
    ],
)
def test_what_is_no_boxes(rows, scores, slices, words):
    with pytest.raises(ValueError, match=words):
        link_slices(rows, scores.astype(np.float32), slices, Linking())
