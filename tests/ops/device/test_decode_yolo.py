"""YOLOv3's decoding of a batch on the device: each image as the CPU's kernel decodes it alone, to the bit."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import device
from tests.ops.test_decode_yolo import ANCHORS, STRIDES


def batch(rng, n, rows, cols, dtype=np.float32):
    """Logits of n images; fewer and fewer cells reach a score."""
    heads = [rng.normal(0, 2, (n, 18, rows // s, cols // s)) for s in STRIDES]
    for head in heads:
        head[:, 4::6] -= np.arange(n)[:, None, None, None]
    return [head.astype(dtype) for head in heads]


def padded(heads, threshold, capacity, frames):
    """The results that the loop gives."""
    n = len(heads[0])
    boxes, scores = np.zeros((n, capacity, 4), np.float32), np.zeros((n, capacity), np.float32)
    counts, status = np.zeros(n, np.int32), np.zeros(n, np.int32)
    for image in range(n):
        frame = None if frames is None else tuple(frames[image].tolist())
        found = ops.decode_yolo([head[image] for head in heads], STRIDES, ANCHORS, threshold, frame)
        counts[image] = min(len(found[0]), capacity)
        status[image] = device.OVERFLOW if len(found[0]) > capacity else 0
        boxes[image, : counts[image]], scores[image, : counts[image]] = (part[:capacity] for part in found)
    return boxes, scores, counts, status


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("n", "rows", "cols", "threshold"), [(1, 64, 32, 0.3), (5, 160, 96, 0.25), (3, 96, 320, 0.0)])
def test_equals_the_cpu_image_by_image(device_backend, dtype, n, rows, cols, threshold):
    rng = np.random.default_rng(n)
    heads, frames = batch(rng, n, rows, cols, dtype), rng.integers(0, 5000, (n, 2)).astype(np.int32)
    capacity = 3 * sum(rows // s * (cols // s) for s in STRIDES)
    for shown in (None, frames):
        found = device_backend(device.decode_yolo)(heads, STRIDES, ANCHORS, threshold, capacity, shown)
        for got, expected in zip(found, padded(heads, threshold, capacity, shown), strict=True):
            assert got.dtype == expected.dtype
            assert np.array_equal(got, expected)


def test_more_cells_than_one_look_at_the_marks_before_takes(device_backend):
    heads = batch(np.random.default_rng(6), 2, 640, 480)
    found = device_backend(device.decode_yolo)(heads, STRIDES, ANCHORS, 0.9, 300)
    expected = padded(heads, 0.9, 300, None)
    assert expected[2].min() > 10
    for got, wanted in zip(found, expected, strict=True):
        assert np.array_equal(got, wanted)


def test_more_images_than_are_taken_at_once(device_backend):
    heads = [np.random.default_rng(7).normal(0, 2, (2**10 + 2, 18, 1, 1)).astype(np.float32)]
    boxes, scores, counts, status = device_backend(device.decode_yolo)(heads, (32,), ANCHORS[:3], 0.4, 3)
    assert not status.any()
    for image in (0, 1, 2**10 - 1, 2**10, 2**10 + 1):
        expected = ops.decode_yolo([heads[0][image]], (32,), ANCHORS[:3], 0.4)
        assert np.array_equal(boxes[image, : counts[image]], expected[0])
        assert np.array_equal(scores[image, : counts[image]], expected[1])


@pytest.mark.parametrize("capacity", [0, 1, 7, 100])
def test_more_boxes_than_there_is_room_for(device_backend, capacity):
    heads = batch(np.random.default_rng(1), 6, 96, 64)
    found = device_backend(device.decode_yolo)(heads, STRIDES, ANCHORS, 0.2, capacity)
    expected = padded(heads, 0.2, capacity, None)
    assert device.OVERFLOW in expected[3]
    for got, wanted in zip(found, expected, strict=True):
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_image_that_is_not_finite_says_so_and_leaves_the_others_alone(device_backend, dtype):
    heads = batch(np.random.default_rng(2), 7, 64, 64, dtype)
    frames = np.full((7, 2), 100, np.int32)
    frames[5, 0] = frames[6, 1] = -1
    for image, (head, channel, value) in enumerate([(0, 0, np.nan), (1, 9, np.inf), (2, 17, -np.inf)]):
        heads[head][image, channel, -1, -1] = value
    boxes, scores, counts, status = device_backend(device.decode_yolo)(heads, STRIDES, ANCHORS, 0.1, 300, frames)
    assert status.tolist() == [device.NOT_FINITE] * 3 + [0] * 2 + [device.UNSOUND] * 2
    bad = [0, 1, 2, 5, 6]
    assert not counts[bad].any()
    assert not boxes[bad].any()
    assert not scores[bad].any()
    expected = padded([head[3:5] for head in heads], 0.1, 300, frames[3:5])
    for got, wanted in zip((boxes, scores, counts), expected[:3], strict=True):
        assert wanted.any()
        assert np.array_equal(got[3:5], wanted)


def test_goes_on_into_suppression_without_a_look_at_the_host(device_backend):
    heads = batch(np.random.default_rng(3), 3, 64, 96)

    def detect(*heads, stream=0):
        boxes, scores, counts, _ = device.decode_yolo(heads, STRIDES, ANCHORS, 0.2, 200, stream=stream)
        return (boxes, *device.nms(boxes, scores, counts, 0.45, stream=stream))

    detect.__module__ = device.nms.__module__  # nothing in it waits
    boxes, indices, counts, status = device_backend(detect)(*heads)
    assert not status.any()
    for image in range(3):
        expected, scores = ops.decode_yolo([head[image] for head in heads], STRIDES, ANCHORS, 0.2)
        kept = ops.nms(expected, scores, 0.45)
        assert 0 < len(kept) < len(expected)
        assert np.array_equal(boxes[image][indices[image, : counts[image]]], expected[kept])


def test_writes_where_it_is_told(device_backend):
    heads = batch(np.random.default_rng(4), 2, 32, 32)
    decode_yolo = device_backend(device.decode_yolo)
    plain = decode_yolo(heads, STRIDES, ANCHORS, 0.2, 9)
    told = decode_yolo(heads, STRIDES, ANCHORS, 0.2, 9, out=tuple(np.full_like(part, 5) for part in plain))
    for got, expected in zip(told, plain, strict=True):
        assert np.array_equal(got, expected)


def test_no_images(device_backend):
    heads = [np.zeros((0, 18, 64 // s, 32 // s), np.float32) for s in STRIDES]
    found = device_backend(device.decode_yolo)(heads, STRIDES, ANCHORS, 0.2, 9)
    assert [part.shape for part in found] == [(0, 9, 4), (0, 9), (0,), (0,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity": -1}, "capacity: got -1, expected an integer"),
        (
            {"frames": np.zeros((3, 2), np.int32)},
            r"frames: got int32 of shape \(3, 2\), expected int32 of shape \(2, 2\)",
        ),
        (
            {"heads": [np.zeros((n, 18, 2, 3), np.float32) for n in (2, 3)]},
            r"heads\[1\]: got .*\(3, 18, 2, 3\), expected",
        ),
        ({"strides": (8, 16)}, r"heads\[1\]: got cells for an input of 32 x 48 pixels, expected 16 x 24"),
    ],
)
def test_bad_arguments(device_backend, change, message):
    heads = [np.zeros((2, 18, 2, 3), np.float32)] * 2
    good = {"heads": heads, "strides": (8, 8), "anchors": ANCHORS[:6], "threshold": 0.5, "capacity": 4}
    with pytest.raises(ValueError, match=message):
        device_backend(device.decode_yolo)(**{**good, **change})
