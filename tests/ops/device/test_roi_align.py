"""RoI Align on the device: to the bit as on the CPU, whose test is against the reference and ONNX Runtime."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import device
from tests.ops.test_roi_align import TOLERANCE, random_boxes, random_case, random_features

HALF_SPACING = 2.0**-11  # of values in [1/2, 1], relative


def test_equals_the_cpu_to_the_bit(device_backend):
    rng = np.random.default_rng(0)
    roi_align = device_backend(device.roi_align)
    for _ in range(device_backend.cases(1000)):
        features, boxes, images, *grid = random_case(rng, 30)
        aligned, status = roi_align(features, boxes, images, *grid)
        assert status.tolist() == [0] * len(features)
        assert aligned.tobytes() == ops.roi_align(features, boxes, images, *grid).tobytes()


@pytest.mark.parametrize(("size", "channels"), [((1, 1), 300), ((60, 40), 3), ((2, 1025), 1)])
@pytest.mark.parametrize("ratio", [0, 2])
def test_many_channels_and_many_bins(device_backend, size, channels, ratio):
    rng = np.random.default_rng(1)
    features = rng.uniform(-1, 1, (2, channels, 9, 30)).astype(np.float32)
    boxes, images = random_boxes(rng, 3, (9, 30), 0.5, ratio == 0), np.array([1, 0, 1], np.int32)
    aligned, _ = device_backend(device.roi_align)(features, boxes, images, size, 0.5, ratio)
    assert aligned.tobytes() == ops.roi_align(features, boxes, images, size, 0.5, ratio).tobytes()


def test_half_precision_features_are_their_values(device_backend):
    rng = np.random.default_rng(2)
    features = random_features(rng)
    features.flat[0] = 6e-8  # subnormal in half precision
    halves = features.astype(np.float16)
    boxes, images = random_boxes(rng, 9, features.shape[2:], 1.0, False), np.zeros(9, np.int32)
    aligned, _ = device_backend(device.roi_align)(halves, boxes, images, (3, 2), 1.0)
    assert aligned.dtype == np.float32
    assert aligned.tobytes() == ops.roi_align(halves.astype(np.float32), boxes, images, (3, 2), 1.0).tobytes()
    full = ops.roi_align(features, boxes, images, (3, 2), 1.0)
    np.testing.assert_allclose(aligned, full, rtol=0, atol=HALF_SPACING + TOLERANCE)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_a_box_of_no_image_is_all_zeros(device_backend, kind):
    features, box = np.ones((2, 3, 8, 8), np.float32), np.array([1, 1, 5, 5], np.float32)
    images = np.array([-1, 0, 2, 1, np.iinfo(kind).max, np.iinfo(kind).min], kind)
    aligned, status = device_backend(device.roi_align)(features, np.tile(box, (6, 1)), images, (2, 2), 1.0)
    assert status.tolist() == [0, 0]
    assert np.array_equal(aligned.all(axis=(1, 2, 3)), [False, True, False, True, False, False])
    assert np.array_equal(aligned.any(axis=(1, 2, 3)), [False, True, False, True, False, False])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_wrong_with_an_image_is_said_of_that_image(device_backend, value, dtype):
    features = np.ones((6, 5, 20, 30), dtype)
    features[1, 4, 19, 29] = features[3, 0, 0, 0] = value  # off the box
    boxes = np.tile(np.array([4, 4, 9, 9], np.float32), (5, 1))
    boxes[2, 2], boxes[3, 3], boxes[4, 0] = 3, 1, value
    images = np.array([0, 1, 2, 3, 4], np.int32)
    aligned, status = device_backend(device.roi_align)(features, boxes, images, (2, 2), 1.0)
    bad, unsound = device.NOT_FINITE, device.UNSOUND
    assert status.tolist() == [0, bad, unsound, bad | unsound, unsound, 0]
    assert (aligned[:2] == 1).all()
    assert not aligned[2:].any()


def test_a_box_too_large_to_look_at_every_pixel(device_backend):
    boxes = np.array([[0, 0, 1e6, 4], [0, 0, 4, 1e6], [0, 0, 4, 4]], np.float32)
    features, images = np.ones((3, 1, 8, 8), np.float32), np.arange(3, dtype=np.int32)
    aligned, status = device_backend(device.roi_align)(features, boxes, images, (2, 2), 1.0, 0)
    assert status.tolist() == [device.UNSOUND, device.UNSOUND, 0]
    assert not aligned[:2].any()
    assert aligned[2].all()
    _, status = device_backend(device.roi_align)(features, boxes, images, (2, 2), 1.0, 1)
    assert not status.any()


def test_writes_where_it_is_told(device_backend):
    rng = np.random.default_rng(3)
    features = random_features(rng)
    boxes, images = random_boxes(rng, 4, features.shape[2:], 1.0, False), np.zeros(4, np.int32)
    roi_align = device_backend(device.roi_align)
    wanted, _ = roi_align(features, boxes, images, (2, 3), 1.0)
    out = np.full(wanted.shape, np.nan, np.float32), np.full(len(features), 9, np.int32)
    got, status = roi_align(features, boxes, images, (2, 3), 1.0, out=out)
    assert np.array_equal(got, wanted)
    assert not status.any()


@pytest.mark.parametrize(("n", "k"), [(0, 0), (2, 0), (0, 3)])
def test_nothing_in_nothing_out(device_backend, n, k):
    features, boxes, images = np.ones((n, 2, 4, 4), np.float32), np.zeros((k, 4), np.float32), np.zeros(k, np.int32)
    aligned, status = device_backend(device.roi_align)(features, boxes, images, (3, 2), 1.0)
    assert (aligned.shape, status.tolist()) == ((k, 2, 3, 2), [0] * n)
    assert not aligned.any()


MAP, BOX, INDEX = np.ones((2, 3, 4, 5), np.float32), np.array([[1, 2, 3, 4]], np.float32), np.zeros(1, np.int32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MAP.astype(np.float64), BOX, INDEX, (7, 7), 1.0), "features: got float64"),
        ((MAP[:, :0], BOX, INDEX, (7, 7), 1.0), r"features: got shape \(2, 0, 4, 5\)"),
        ((MAP, BOX.astype(np.float16), INDEX, (7, 7), 1.0), "boxes: got float16"),
        ((MAP, BOX, INDEX.astype(np.int16), (7, 7), 1.0), "batch_index: got int16 .* expected int32"),
        ((MAP, BOX, np.zeros(2, np.int64), (7, 7), 1.0), r"batch_index: got int64 of shape \(2,\)"),
        ((MAP, BOX, INDEX, (0, 7), 1.0), "output_size rows: got 0"),
        ((MAP, BOX, INDEX, (7, 7), 1.0, -1), "sampling_ratio: got -1"),
    ],
)
def test_bad_arguments(device_backend, arguments, message):
    with pytest.raises(ValueError, match=message):
        device_backend(device.roi_align)(*arguments)
