import numpy as np
import pytest

from mammofast.methods.contrast import Contrast
from mammofast.records import GreyTable


def expected_window(shown, low, high):
    """NumPy's inverted_cdf is the percentile that takes a value that is there."""
    shown = np.sort(shown.ravel())
    rest = shown[shown > shown[0]]
    rest = rest if rest.size else shown
    return tuple(float(v) for v in np.percentile(rest, [low, high], method="inverted_cdf"))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("seed", range(5))
def test_window_is_the_percentiles_of_what_is_not_background(dtype, seed):
    rng = np.random.default_rng(seed)
    pixels = np.where(rng.random((40, 60)) < 0.5, 0, rng.normal(60, 15, (40, 60))).astype(dtype)
    assert Contrast(1, 99.5).window(pixels, None) == expected_window(pixels.astype(np.float64), 1, 99.5)


@pytest.mark.parametrize("seed", range(5))
def test_table_is_applied_before_values_are_ranked(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(-20, 300, (50, 50)).astype(np.int16)
    values = rng.permutation(np.repeat(np.linspace(0, 1, 64, dtype=np.float32), 4))  # neither monotone nor one to one
    table = GreyTable(first=0, values=values)
    shown = values[np.clip(pixels, 0, 255)]
    assert Contrast(2, 98).window(pixels, table) == expected_window(shown, 2, 98)


def test_high_is_above_low_even_where_all_values_are_equal():
    assert Contrast(1, 99).window(np.full((4, 4), 7, np.uint16), None) == (7.0, 8.0)


@pytest.mark.parametrize(("low", "high"), [(-1, 50), (50, 50), (60, 50), (1, 101), (float("nan"), 50)])
def test_percentiles_out_of_order_are_refused(low, high):
    with pytest.raises(ValueError, match="expected 0 <= low < high <= 100"):
        Contrast(low, high)
