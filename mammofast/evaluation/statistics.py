"""What a difference between systems is worth: intervals, paired tests, cumulative curves."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def bootstrap_interval(
    values: npt.ArrayLike,
    groups: Sequence[object] | None = None,
    *,
    measure: Callable[[Values], float] = lambda values: float(np.mean(values)),
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a percentile interval of a measure of values, by bootstrap.

    Parameters
    ----------
    values: (n,) one for each image.
    groups: (n,) whose image it is; groups are drawn with replacement, whole, since the images of a patient are not
        independent. By default each image by itself.
    measure: of the values drawn; by default their mean.

    Raises
    ------
    ValueError
        When there are fewer than two groups, or NaN among the values.

    """
    numbers = _finite("values", values)
    names = list(range(len(numbers))) if groups is None else list(groups)
    if len(names) != len(numbers):
        raise ValueError(f"groups: got {len(names)}, expected one for each of {len(numbers)} values")
    _, which = np.unique(np.array([str(name) for name in names]), return_inverse=True)
    members = [numbers[which == group] for group in range(which.max(initial=-1) + 1)]
    if len(members) < 2:
        raise ValueError(f"groups: got {len(members)} of them, expected two or more to draw from")
    rng = np.random.default_rng(seed)
    drawn = [
        measure(np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]))
        for _ in range(samples)
    ]
    low, high = np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def ratio_interval(
    parts: npt.ArrayLike,
    wholes: npt.ArrayLike,
    groups: Sequence[object],
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return a percentile interval of a ratio of sums, such as masses found / masses, by bootstrap over groups.

    Draws in which nothing is to be divided by are left out.

    Parameters
    ----------
    parts, wholes: (n,) of each image or volume. groups: (n,) whose it is.

    Returns
    -------
    (low, high), or None where fewer than two groups have anything to divide by.

    """
    above, below = _finite("parts", parts), _finite("wholes", wholes)
    if not len(above) == len(below) == len(groups):
        raise ValueError(f"wholes, groups: got {len(below)} and {len(groups)}, expected {len(above)}, as in parts")
    return sums_interval(
        np.stack([above, below], axis=1),
        groups,
        lambda sums: sums[:, 0] / sums[:, 1],
        samples=samples,
        level=level,
        seed=seed,
    )


def sums_interval(
    values: npt.ArrayLike,
    groups: Sequence[object],
    measure: Callable[[Values], Values],
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return a percentile interval of a measure of sums, such as Dice of all pixels together, by bootstrap over groups.

    Parameters
    ----------
    values: (n, k), what is summed, of each image or volume; the last column is what is divided by. groups: (n,) whose
        it is.
    measure: of sums (draws, k), one value for each draw; draws whose last sum is 0 are left out.

    Returns
    -------
    (low, high), or None where fewer than two groups have anything to divide by.

    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or np.isnan(table).any() or len(table) != len(groups):
        raise ValueError(f"values: got shape {table.shape} or NaN, expected ({len(groups)}, k) numbers, as in groups")
    _, which = np.unique(np.array([str(name) for name in groups]), return_inverse=True)
    n = int(which.max(initial=-1)) + 1
    by_group = np.stack([np.bincount(which, column, n) for column in table.T], axis=1)
    if np.count_nonzero(by_group[:, -1]) < 2:
        return None
    sums = draw_groups(n, samples, seed).astype(np.float64) @ by_group
    drawn = measure(sums[sums[:, -1] > 0])
    low, high = np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def draw_groups(count: int, samples: int, seed: int) -> npt.NDArray[np.int64]:
    """Return how often each of so many groups is drawn, with replacement, in each sample: (samples, count)."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)


def wilcoxon(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test on paired values, as P2 compares systems.

    Pairs without a difference are left out (Wilcoxon's own treatment); where no pair differs p is 1. Exact for up to 13
    pairs that differ, without ties among the differences for up to 50; else by the normal approximation.

    Parameters
    ----------
    a, b: (n,) a measure of the same images by two systems, in the same order.

    Raises
    ------
    ValueError
        When they are not of one length, or hold NaN.

    """
    from scipy import stats

    x, y = _finite("a", a), _finite("b", b)
    if x.shape != y.shape:
        raise ValueError(f"b: got {len(y)} values, expected {len(x)}, those of the same images as a's")
    differences = (x - y)[x != y]
    return float(stats.wilcoxon(differences).pvalue) if differences.size else 1.0


def cumulative(values: npt.ArrayLike) -> tuple[Values, Values]:
    """Return the empirical cumulative distribution: distinct values, rising, and the part that is at most each."""
    numbers, counts = np.unique(_finite("values", values), return_counts=True)
    return numbers, np.cumsum(counts) / counts.sum()


def _finite(name: str, values: npt.ArrayLike) -> Values:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or np.isnan(numbers).any():
        raise ValueError(f"{name}: got shape {numbers.shape} or NaN among them, expected (n,) numbers")
    return numbers
