"""Intervals, tests and curves against SciPy and against all permutations."""

from collections import Counter
from math import erfc, sqrt

import numpy as np
import pytest
from scipy import stats

from mammofast.evaluation import bootstrap_interval, cumulative, wilcoxon
from mammofast.evaluation.statistics import ratio_interval, sums_interval
from tests.evaluation.by_hand import exact_wilcoxon


def normal_wilcoxon(a, b):
    """Return the two-sided p-value by the normal approximation, corrected for ties."""
    d = np.array([x - y for x, y in zip(a, b, strict=True) if x != y])
    n, ranks = len(d), np.array([sum(abs(d) < abs(x)) + (sum(abs(d) == abs(x)) + 1) / 2 for x in d])
    ties = sum(t**3 - t for t in Counter(ranks.tolist()).values())
    z = (ranks[d > 0].sum() - n * (n + 1) / 4) / sqrt(n * (n + 1) * (2 * n + 1) / 24 - ties / 48)
    return erfc(abs(z) / sqrt(2))


def test_wilcoxon_is_the_share_of_all_signs():
    """A thousand cases; whole numbers, of every second one, tie and agree."""
    rng = np.random.default_rng(0)
    for case in range(1000):
        n = rng.integers(1, 10)
        a, b = rng.normal(size=n), rng.normal(0.5, size=n)
        if case % 2:
            a, b = np.rint(3 * a), np.rint(3 * b)
        assert wilcoxon(a, b) == pytest.approx(exact_wilcoxon(a, b), abs=1e-6)


def test_wilcoxon_of_many_pairs():
    rng = np.random.default_rng(1)
    for _ in range(100):
        a, b = rng.integers(0, 6, size=(2, 90))
        assert wilcoxon(a, b) == pytest.approx(normal_wilcoxon(a, b), abs=1e-6)


def test_pairs_without_a_difference_are_left_out():
    assert wilcoxon([1, 2, 3], [1, 2, 3]) == 1.0
    a = np.array([1.5, 2, 3, 4, 5, 6])
    b = a - [1, 0.9, -0.8, 0.7, 0.6, 0.5]
    same = np.ones(20)
    assert wilcoxon(np.concatenate([a, same]), np.concatenate([b, same])) == pytest.approx(exact_wilcoxon(a, b))


def test_a_thousand_intervals_are_those_of_drawing_by_hand():
    """Each draw taken apart: all values of each group drawn are listed, as often as it was drawn."""
    rng = np.random.default_rng(2)
    for case in range(1000):
        n = int(rng.integers(2, 9))
        groups = rng.integers(0, 4, size=n).tolist()
        parts, wholes = rng.integers(0, 4, size=n), rng.integers(0, 3, size=n)
        names = sorted(set(groups))
        if sum(any(w for g, w in zip(groups, wholes, strict=True) if g == name) for name in names) < 2:
            assert ratio_interval(parts, wholes, groups, samples=20, seed=case) is None
            continue
        drawn = []
        for counts in np.random.default_rng(case).multinomial(len(names), [1 / len(names)] * len(names), size=20):
            listed = [i for i, g in enumerate(groups) for _ in range(counts[names.index(g)])]
            whole = sum(int(wholes[i]) for i in listed)
            if whole:
                drawn.append(sum(int(parts[i]) for i in listed) / whole)
        expected = np.percentile(drawn, [2.5, 97.5])
        assert ratio_interval(parts, wholes, groups, samples=20, seed=case) == pytest.approx(tuple(expected), abs=1e-6)
        both = sums_interval(np.stack([parts, wholes], 1), groups, lambda s: s[:, 0] / s[:, 1], samples=20, seed=case)
        assert both == pytest.approx(tuple(expected), abs=1e-6)


def test_a_thousand_bootstraps_are_those_of_drawing_by_hand():
    rng = np.random.default_rng(3)
    for case in range(1000):
        n = int(rng.integers(2, 8))
        groups = [*rng.integers(0, 3, size=n - 1).tolist(), 9]
        values = rng.integers(0, 5, size=n).astype(float)
        names = sorted(set(map(str, groups)))
        dice = np.random.default_rng(case)
        means = []
        for _ in range(15):
            listed = [
                v for name in dice.integers(len(names), size=len(names))
                for v, g in zip(values, groups, strict=True) if str(g) == names[name]
            ]  # fmt: skip
            means.append(sum(listed) / len(listed))
        expected = (np.percentile(means, 2.5), np.percentile(means, 97.5))
        if len(names) > 1:
            assert bootstrap_interval(values, groups, samples=15, seed=case) == pytest.approx(expected, abs=1e-6)


