"""One image's findings against its masses: a thousand of them, by sets of pixels."""

from dataclasses import replace

import numpy as np
import pytest

from mammofast.evaluation.fusion import LAMBDAS
from mammofast.evaluation.measuring import _measure
from mammofast.evaluation.truth import Known
from mammofast.ops import reference
from mammofast.records import Finding, ImageResult
from mammofast.screening.entry import Entry
from tests.evaluation.by_hand import RUN, cells, info, match_by_hand
from tests.ops import cases

SPACING, SCALES = (0.1, 0.2), 3


class OneTruth:
    """The labels of one image."""

    def __init__(self, labels):
        self._labels = labels

    def labels(self, sop_uid, shape):
        """Return them."""
        assert shape == self._labels.shape
        return self._labels

    def known(self, sop_uid):
        """Return nothing else."""
        return Known()


def some_box(rng, shape):
    rows, cols = shape
    x, y = int(rng.integers(cols)), int(rng.integers(rows))
    return x, y, int(rng.integers(x + 1, cols + 1)), int(rng.integers(y + 1, rows + 1))


def some_image(rng):
    """Masses may lie upon one another, findings too; some findings have no pixel, and confidences tie."""
    shape = tuple(int(side) for side in rng.integers(2, 14, size=2))
    labels, findings = np.zeros(shape, np.uint8), []
    for label in rng.permutation([1, 2, 5])[: rng.integers(0, 4)]:
        x_min, y_min, x_max, y_max = some_box(rng, shape)
        labels[y_min:y_max, x_min:x_max] = label
    for _ in range(rng.integers(0, 4)):
        of_a_mass = labels.any() and rng.random() < 0.6
        ys, xs = np.nonzero(labels == rng.choice(labels[labels > 0])) if of_a_mass else ([], [])
        box = (min(xs), min(ys), max(xs) + 1, max(ys) + 1) if of_a_mass else some_box(rng, shape)
        mask = rng.random((box[3] - box[1], box[2] - box[0])) < rng.choice([0, 0.5, 1])
        findings.append(Finding(tuple(map(int, box)), 1.0, float(rng.choice([0.2, 0.5, 0.9])), mask))
    boxes, scores = cases.some(rng, int(rng.integers(0, 6)), max(shape))
    scale = rng.integers(0, SCALES, len(boxes))
    return labels, findings, np.column_stack([scale, boxes, scores]).astype(np.float32).reshape(-1, 6)


def dice_by_hand(a, b):
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def test_a_thousand_images():
    rng = np.random.default_rng(0)
    found = 0
    for number in range(1000):
        labels, findings, rows = some_image(rng)
        where = replace(info(number), rows=labels.shape[0], cols=labels.shape[1], pixel_spacing=SPACING)
        entry = Entry.of(where, RUN, ImageResult(labels.shape, tuple(findings), None, rows))
        got = _measure(entry, OneTruth(labels), True, SCALES)

        masses = [{(x, y) for y, x in np.argwhere(labels == k).tolist()} for k in np.unique(labels[labels > 0])]
        corners = [tuple(zip(*mass, strict=True)) for mass in masses]
        boxes = [(min(xs), min(ys), max(xs) + 1, max(ys) + 1) for xs, ys in corners]
        painted = [
            {(x, y) for x, y in cells(f.box) if f.mask[y - f.box[1], x - f.box[0]]} for f in findings
        ]  # fmt: skip
        matched = match_by_hand([f.box for f in findings], [f.confidence for f in findings], boxes)
        found += sum(k >= 0 for k in matched)
        assert got.hits.tolist() == [k >= 0 for k in matched]
        assert [mass.found for mass in got.masses] == [k in matched for k in range(len(masses))]
        for k, (mass, box) in enumerate(zip(got.masses, boxes, strict=True)):
            expected = dice_by_hand(masses[k], painted[matched.index(k)]) if k in matched else 0.0
            assert mass.dice == pytest.approx(expected, abs=1e-6)
            sides = (box[3] - box[1]) * SPACING[0], (box[2] - box[0]) * SPACING[1]
            assert mass.length_mm == pytest.approx(max(sides), abs=1e-6)
        predicted, true = set().union(*painted), set().union(*masses)
        assert got.dice == (pytest.approx(dice_by_hand(predicted, true), abs=1e-6) if masses else None)
        assert (got.fit.both, got.fit.predicted, got.fit.true) == (len(predicted & true), len(predicted), len(true))
        assert got.area_mm2 == pytest.approx((0.02 * len(predicted), 0.02 * len(true)), abs=1e-6)
        for threshold in LAMBDAS:
            boxes_there, _, confidences = reference.fuse_boxes(
                rows[:, 1:5], rows[:, 5], SCALES, labels.shape, threshold
            )
            hits = match_by_hand(boxes_there.tolist(), confidences.tolist(), boxes)
            np.testing.assert_allclose(got.fused[threshold][0], confidences, atol=1e-6)
            assert got.fused[threshold][1].tolist() == [k >= 0 for k in hits]
    assert found > 500
