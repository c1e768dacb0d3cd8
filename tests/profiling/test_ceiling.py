from pathlib import Path

import pytest

from mammofast.ops._native import kernels
from mammofast.profiling.ceiling import ceiling_gflops


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_ceiling_is_a_rate_or_nothing(precision):
    """Which of the two, the processor itself says."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    ceiling = ceiling_gflops(precision, 2)
    assert (ceiling is not None) == (precision == "fp32" or "avx512_bf16" in flags)
    assert ceiling is None or ceiling > 0


def test_a_precision_that_is_not_measured_has_no_ceiling():
    assert ceiling_gflops("int8", 1) is None
    with pytest.raises(ValueError, match="expected 'fp32' or 'bf16'"):
        kernels().peak_rate("int8", 0.1)
