import math

import numpy as np
import pytest

from mammofast.methods import yolo

STRIDES = (8, 16, 32)
ANCHORS = [(10 + 7 * k, 12 + 9 * k) for k in range(9)]


def decode_cell_by_cell(heads, strides, anchors, threshold):
    """YOLOv3's equations, one cell at a time, in the order that decode promises."""
    found = []
    for h, (head, stride) in enumerate(zip(heads, strides, strict=True)):
        for a in range(3):
            for row in range(head.shape[1]):
                for col in range(head.shape[2]):
                    tx, ty, tw, th, to, tc = (float(v) for v in head[a * 6 : a * 6 + 6, row, col])
                    confidence = 1 / (1 + math.exp(-to)) / (1 + math.exp(-tc))
                    if confidence < threshold:
                        continue
                    x, y = (1 / (1 + math.exp(-tx)) + col) * stride, (1 / (1 + math.exp(-ty)) + row) * stride
                    pw, ph = anchors[h * 3 + a]
                    w, height = pw * math.exp(tw), ph * math.exp(th)
                    found.append((x - w / 2, y - height / 2, x + w / 2, y + height / 2, confidence))
    return np.array(found).reshape(-1, 5)


@pytest.mark.parametrize("seed", range(8))
def test_decode_equals_the_equations_cell_by_cell(seed):
    rng = np.random.default_rng(seed)
    heads = [rng.normal(0, 2, (18, 64 // s, 96 // s)).astype(np.float32) for s in STRIDES]
    boxes, scores = yolo.decode(heads, STRIDES, ANCHORS, 0.3)
    expected = decode_cell_by_cell(heads, STRIDES, ANCHORS, 0.3)
    assert len(expected) > 10
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, expected[:, :4], rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(scores, expected[:, 4], rtol=1e-6)


def test_no_box_above_the_threshold_gives_empty_arrays():
    heads = [np.full((18, 2, 3), -9, np.float32) for _ in STRIDES]
    boxes, scores = yolo.decode(heads, STRIDES, ANCHORS, 0.3)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_a_confidence_at_the_threshold_is_kept():
    heads = [np.full((18, 1, 1), -9, np.float32) for _ in STRIDES]
    heads[0][4:6] = 0  # σ(0)·σ(0) is exactly a quarter
    assert len(yolo.decode(heads, STRIDES, ANCHORS, 0.25)[1]) == 1
    assert len(yolo.decode(heads, STRIDES, ANCHORS, 0.2500001)[1]) == 0


def test_huge_logits_stay_finite():
    heads = [np.full((18, 2, 2), 1e30, np.float32) for _ in STRIDES]
    boxes, scores = yolo.decode(heads, STRIDES, ANCHORS, 0.3)
    assert np.isfinite(boxes).all()
    assert np.all(scores == 1)
