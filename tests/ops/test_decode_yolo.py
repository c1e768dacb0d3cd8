"""YOLOv3's decoding against its equations cell by cell, in Python's floats, and the NumPy reference."""

import math

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import reference

STRIDES = (8, 16, 32)
ANCHORS = [(10 + 7 * k, 12 + 9 * k) for k in range(9)]


def draw_heads(rng, rows, cols, spread=2.0, dtype=np.float32):
    """Logits of heads for an input of rows x cols pixels."""
    return [rng.normal(0, spread, (18, rows // s, cols // s)).astype(dtype) for s in STRIDES]


def cell_by_cell(heads, strides, anchors, threshold):
    """The equations, in the order that the op promises."""
    found = []
    for h, (head, stride) in enumerate(zip(heads, strides, strict=True)):
        for a in range(3):
            for row in range(head.shape[1]):
                for col in range(head.shape[2]):
                    tx, ty, tw, th, to, tc = (float(v) for v in head[a * 6 : a * 6 + 6, row, col])
                    score = 1 / (1 + math.exp(-to)) / (1 + math.exp(-tc))
                    if score < threshold:
                        continue
                    x, y = (1 / (1 + math.exp(-tx)) + col) * stride, (1 / (1 + math.exp(-ty)) + row) * stride
                    pw, ph = anchors[h * 3 + a]
                    w, height = pw * math.exp(tw), ph * math.exp(th)
                    found.append((x - w / 2, y - height / 2, x + w / 2, y + height / 2, score))
    return np.array(found).reshape(-1, 5)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_equations_cell_by_cell(backend, seed):
    heads = draw_heads(np.random.default_rng(seed), 64, 96)
    boxes, scores = backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 0.3)
    expected = cell_by_cell(heads, STRIDES, ANCHORS, 0.3)
    assert len(expected) > 10
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, expected[:, :4], rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(scores, expected[:, 4], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("frame", [None, (4096, 3333), (1, 7)])
def test_equals_the_reference_to_the_last_bit_of_float32(backend, dtype, frame):
    rng = np.random.default_rng(3)
    decode_yolo = backend(ops.decode_yolo)
    for k in range(backend.cases(300)):
        heads = draw_heads(rng, 32 * (1 + k % 4), 32 * (1 + k % 7), rng.choice([0.1, 2, 30]), dtype)
        threshold = float(rng.choice([0, 1e-40, 1e-6, 0.3, 0.9, 1 - 1e-9, 1]))
        boxes, scores = decode_yolo(heads, STRIDES, ANCHORS, threshold, frame)
        wanted_boxes, wanted_scores = reference.decode_yolo(heads, STRIDES, ANCHORS, threshold, frame)
        assert boxes.shape == wanted_boxes.shape
        np.testing.assert_array_max_ulp(boxes, wanted_boxes, 1)
        np.testing.assert_array_max_ulp(scores, wanted_scores, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_kernels_agree_to_the_bit(device_backend, dtype):
    heads = draw_heads(np.random.default_rng(4), 320, 160, 2, dtype)
    for threshold, frame in [(0.0, None), (0.25, (3001, 2000)), (0.7, None)]:
        found = device_backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, threshold, frame)
        for got, expected in zip(found, ops.decode_yolo(heads, STRIDES, ANCHORS, threshold, frame), strict=True):
            assert len(expected) > 100
            assert got.tobytes() == expected.tobytes()


def test_scores_are_off_by_less_than_their_last_place():
    """The exponential beside Python's, which is libm's, over all that it is asked for."""
    logits = np.concatenate([np.linspace(-81, 81, 20_001), np.linspace(-1e-3, 1e-3, 2_001)]).astype(np.float32)
    head = np.zeros((18, 1, len(logits)), np.float32)
    head[4], head[5] = logits, 1e9  # the other factor is 1
    _, scores = ops.decode_yolo([head], (8,), ANCHORS[:3], 0.0)
    exact = [1 / (1 + math.exp(-max(-80.0, min(80.0, float(v))))) for v in logits]
    factors = 1 / (1 + math.exp(-80.0))
    np.testing.assert_array_max_ulp(scores[: len(logits)], (np.array(exact) * factors).astype(np.float32), 1)


def test_a_frame_stretches_the_boxes(backend):
    heads = draw_heads(np.random.default_rng(5), 64, 32)
    boxes, scores = backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 0.2)
    stretched, same = backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 0.2, (4100, 3000))
    factor = np.array([3000 / 32, 4100 / 64] * 2)
    assert stretched.tobytes() == (boxes * factor).astype(np.float32).tobytes()
    assert same.tobytes() == scores.tobytes()


def test_no_box_above_the_threshold_gives_empty_arrays(backend):
    heads = [np.full((18, 64 // s, 96 // s), -9, np.float32) for s in STRIDES]
    boxes, scores = backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 0.3)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_no_cells(backend, shape):
    boxes, scores = backend(ops.decode_yolo)([np.zeros((18, *shape), np.float32)], (8,), ANCHORS[:3], 0.0, (5, 5))
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_confidence_at_the_threshold_is_kept(backend, dtype):
    heads = [np.full((18, 32 // s, 32 // s), -9, dtype) for s in STRIDES]
    heads[2][4:6] = 0  # σ(0)·σ(0) is exactly a quarter
    assert backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 0.25)[1].tolist() == [0.25]
    assert len(backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, float(np.nextafter(0.25, 1)))[1]) == 0


@pytest.mark.parametrize("threshold", [1e-40, 1e-6, 0.3, 0.999, 1 - 1e-7, 1])
@pytest.mark.parametrize("channel", [4, 5])
def test_a_hair_around_the_threshold(backend, threshold, channel):
    """One factor all but alone decides; what spares the exponentials must not decide otherwise."""
    near = np.log(threshold) - np.log1p(-threshold) if threshold < 1 else 40.0
    logits = np.concatenate([near * np.linspace(1 - 1e-5, 1 + 1e-5, 31), [-100, -85, -79, 30, 45, 1e9]])
    head = np.zeros((18, 1, len(logits)), np.float32)
    head[[4, 5]] = 1e9
    head[channel] = logits
    head[[10, 11, 16, 17]] = -1e9
    boxes, scores = backend(ops.decode_yolo)([head], (8,), ANCHORS[:3], threshold)
    factor = 1 / (1 + np.exp(-np.clip(head[channel, 0].astype(np.float64), -80, 80)))
    expected = factor[factor >= threshold].astype(np.float32)
    assert len(expected) > 0
    np.testing.assert_array_max_ulp(scores, expected, 1)
    assert len(boxes) == len(expected)


def test_huge_logits_stay_finite(backend):
    heads = [np.full((18, 64 // s, 64 // s), 1e30, np.float32) for s in STRIDES]
    boxes, scores = backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 0.3)
    assert np.isfinite(boxes).all()
    assert np.all(scores == 1)
    for head in heads:
        head[:4] *= -1
    boxes, _ = backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 1)
    assert len(boxes) == 3 * (64 + 16 + 4)
    assert np.isfinite(boxes).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 3, 10, 17])
def test_a_value_that_is_not_finite_anywhere_is_refused(backend, dtype, value, channel):
    heads = [np.full((18, 64 // s, 64 // s), -9, dtype) for s in STRIDES]
    heads[1][channel, 3, 2] = value
    with pytest.raises(ValueError, match="heads: got NaN or Inf, expected finite values"):
        backend(ops.decode_yolo)(heads, STRIDES, ANCHORS, 0.3)


HEADS = [np.zeros((18, 4, 6), np.float32), np.zeros((18, 2, 3), np.float32)]
GOOD = {"heads": HEADS, "strides": (8, 16), "anchors": ANCHORS[:6], "threshold": 0.3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": []}, "heads: got 0 heads, expected 1 to 8 arrays"),
        ({"heads": HEADS[0]}, "heads: got (ndarray|DeviceArray), expected 1 to 8 arrays"),
        ({"heads": HEADS * 5, "strides": (8, 16) * 5}, "heads: got 10 heads, expected 1 to 8 arrays"),
        ({"strides": (8,)}, r"strides: got \(8,\), expected one for each of 2 heads"),
        ({"strides": (8, 0)}, "strides: got 0, expected an integer in 1.."),
        ({"strides": (8, 16.0)}, "strides: got 16.0, expected an integer in 1.."),
        ({"strides": (8, 8)}, r"heads\[1\]: got .*16 x 24 pixels, expected 32 x 48 as of heads\[0\]"),
        ({"anchors": ANCHORS[:5]}, r"anchors: got 5, expected 3 for each stride of \(8, 16\)"),
        ({"anchors": [*ANCHORS[:5], (3,)]}, r"anchors: got .*, expected \(width, height\), both numbers above 0"),
        ({"anchors": [*ANCHORS[:5], (3, 0)]}, r"anchors: got .*, expected \(width, height\), both numbers above 0"),
        ({"anchors": [*ANCHORS[:5], (3, np.nan)]}, r"anchors: got .*, expected \(width, height\)"),
        ({"anchors": [*ANCHORS[:5], (3, np.inf)]}, r"anchors: got .*, expected \(width, height\)"),
        ({"anchors": [*ANCHORS[:5], (3, "wide")]}, r"anchors: got .*, expected \(width, height\)"),
        ({"anchors": [*ANCHORS[:5], (3, "4")]}, r"anchors: got .*, expected \(width, height\)"),
        ({"anchors": [*ANCHORS[:5], (3, True)]}, r"anchors: got .*, expected \(width, height\)"),
        ({"anchors": 7}, r"anchors: got int, expected 3 for each stride of \(8, 16\)"),
        ({"threshold": 1.1}, r"threshold: got 1.1, expected a number in \[0, 1\]"),
        ({"threshold": np.nan}, r"threshold: got .*nan.*, expected a number in \[0, 1\]"),
        ({"frame": (3,)}, r"frame: got \(3,\), expected \(rows, cols\)"),
        ({"frame": (3, -1)}, "frame cols: got -1, expected an integer"),
        ({"heads": [HEADS[0], HEADS[1][:17]]}, r"heads\[1\]: got float32 of shape \(17, 2, 3\), expected .*\(18, rows"),
        ({"heads": [HEADS[0], HEADS[1].astype(np.float16)]}, r"heads\[1\]: got float16 .*, expected float32 of shape"),
        ({"heads": [h.astype(np.float64) for h in HEADS]}, r"heads\[0\]: got float64 .*, expected float32 of shape"),
    ],
)
def test_bad_arguments(backend, change, message):
    with pytest.raises(ValueError, match=message):
        backend(ops.decode_yolo)(**{**GOOD, **change})
