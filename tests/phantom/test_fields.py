"""Fields: the spectrum they claim, and the enlargement against OpenCV."""

import itertools

import cv2
import numpy as np
import pytest

from mammofast.phantom.fields import enlarge, enlarge_and_average, power_law, smooth_step


def radial_slope(field, spacing, low, high):
    """Exponent of the power spectrum between two frequencies (1/mm), by a straight line through log-log bins."""
    window = np.outer(np.hanning(field.shape[0]), np.hanning(field.shape[1]))
    power = np.abs(np.fft.fft2(field * window)) ** 2
    frequency = np.hypot(
        np.fft.fftfreq(field.shape[0], spacing)[:, None], np.fft.fftfreq(field.shape[1], spacing)[None, :]
    )
    edges = np.geomspace(low, high, 12)
    bins = [power[(frequency >= a) & (frequency < b)].mean() for a, b in itertools.pairwise(edges)]
    return np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(bins), 1)[0]


@pytest.mark.parametrize("beta", [2.0, 3.0, 5.0])
def test_power_falls_with_the_exponent_asked_for(beta):
    field = power_law((512, 400), 0.28, np.random.default_rng(0), outer=200.0, beta=beta)
    assert radial_slope(field, 0.28, 0.06, 0.8) == pytest.approx(-beta, abs=0.15)


def test_power_law_is_normalized_float32_and_seeded():
    field = power_law((96, 77), 0.3, np.random.default_rng(5), outer=10.0)
    assert field.dtype == np.float32
    assert field.shape == (96, 77)
    assert abs(field.mean()) < 0.3
    assert 0.7 < field.std() < 1.3
    np.testing.assert_array_equal(field, power_law((96, 77), 0.3, np.random.default_rng(5), outer=10.0))


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_enlarge_is_opencvs_bilinear(factor):
    image = np.random.default_rng(factor).random((17, 23), np.float32)
    expected = cv2.resize(image, (23 * factor, 17 * factor), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(enlarge(image, factor, expected.shape), expected, atol=1e-6)
    cut = enlarge(image, factor, (17 * factor - 1, 23 * factor - factor + 1))
    np.testing.assert_allclose(cut, expected[: 17 * factor - 1, : 23 * factor - factor + 1], atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_enlarge_and_average_is_both_in_one(factor):
    image = np.random.default_rng(factor).random((13, 9), np.float32)
    enlarged = enlarge(image, factor, (13 * factor, 9 * factor))
    expected = enlarged.reshape(13, factor, 9, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(enlarge_and_average(image, factor), expected, atol=1e-6)


def test_smooth_step_ends():
    np.testing.assert_array_equal(smooth_step(np.array([-1, 0, 0.5, 1, 9], np.float32)), [0, 0, 0.5, 1, 1])
