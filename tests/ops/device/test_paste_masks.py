"""Crops pasted in batches on the device: each image, and each packed mask, as the reference pastes it."""

import numpy as np
import pytest

from mammofast.ops import device, reference
from tests.ops.test_paste_masks import random_case


def random_crops(rng, k, side, dtype=np.float32):
    """Crops with ties at 1/4, 1/2 and 3/4."""
    crops = rng.random((k, *side), dtype=np.float32)
    return np.where(rng.random((k, 1, 1)) < 0.5, np.round(crops * 4) / 4, crops).astype(dtype)


def random_boxes(rng, k, extent):
    """Boxes in, across and off an image: empty ones, single pixels, huge ones, many that overlap."""
    low = rng.integers(-extent // 2, extent, (k, 2))
    side = rng.choice([0, 1, 2, extent // 3, extent, 40 * extent], (k, 2))
    return np.concatenate([low, low + side], axis=1).astype(np.int32)


def packed_by_numpy(crop, shape, threshold):
    """A whole window as the reference pastes it: its bits, area and tight box."""
    box = np.array([[0, 0, shape[1], shape[0]]], np.int32)
    mask = reference.paste_masks(crop[np.newaxis].astype(np.float32), box, shape, threshold)
    ys, xs = np.nonzero(mask)
    tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0] * 4
    return np.packbits(mask, axis=1), len(xs), tight


def assert_packed(packed, crops, shapes, threshold):
    """Whether every mask of a batch is the reference's."""
    assert len(packed.offsets) == len(shapes) + 1
    assert len(packed.bits) == packed.offsets[-1]
    assert not packed.status.any()
    for i, (crop, shape) in enumerate(zip(crops, shapes, strict=True)):
        bits, area, box = packed_by_numpy(crop, shape, threshold)
        got = packed.bits[packed.offsets[i] : packed.offsets[i + 1]]
        assert np.array_equal(got, bits.ravel()), f"mask {i} of {shape}"
        assert packed.areas[i] == area
        assert packed.boxes[i].tolist() == box


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("n", "k", "side", "shape"),
    [(1, 3, (5, 4), (40, 300)), (3, 70, (4, 9), (37, 131)), (5, 9, (70, 90), (33, 31)), (2, 40, (1, 1), (3, 8))],
)
def test_each_image_equals_the_reference(device_backend, n, k, side, shape, dtype):
    rng = np.random.default_rng(n)
    crops, boxes = random_crops(rng, k, side, dtype), random_boxes(rng, k, max(shape))
    boxes[: k // 3] = [3, 2, shape[1] - 2, shape[0]]  # one over the other
    images = rng.integers(-1, n + 1, k).astype(np.int32)  # -1 and n: none
    masks, status = device_backend(device.paste_masks)(crops, boxes, images, n, shape, 0.5)
    assert status.tolist() == [0] * n
    assert masks.dtype == bool
    for image, mask in enumerate(masks):
        here = images == image
        wanted = reference.paste_masks(crops[here].astype(np.float32), boxes[here], shape, 0.5)
        assert np.array_equal(mask, wanted)
    assert masks.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("threshold", [0.5, 0.0, 0.97])
def test_each_packed_mask_equals_the_reference(device_backend, threshold, dtype):
    rng = np.random.default_rng(4)
    shapes = [(1, 1), (0, 7), (7, 0), (1, 129), (33, 8), (70, 300), (5, 16), (32, 128), (2, 15), (64, 127), (3, 1)]
    crops = random_crops(rng, len(shapes), (6, 11), dtype)
    crops[4] *= 0.2
    packed = device_backend(device.paste_packed)(crops, shapes, threshold)
    assert_packed(packed, crops, shapes, threshold)


def test_shrunk_masks_and_crops_larger_than_their_masks(device_backend):
    rng = np.random.default_rng(5)
    shapes = [(7, 5), (1, 1), (90, 3), (0, 0), (100, 140)]
    crops = random_crops(rng, len(shapes), (90, 120))
    assert_packed(device_backend(device.paste_packed)(crops, shapes, 0.5), crops, shapes, 0.5)


def test_more_masks_than_a_launch_takes(device_backend):
    rng = np.random.default_rng(6)
    shapes = [tuple(map(int, rng.integers(0, 9, 2))) for _ in range(150)]
    crops = random_crops(rng, len(shapes), (2, 2))
    assert_packed(device_backend(device.paste_packed)(crops, shapes, 0.5), crops, shapes, 0.5)


@pytest.mark.parametrize(("row", "col"), [(0, 0), (39, 0), (0, 199), (39, 199), (31, 127), (32, 128), (13, 77)])
def test_a_single_pixel_has_its_box(device_backend, row, col):
    crops = np.zeros((2, 40, 200), np.float32)
    crops[1, row, col] = 1
    packed = device_backend(device.paste_packed)(crops, [(40, 200), (40, 200)], 0.75)
    assert packed.areas.tolist() == [0, 1]
    assert packed.boxes.tolist() == [[0] * 4, [col, row, col + 1, row + 1]]
    unpacked = np.unpackbits(packed.bits[packed.offsets[1] :].reshape(40, -1), axis=1, count=200)
    assert np.argwhere(unpacked).tolist() == [[row, col]]


def test_any_window_as_the_cpu(device_backend):
    """Small windows of every kind, one after the other in one call."""
    rng = np.random.default_rng(7)
    paste_masks = device_backend(device.paste_masks)
    for _ in range(device_backend.cases(500)):
        crops, boxes, shape, threshold = random_case(rng)
        masks, _ = paste_masks(crops, boxes, np.zeros(len(crops), np.int32), 1, shape, threshold)
        assert np.array_equal(masks[0], reference.paste_masks(crops, boxes, shape, threshold))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_not_finite_crops_say_so_wherever_they_lie(device_backend, value, dtype):
    crops = np.full((5, 70, 90), 0.25, dtype)
    crops[1, 0, 0] = crops[2, 69, 89] = crops[3, 40, 17] = value
    boxes = np.array([[0, 0, 9, 9], [0, 0, 300, 40], [1, 1, 3, 3], [5, 5, 5, 5], [-20, 0, -10, 9]], np.int32)
    images = np.array([0, 1, 2, 3, -1], np.int32)
    _, status = device_backend(device.paste_masks)(crops, boxes, images, 5, (40, 300))
    assert status.tolist() == [0, device.NOT_FINITE, device.NOT_FINITE, device.NOT_FINITE, 0]
    packed = device_backend(device.paste_packed)(crops, [(2, 2), (9, 300), (1, 1), (0, 4), (5, 5)])
    assert packed.status.tolist() == [0, device.NOT_FINITE, device.NOT_FINITE, device.NOT_FINITE, 0]


def test_boxes_inside_out_say_so_and_leave_the_others_alone(device_backend):
    crops = np.ones((4, 3, 3), np.float32)
    boxes = np.array([[0, 0, 2, 2], [5, 0, 2, 2], [0, 5, 2, 2], [1, 1, 4, 4]], np.int32)
    masks, status = device_backend(device.paste_masks)(crops, boxes, np.array([0, 1, 2, 1], np.int32), 3, (6, 6))
    assert status.tolist() == [0, device.UNSOUND, device.UNSOUND]
    assert masks.sum(axis=(1, 2)).tolist() == [4, 9, 0]


def test_writes_where_it_is_told(device_backend):
    rng = np.random.default_rng(8)
    crops, boxes = random_crops(rng, 3, (4, 5)), random_boxes(rng, 3, 20)
    given = crops, boxes, np.array([0, 1, 1], np.int32), 2, (20, 30)
    paste_masks, paste_packed = device_backend(device.paste_masks), device_backend(device.paste_packed)
    wanted = paste_masks(*given)
    out = paste_masks(*given, out=(np.ones((2, 20, 30), bool), np.full(2, 9, np.int32)))
    assert all(np.array_equal(*pair) for pair in zip(out, wanted, strict=True))
    shapes = [(5, 9), (3, 3), (8, 20)]
    wanted = paste_packed(crops, shapes)
    full = [np.full((wanted.offsets[-1],), 255, np.uint8)] + [np.full(s, 99, np.int32) for s in (3, (3, 4), 3)]
    out = paste_packed(crops, shapes, out=tuple(full))
    assert all(np.array_equal(*pair) for pair in zip(out, wanted, strict=True))
    assert_packed(out, crops, shapes, 0.5)
    with pytest.raises(ValueError, match=r"out\[0\]: got bool of shape \(20, 30\), expected bool of shape \(2, 20, 30"):
        paste_masks(*given, out=(np.ones((20, 30), bool), np.zeros(2, np.int32)))


def test_nothing_in_nothing_out(device_backend):
    paste_masks, paste_packed = device_backend(device.paste_masks), device_backend(device.paste_packed)
    crops, boxes, images = np.zeros((0, 4, 4), np.float32), np.zeros((0, 4), np.int32), np.zeros(0, np.int32)
    masks, status = paste_masks(crops, boxes, images, 2, (3, 4))
    assert not masks.any()
    assert (masks.shape, status.tolist()) == ((2, 3, 4), [0, 0])
    masks, status = paste_masks(crops + 1, boxes, images, 0, (3, 4))
    assert (masks.shape, status.shape) == ((0, 3, 4), (0,))
    packed = paste_packed(crops, [])
    assert (packed.offsets.tolist(), packed.bits.shape, packed.boxes.shape) == ([0], (0,), (0, 4))


CROPS, BOXES, IMAGES = np.ones((2, 3, 3), np.float32), np.zeros((2, 4), np.int32), np.zeros(2, np.int32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CROPS.astype(np.float64), BOXES, IMAGES, 1, (3, 3)), "crops: got float64"),
        ((CROPS[:, :0], BOXES, IMAGES, 1, (3, 3)), r"crops: got shape \(2, 0, 3\), expected crops of at least one"),
        ((CROPS, BOXES.astype(np.int64), IMAGES, 1, (3, 3)), "boxes: got int64 .* expected int32"),
        ((CROPS, BOXES[:1], IMAGES, 1, (3, 3)), r"boxes: got int32 of shape \(1, 4\), expected int32 of shape \(2, 4"),
        ((CROPS, BOXES, IMAGES[:1], 1, (3, 3)), r"images: got int32 of shape \(1,\)"),
        ((CROPS, BOXES, IMAGES, -1, (3, 3)), "n: got -1"),
        ((CROPS, BOXES, IMAGES, 1, (3, 3), np.nan), "threshold: got nan"),
    ],
)
def test_bad_arguments(device_backend, arguments, message):
    with pytest.raises(ValueError, match=message):
        device_backend(device.paste_masks)(*arguments)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 3)], "shapes: got 1 of them, expected 2, one for each crop"),
        ([(3, 3), (1, -1)], r"shapes\[1\] cols: got -1"),
        ([(3, 3), (2**16, 2**15)], r"shapes\[1\]: got 65536 x 32768, expected less than 2\^31 pixels"),
    ],
)
def test_bad_windows(device_backend, shapes, message):
    with pytest.raises(ValueError, match=message):
        device_backend(device.paste_packed)(CROPS, shapes)
