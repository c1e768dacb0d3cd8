"""Pyramid levels against the NumPy reference, a plain loop, and cv2's area resize."""

from fractions import Fraction
from math import floor

import cv2
import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import reference
from mammofast.records import level_shape

INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]


def random_image(rng, dtype, size=24):
    shape = rng.integers(1, size, 2)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    info = np.iinfo(dtype)
    if rng.random() < 0.3:  # a few values: sums that lie on halves, and the extremes
        return rng.choice([info.min, info.max, info.max - 1, 0, 1], shape).astype(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_equal_the_reference(dtype):
    rng = np.random.default_rng(np.dtype(dtype).num)
    for _ in range(1600):
        image = random_image(rng, dtype)
        levels = rng.choice(7, int(rng.integers(0, 5))).tolist()
        got, expected = ops.pool(image, levels), reference.pool(image, levels)
        assert len(got) == len(expected)
        for a, b, level in zip(got, expected, levels, strict=True):
            assert a.dtype == image.dtype
            assert a.shape == level_shape(image.shape, level)
            assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_equal_the_reference(dtype):
    rng = np.random.default_rng(1)
    for _ in range(400):
        image = random_image(rng, dtype)
        for a, b in zip(ops.pool(image, [3, 0, 1, 6]), reference.pool(image, [3, 0, 1, 6]), strict=True):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=2e-7, atol=1e-10)


def test_equals_a_plain_loop():
    rng = np.random.default_rng(2)
    image = rng.integers(-300, 300, (7, 10)).astype(np.int16)
    (pooled,) = ops.pool(image, [2])
    for y in range(2):
        for x in range(3):
            square = image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].ravel().tolist()
            assert pooled[y, x] == floor(Fraction(sum(square), len(square)) + Fraction(1, 2))


def test_whole_squares_equal_cv2():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 65536, (256, 192)).astype(np.uint16)
    for level, pooled in zip([1, 2, 4], ops.pool(image, [1, 2, 4]), strict=True):
        shape = level_shape(image.shape, level)
        area = cv2.resize(image.astype(np.float64), shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.array_equal(pooled, np.floor(area + 0.5).astype(np.uint16))


@pytest.mark.parametrize(("values", "mean"), [((0, 1), 1), ((-1, 0), 0), ((-2, -1), -1), ((1, 2), 2), ((-3, 0), -1)])
def test_halves_are_rounded_up_on_either_side_of_zero(values, mean):
    whole = np.array([values, values], np.int16)
    partial = whole[:1]
    assert ops.pool(whole, [1])[0].tolist() == ops.pool(partial, [1])[0].tolist() == [[mean]]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_extreme_values_at_high_levels(dtype):
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        image = np.full((520, 1030), value, dtype)
        for level in (7, 8, 9, 15):  # one by one: the highest level asked decides how wide the sums are
            assert (ops.pool(image, [level])[0] == value).all()


def test_levels_come_in_the_order_asked_and_do_not_share_memory():
    image = np.arange(100, dtype=np.uint16).reshape(10, 10)
    first, second, again, whole = ops.pool(image, [2, 1, 2, 0])
    assert [first.shape, second.shape, again.shape, whole.shape] == [(3, 3), (5, 5), (3, 3), (10, 10)]
    assert np.array_equal(first, again)
    assert np.array_equal(whole, image)
    first[:] = 0
    whole[:] = 0
    assert again.any()
    assert image.any()


@pytest.mark.parametrize("view", [np.s_[::2, ::3], np.s_[::-1], np.s_[:, ::-1], np.s_[3:, 5:]])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", ">i4"])
def test_views_and_byte_orders(view, dtype):
    image = np.arange(600).reshape(20, 30).astype(dtype)[view]
    (pooled,) = ops.pool(image, [1])
    (expected,) = reference.pool(np.ascontiguousarray(image).astype(image.dtype.newbyteorder("=")), [1])
    assert np.array_equal(pooled, expected)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_empty_in_empty_out(shape, dtype):
    assert [a.shape for a in ops.pool(np.zeros(shape, dtype), [0, 1])] == [shape, level_shape(shape, 1)]
    assert ops.pool(np.zeros((3, 3), dtype), []) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("levels", [[0], [1], [1, 3]])
@pytest.mark.parametrize("place", [(0, 0), (4, 4), (2, 1)])
def test_not_finite(bad, levels, place):
    image = np.zeros((5, 5), np.float32)
    image[place] = bad
    with pytest.raises(ValueError, match="image: got NaN or Inf, expected finite values"):
        ops.pool(image, levels)


@pytest.mark.parametrize(
    ("image", "levels", "message"),
    [
        (np.zeros((3, 3), np.int64), [1], r"image: got int64 of shape \(3, 3\), expected a 2-D array of one of uint8"),
        (np.zeros((3, 3), bool), [1], "image: got bool"),
        (np.zeros((3, 3), np.float16), [1], "image: got float16"),
        (np.zeros(3, np.uint8), [1], r"image: got uint8 of shape \(3,\)"),
        (np.zeros((3, 3, 3), np.uint8), [1], r"image: got uint8 of shape \(3, 3, 3\)"),
        ([[1, 2]], [1], "image: got list"),
        (np.zeros((3, 3), np.uint8), [-1], r"levels: got -1, expected an integer in 0\.\.15"),
        (np.zeros((3, 3), np.uint8), [16], "levels: got 16"),
        (np.zeros((3, 3), np.uint8), [1.0], "levels: got 1.0"),
    ],
)
def test_bad_arguments(image, levels, message):
    with pytest.raises(ValueError, match=message):
        ops.pool(image, levels)
