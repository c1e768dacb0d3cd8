"""Pasting against the NumPy reference and cv2.resize."""

import cv2
import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import reference

BAND = 1e-5  # so close to the threshold two float32 interpolations may differ


def random_case(rng, extent=14, side=9):
    n = int(rng.integers(0, 4))
    crops = rng.random((n, *rng.integers(1, side, 2)), dtype=np.float32)
    if rng.random() < 0.5:
        crops = np.round(crops * 4) / 4  # values that hit the threshold exactly
    corners = rng.integers(-extent // 2, extent + extent // 2, (n, 2, 2))
    corners.sort(axis=1)
    shape = tuple(int(v) for v in rng.integers(1, extent, 2))
    return crops, corners.reshape(n, 4).astype(np.int32), shape, float(rng.choice([0, 0.25, 0.5, 0.7, 1]))


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(backend, seed):
    rng = np.random.default_rng(seed)
    paste_masks = backend(ops.paste_masks)
    for _ in range(backend.cases(2500)):
        case = random_case(rng)
        mask = paste_masks(*case)
        assert mask.dtype == bool
        assert np.array_equal(mask, reference.paste_masks(*case))


@pytest.mark.parametrize("threshold", [0.5, 0.0, -0.5, 1e-30])
def test_equals_the_reference_just_below_the_threshold_and_far_from_it(backend, threshold):
    """Rows and columns that cannot reach the threshold are passed over: rounding up must not make them reach it."""
    rng = np.random.default_rng(17)
    at = np.float32(threshold)
    below = np.nextafter(at, np.float32(-1))
    further = np.float32(threshold - 2e-7 * max(abs(threshold), 1e-30))
    values = np.array([below, below, further, at, -1e30, 1e30, -0.3, 0.2], np.float32)
    paste_masks = backend(ops.paste_masks)
    for _ in range(backend.cases(2500)):
        crops, boxes, shape, _ = random_case(rng)
        crops = values[rng.choice(8, crops.shape, p=[0.3, 0.2, 0.2, 0.02, 0.02, 0.02, 0.22, 0.02])]
        mask = paste_masks(crops, boxes, shape, threshold)
        assert np.array_equal(mask, reference.paste_masks(crops, boxes, shape, threshold))


def painted_by_cv2(crop, box, shape, threshold):
    """What the usual way paints, and where it is too close to call."""
    x0, y0, x1, y1 = box
    values = np.full(shape, -1.0)
    stretched = cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, shape[0]), min(x1, shape[1])
    if top < bottom and left < right:
        values[top:bottom, left:right] = stretched[top - y0 : bottom - y0, left - x0 : right - x0]
    return values >= threshold, abs(values - threshold) < BAND


