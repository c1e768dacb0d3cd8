import numpy as np
import pytest

from mammofast.machine import cores
from mammofast.profiling.doubts import doubts, drift_of, transfer_bound

STEADY = [0.01] * 100


def test_a_steady_run_is_not_doubted():
    assert doubts(STEADY, 1) == ()
    assert doubts(STEADY, 1, threads=cores()) == ()


@pytest.mark.parametrize(
    "samples, words",
    [
        ([0.1] * 9, "too short a run: 9 samples"),
        ([1e-5] * 1000, "0.01 s"),
        (np.random.default_rng(0).normal(0.01, 4e-4, 500).tolist(), "vary by"),
        (np.linspace(0.01, 0.0108, 100).tolist(), "slower by 6 %"),
        (np.linspace(0.0108, 0.01, 100).tolist(), "faster by 6 %"),
    ],
)
def test_each_doubt_has_its_words(samples, words):
    assert any(words in doubt for doubt in doubts(samples, 0))


def test_calls_within_a_sample_count_as_time():
    assert doubts([1e-5] * 1000, 1.0) == ()


def test_more_threads_than_cores():
    (doubt,) = doubts(STEADY, 1, threads=cores() + 1)
    assert f"on {cores()} cores" in doubt


def test_a_run_that_is_mostly_the_way_to_the_card_is_transfer_bound():
    assert transfer_bound({"host_to_device": 2, "compute": 6, "device_to_host": 2}) == ()
    (doubt,) = transfer_bound({"host_to_device": 3, "compute": 4, "device_to_host": 3})
    assert doubt.startswith("transfer-bound: 60%")


def test_drift_is_of_the_last_fifth():
    assert drift_of([1.0] * 5 + [2.0] * 5) == 1.0
    assert drift_of([1.0] * 9) is None
    assert drift_of([1.0] * 10) == 0
