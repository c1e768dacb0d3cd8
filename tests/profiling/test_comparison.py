"""Verdicts on runs whose true difference is known."""

import numpy as np
import pytest
from scipy import stats

from mammofast.profiling.comparison import (
    FASTER,
    SAME,
    SLOWER,
    UNSURE,
    compare,
    compare_pairs,
    signed_rank_chance,
)
from mammofast.profiling.record import Case, Record


def run(samples):
    return Record("ops", "", {}, (Case("nms", "", {"mammofast": list(samples)}, "mammofast"),))


def times(rng, factor=1.0, noise=0.05, n=200):
    """A run on a machine that is up to 4 % faster or slower than usual that day."""
    return factor * rng.uniform(0.96, 1.04) * np.exp(rng.normal(0, noise, n))


def test_a_quarter_slower_is_found_and_the_same_code_is_left_alone():
    rng = np.random.default_rng(1)
    for _ in range(200):
        assert compare(run(times(rng)), run(times(rng, 1.25)))[0].verdict == SLOWER
        assert compare(run(times(rng, 1.25)), run(times(rng)))[0].verdict == FASTER
        assert compare(run(times(rng)), run(times(rng)))[0].verdict == SAME


def test_a_run_whose_speed_drifted_says_nothing():
    drifting = np.linspace(1, 2, 200)
    verdict = compare(run(drifting), run(drifting[::-1]))[0]
    assert verdict.verdict == UNSURE
    assert compare(run([1.0]), run([2.0]))[0].verdict == UNSURE


def test_cases_that_one_run_lacks_are_not_judged():
    other = Record("ops", "", {}, (Case("fuse", "", {"mammofast": [1.0, 1.0]}, "mammofast"),))
    assert compare(run([1.0, 1.0]), other) == []


def test_the_ratio_is_of_medians_and_lies_within_its_bounds():
    verdict = compare(run([1, 1, 1, 1, 9.0]), run([3, 3, 3, 3, 1.0]))[0]
    assert verdict.ratio == 3
    assert verdict.low < 3 < verdict.high
    assert "nms: " in str(verdict)
    assert "3.00 × the old time" in str(verdict)


def test_pairs_find_a_tenth_and_leave_the_same_code_alone():
    rng = np.random.default_rng(2)
    drift = lambda: rng.uniform(0.8, 1.25)  # noqa: E731 - of the machine, common to a pair
    wolf = 0
    for _ in range(200):
        slower = [(d := drift(), d * 1.1 * np.exp(rng.normal(0, 0.02))) for _ in range(10)]
        assert compare_pairs("nms", slower).verdict == SLOWER
        assert compare_pairs("nms", [(b, a) for a, b in slower]).verdict == FASTER
        same = [(d := drift(), d * np.exp(rng.normal(0, 0.02))) for _ in range(10)]
        wolf += compare_pairs("nms", same).verdict in (SLOWER, FASTER)
    assert wolf == 0


def test_few_pairs_cannot_rule_out_chance():
    assert compare_pairs("nms", [(1.0, 1.5)] * 7).verdict == UNSURE
    assert compare_pairs("nms", [(1.0, 1.5)] * 8).verdict == SLOWER
    assert compare_pairs("nms", [(1.0, 1.02)] * 20).verdict == SAME


@pytest.mark.parametrize("n", range(1, 16))
def test_chance_against_scipy(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        differences = rng.normal(0.5, 1, n)
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert signed_rank_chance(differences.tolist()) == pytest.approx(expected)


def test_chance_with_ties_and_zeros():
    # Ranks 1.5, 1.5, 3: of 8 sign patterns the sums 6 and 0 are the extremes.
    assert signed_rank_chance([1.0, 1.0, 2.0, 0.0]) == 0.25
    assert signed_rank_chance([0.0]) == 1.0
    assert signed_rank_chance([]) == 1.0
