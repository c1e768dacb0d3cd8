import numpy as np
import pytest

from mammofast.methods.contrast import Contrast, MinMax
from mammofast.methods.scaling import Scaling
from mammofast.records import GreyTable

GREY = np.random.default_rng(0).random((5, 7)).astype(np.float32)


def test_mean_is_taken_off_before_std_divides_in_every_channel():
    rows = Scaling(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 0.5), channels=3).rows(GREY)
    assert rows.dtype == np.float32
    expected = [(GREY - 0.1) / 1.0, (GREY - 0.2) / 2.0, (GREY - 0.3) / 0.5]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(Scaling(mean=0.5, std=0.25, channels=2).rows(GREY), [(GREY - 0.5) / 0.25] * 2, atol=1e-6)
    np.testing.assert_array_equal(Scaling().rows(GREY), GREY[None])


def test_contrast_is_read_from_the_manifest():
    assert Scaling().contrast == Scaling(contrast="minmax").contrast == MinMax()
    assert Scaling(contrast={"low_percentile": 1, "high_percentile": 99}).contrast == Contrast(1, 99)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_minmax_is_of_presentation_values(dtype):
    pixels = np.random.default_rng(1).integers(3, 120, (20, 20)).astype(dtype)
    assert MinMax().window(pixels, None) == (pixels.min(), pixels.max())
    if dtype != "float32":
        table = GreyTable(first=0, values=np.linspace(9, -4, 128, dtype=np.float32))
        shown = table.apply(pixels)
        assert MinMax().window(pixels, table) == (shown.min(), shown.max())
    assert MinMax().window(np.full((3, 3), 7, dtype), None) == (7, 8)
