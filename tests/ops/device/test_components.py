"""What is told of components, against NumPy on each of them."""

import numpy as np
import pytest

from mammofast.ops import device
from tests.ops.test_label_mask import SHAPES, by_skimage

ONE = 2**30


def sums_by_numpy(labels, probabilities, region, capacity):
    """Each pixel's map pixel by the place of its centre, in exact fractions."""
    rows, cols = (
        np.clip((2 * (np.arange(length) - begin) + 1) * size // (2 * (end - begin)), 0, size - 1)
        for length, begin, end, size in zip(
            labels.shape, (region[1], region[0]), (region[3], region[2]), probabilities.shape, strict=True
        )
    )
    values = np.floor(probabilities.astype(np.float64)[np.ix_(rows, cols)] * ONE + 0.5).astype(np.int64)
    return np.array([values[labels == i + 1].sum() for i in range(capacity)], np.int64)


@pytest.mark.parametrize("name", ["spiral", "comb", "nested", "chess board", "all", "corners"])
def test_sums_equal_numpys(device_backend, name):
    found = by_skimage(SHAPES[name])
    rng = np.random.default_rng(1)
    rows, cols = found.labels.shape
    for region in [(0, 0, cols, rows), (-3, 1, cols + 40, rows + 1), (10, 20, 30, 21)]:
        probabilities = rng.uniform(-0.01, 1.01, rng.integers(1, 40, 2)).astype(np.float32)
        for capacity in (len(found.areas), len(found.areas) + 5, 1):
            got = device_backend(device.component_sums)(found.labels, probabilities, region, capacity)
            assert got.dtype == np.int64
            assert got.tolist() == sums_by_numpy(found.labels, probabilities, region, capacity).tolist()


def test_sums_are_exact_where_floats_would_lose(device_backend):
    labels = np.ones((64, 64), np.int32)
    probabilities = np.full((64, 64), 2.0**-30, np.float32)
    probabilities[0, 0] = 1
    (got,) = device_backend(device.component_sums)(labels, probabilities, (0, 0, 64, 64), 1)
    assert got == ONE + 64 * 64 - 1


@pytest.fixture
def bits_of(device_backend):
    """Call the op with labels on the device and lists on the host."""

    def call(labels, numbers, boxes):
        def op(array):
            return device.component_bits(array, numbers, boxes)

        return device_backend(op)(labels)

    return call


@pytest.mark.parametrize("name", ["spiral", "comb", "nested", "chess board", "all", "corners", "staircase"])
def test_bits_are_those_of_each_component(bits_of, name):
    found = by_skimage(SHAPES[name])
    chosen = np.random.default_rng(2).permutation(len(found.areas))[:40].astype(np.int32)
    boxes = found.boxes[chosen]
    bits, offsets = bits_of(found.labels, chosen, boxes)
    assert len(bits) == offsets[-1]
    for i, (number, (x_min, y_min, x_max, y_max)) in enumerate(zip(chosen, boxes, strict=True)):
        packed = bits[offsets[i] : offsets[i + 1]].reshape(y_max - y_min, -1)
        mask = found.labels[y_min:y_max, x_min:x_max] == number + 1
        assert packed.tobytes() == np.packbits(mask, axis=1).tobytes()


def test_no_components(bits_of, device_backend):
    bits, offsets = bits_of(np.zeros((3, 4), np.int32), np.zeros(0, np.int32), np.zeros((0, 4), np.int32))
    assert (bits.shape, offsets.tolist()) == ((0,), [0])
    probabilities = np.zeros((1, 1), np.float32)
    assert device_backend(device.component_sums)(np.zeros((3, 4), np.int32), probabilities, (0, 0, 1, 1), 0).size == 0
    got = device_backend(device.component_sums)(np.zeros((0, 4), np.int32), probabilities, (0, 0, 1, 1), 2)
    assert got.tolist() == [0, 0]


@pytest.mark.parametrize("box", [(-1, 0, 1, 1), (0, 0, 5, 1), (0, 0, 1, 4), (2, 0, 1, 1), (0, -1, 1, 1), (0, 2, 1, 1)])
def test_boxes_that_leave_the_image(bits_of, box):
    with pytest.raises(ValueError, match=r"boxes\[0\]: got \(.*\), expected one inside int32 of shape \(3, 4\)"):
        bits_of(np.zeros((3, 4), np.int32), np.zeros(1, np.int32), np.array([box], np.int32))


def test_bad_arguments(device_backend, bits_of):
    labels, values = np.zeros((3, 4), np.int32), np.zeros((1, 1), np.float32)
    with pytest.raises(ValueError, match=r"region: got .* expected x_min < x_max"):
        device_backend(device.component_sums)(labels, values, (0, 0, 0, 1), 1)
    with pytest.raises(ValueError, match="capacity: got -1"):
        device_backend(device.component_sums)(labels, values, (0, 0, 1, 1), -1)
    with pytest.raises(ValueError, match=r"probabilities: got float32 of shape \(0, 1\), expected at least one"):
        device_backend(device.component_sums)(labels, values[:0].copy(), (0, 0, 1, 1), 1)
    with pytest.raises(ValueError, match=r"boxes: got \(1, 3\), expected \(1, 4\)"):
        bits_of(labels, np.zeros(1, np.int32), np.zeros((1, 3), np.int32))
