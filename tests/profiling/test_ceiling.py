import pytest

from mammofast.ops._native import kernels
from mammofast.profiling.ceiling import ceiling_gflops


def test_the_ceiling_is_that_of_a_vector_unit():
    """Any core of this century does a thousand million operations a second."""
    assert ceiling_gflops("fp32", 1) > 1


def test_a_precision_that_is_not_measured_has_no_ceiling():
    assert ceiling_gflops("int8", 1) is None
    with pytest.raises(ValueError, match="expected 'fp32' or 'bf16'"):
        kernels().peak_rate("int8", 0.1)


def test_bf16_is_faster_where_there_is_an_instruction_for_it():
    bf16 = ceiling_gflops("bf16", 1)
    if bf16 is None:
        pytest.skip("this core has no bf16 arithmetic")
    assert bf16 > 1.3 * ceiling_gflops("fp32", 1)