def test_equals_cv2(backend):
    rng = np.random.default_rng(9)
    paste_masks = backend(ops.paste_masks)
    compared = excused = 0
    for turn in range(0, 120, 120 // backend.cases(120)):
        side, extent = (8, 40) if turn % 10 else (256, 700)
        crop = rng.random(rng.integers(1, side + 1, 2), dtype=np.float32)
        shape = tuple(int(v) for v in rng.integers(1, extent, 2))
        x0, y0 = rng.integers(-extent // 4, extent // 2, 2).tolist()
        box = x0, y0, x0 + int(rng.integers(1, extent)), y0 + int(rng.integers(1, extent))
        wanted, close = painted_by_cv2(crop, box, shape, 0.5)
        mask = paste_masks(crop[np.newaxis], np.array([box]), shape, 0.5)
        assert np.array_equal(mask | close, wanted | close)
        compared, excused = compared + mask.size, excused + int(close.sum())
    assert excused < compared / 1000


def test_masks_are_merged_by_or(backend):
    paste_masks = backend(ops.paste_masks)
    crops = np.ones((2, 3, 3), np.float32)
    crops[1] = 0  # its box lies over the first one's and must not erase it
    boxes = np.array([[1, 1, 5, 5], [0, 0, 6, 6]])
    mask = paste_masks(crops, boxes, (6, 6))
    assert mask.sum() == 16
    assert mask[1:5, 1:5].all()


def test_threshold_is_inclusive(backend):
    paste_masks = backend(ops.paste_masks)
    crops = np.full((1, 2, 2), 0.5, np.float32)
    boxes = np.array([[0, 0, 7, 7]])
    assert paste_masks(crops, boxes, (7, 7), 0.5).all()
    assert not paste_masks(crops, boxes, (7, 7), 0.50001).any()
    tenth = np.full((1, 2, 2), 0.1, np.float32)  # 0.1 in float32 is a little more than in double
    assert paste_masks(tenth, boxes, (7, 7), 0.1).all()


def test_a_box_that_leaves_the_image_is_stretched_whole(backend):
    paste_masks = backend(ops.paste_masks)
    crops = np.zeros((1, 1, 2), np.float32)
    crops[0, 0, 1] = 1
    mask = paste_masks(crops, np.array([[-10, 0, 10, 1]]), (1, 10))
    assert mask.all()
    assert not paste_masks(crops, np.array([[0, 0, 20, 1]]), (1, 10)).any()


def test_boxes_far_larger_than_the_image(backend):
    paste_masks = backend(ops.paste_masks)
    crops = np.zeros((1, 2, 2), np.float32)
    crops[0, :, 1] = 1
    limit = 2**31 - 1
    mask = paste_masks(crops, np.array([[-limit, -limit, limit, limit]]), (3, 4))
    assert mask.tolist() == [[True] * 4] * 3  # the middle is 1/2
    crops[0, :, 0] = -0.01
    assert not paste_masks(crops, np.array([[-limit, -limit, limit, limit]]), (3, 4)).any()


@pytest.mark.parametrize("box", [[2, 2, 2, 5], [2, 2, 5, 2], [-9, 0, -2, 5], [0, 50, 5, 60], [10, 0, 12, 5]])
def test_what_is_empty_or_outside_paints_nothing(backend, box):
    paste_masks = backend(ops.paste_masks)
    assert not paste_masks(np.ones((1, 4, 4), np.float32), np.array([box]), (10, 10)).any()


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (5, 6)])
def test_empty_in_empty_out(backend, shape):
    paste_masks = backend(ops.paste_masks)
    mask = paste_masks(np.zeros((0, 256, 256), np.float32), np.zeros((0, 4), np.int32), shape)
    assert mask.shape == shape
    assert not mask.any()
    assert paste_masks(np.ones((1, 4, 4), np.float32), np.array([[0, 0, 9, 9]]), shape).all()


CROP, BOX = np.ones((1, 4, 4), np.float32), np.array([[1, 2, 3, 4]])


def with_value(value):
    crop = CROP.copy()
    crop[0, 3, 3] = value
    return crop


@pytest.mark.parametrize(
    ("crops", "boxes", "message"),
    [
        (with_value(np.nan), BOX, "crops: got NaN or Inf, expected finite values"),
        (with_value(-np.inf), BOX, "crops: got NaN or Inf"),
        (CROP.astype(np.float64), BOX, r"crops: got float64 .* expected float32 of shape \(n, h, w\)"),
        (CROP[0], BOX, "crops: got float32"),
        (np.zeros((1, 0, 4), np.float32), BOX, r"crops: got shape \(1, 0, 4\), expected crops of at least one pixel"),
        (CROP, BOX.astype(np.float32), r"boxes: got float32 .* expected integers of shape \(1, 4\)"),
        (CROP, np.tile(BOX, (2, 1)), r"boxes: got int64 of shape \(2, 4\)"),
        (CROP, BOX.tolist(), "boxes: got list"),
        (CROP, np.array([[3, 2, 2, 4]]), r"boxes: got \(3, 2, 2, 4\) at index 0, expected x_max >= x_min"),
        (CROP, np.array([[1, 5, 2, 4]]), "boxes: .* y_max >= y_min"),
        (CROP, np.array([[1, 2, 2**32 + 3, 4]]), "boxes: got int64 beyond int32"),
    ],
)
def test_bad_arguments(backend, crops, boxes, message):
    with pytest.raises(ValueError, match=message):
        backend(ops.paste_masks)(crops, boxes, (10, 10))


@pytest.mark.parametrize(("shape", "threshold"), [((10,), 0.5), ((10, 10), np.nan), ((10, 10), "0.5"), ((1, -1), 0.5)])
def test_bad_shapes_and_thresholds(shape, threshold):
    with pytest.raises(ValueError, match=r"(shape|threshold).*: got .* expected"):
        ops.paste_masks(CROP, BOX, shape, threshold)
