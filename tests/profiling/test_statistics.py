import numpy as np
import pytest

from mammofast.profiling.statistics import percentile, summarize


@pytest.mark.parametrize("n", [1, 2, 3, 10, 99, 100, 101])
@pytest.mark.parametrize("percent", [0.1, 25, 50, 75, 90, 95, 99, 100])
def test_percentiles_are_nearest_rank(n, percent):
    samples = np.sort(np.random.default_rng(n).random(n))
    assert percentile(samples.tolist(), percent) == np.percentile(samples, percent, method="inverted_cdf")


@pytest.mark.parametrize("samples, percent", [([], 50), ([1.0], 0), ([1.0], 101)])
def test_percentiles_of_nothing_are_refused(samples, percent):
    with pytest.raises(ValueError, match="percentile: got"):
        percentile(samples, percent)


def test_a_summary_is_in_milliseconds():
    samples = [0.004, 0.001, 0.002, 0.003]
    summary = summarize(samples)
    assert summary["n"] == 4
    assert [summary[key] for key in ("min", "mean", "p50", "p90", "p99", "max")] == pytest.approx([1, 2.5, 2, 4, 4, 4])


def test_variation_is_the_standard_deviation_of_normal_samples_and_ignores_one_interruption():
    samples = np.random.default_rng(0).normal(1.0, 0.05, 20_000)
    assert summarize(samples.tolist())["variation_percent"] == pytest.approx(5, rel=0.03)
    assert summarize([*[1.0] * 50, 9.0])["variation_percent"] == 0