def test_an_interval_is_scipys_where_every_image_is_by_itself():
    values = np.random.default_rng(3).gamma(2, size=60)
    low, high = bootstrap_interval(values, level=0.5, samples=20_000)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        confidence_level=0.5,
        method="percentile",
        rng=np.random.default_rng(8),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.high, abs=0.03 * width)


def test_images_of_a_patient_come_together():
    """Four equal images of each of ten patients say no more than one of each: the interval is twice as wide."""
    values = np.random.default_rng(1).normal(size=10)
    once = bootstrap_interval(values)
    assert bootstrap_interval(np.repeat(values, 4), np.repeat(np.arange(10), 4)) == pytest.approx(once, abs=1e-12)
    low, high = bootstrap_interval(np.repeat(values, 4))
    assert high - low < 0.6 * (once[1] - once[0])


def test_a_seed_decides_and_a_measure_is_the_callers():
    values = np.arange(20.0)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4) != bootstrap_interval(values)
    low, high = bootstrap_interval(values, measure=lambda drawn: float(np.max(drawn)))
    assert 15 < low <= high == 19


def test_cumulative():
    values, part = cumulative([3, 1, 1, 2])
    np.testing.assert_array_equal(values, [1, 2, 3])
    np.testing.assert_array_equal(part, [0.5, 0.75, 1])
    rng = np.random.default_rng(0)
    for _ in range(1000):
        drawn = rng.integers(0, 9, size=rng.integers(1, 50))
        theirs = stats.ecdf(drawn).cdf
        np.testing.assert_array_equal(cumulative(drawn)[0], theirs.quantiles)
        np.testing.assert_allclose(cumulative(drawn)[1], theirs.probabilities, atol=1e-6)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: wilcoxon([1, 2], [1]), "b: got 1 values, expected 2"),
        (lambda: wilcoxon([1, np.nan], [1, 2]), "a: got shape"),
        (lambda: cumulative([[1]]), r"values: got shape \(1, 1\)"),
        (lambda: bootstrap_interval([1.0]), "groups: got 1 of them"),
        (lambda: bootstrap_interval([]), "groups: got 0 of them"),
        (lambda: bootstrap_interval([1, 2, 3], "ab"), "groups: got 2, expected one for each of 3"),
    ],
)
def test_misuse(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_ratio_of_sums_is_scipys_over_pairs():
    rng = np.random.default_rng(5)
    wholes = rng.integers(0, 5, 40)
    parts = rng.binomial(wholes, 0.7)
    low, high = ratio_interval(parts, wholes, range(40), level=0.5, samples=20_000)
    expected = stats.bootstrap(
        (parts, wholes), lambda p, w, axis: p.sum(axis) / w.sum(axis), paired=True, vectorized=True,
        confidence_level=0.5, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx(tuple(expected), abs=0.004)


def test_a_ratio_s_groups_are_drawn_whole():
    # Of one group all, of the other nothing: no draw can lie outside the ratios of 0, 1 or 2 times either.
    parts, wholes, groups = [1] * 30 + [0] * 10, [1] * 40, ["a"] * 30 + ["b"] * 10
    assert ratio_interval(parts, wholes, groups, level=0.99) == (0.0, 1.0)
    assert ratio_interval([3, 4], [6, 8], ["a", "b"]) == (0.5, 0.5)


def test_a_ratio_of_one_group_or_of_nothing_has_no_interval():
    assert ratio_interval([1, 2], [2, 3], ["a", "a"]) is None
    assert ratio_interval([0, 0], [0, 0], ["a", "b"]) is None
    assert ratio_interval([], [], []) is None
    with pytest.raises(ValueError, match="wholes, groups: got 1 and 2, expected 2"):
        ratio_interval([1, 2], [2], ["a", "b"])
