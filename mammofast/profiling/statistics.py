"""Samples of a time, summed up the way trtexec and perf_analyzer do: nearest-rank percentiles, in milliseconds."""

import math
from collections.abc import Sequence

PERCENTILES = (50, 90, 95, 99)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest sample with at least ``percent`` % of all at or below it.

    ordered: rising, at least one. percent: above 0, at most 100.
    """
    if not ordered or not 0 < percent <= 100:
        raise ValueError(
            f"percentile: got {len(ordered)} samples and {percent} %, expected one or more, and 0 < % <= 100"
        )
    return ordered[math.ceil(percent / 100 * len(ordered)) - 1]


def summarize(seconds: Sequence[float]) -> dict[str, float | int]:
    """Return n, min, mean, p50, p90, p95, p99 and max in ms, and the variation in percent.

    The variation is robust: half the distance between the quartiles, as a normal distribution's standard deviation,
    over the median. One interrupted sample does not move it, a machine whose speed drifts does.
    """
    ordered = sorted(seconds)
    median = percentile(ordered, 50)
    spread = (percentile(ordered, 75) - percentile(ordered, 25)) / 1.349
    return {
        "n": len(ordered),
        "min": ordered[0] * 1e3,
        "mean": math.fsum(ordered) / len(ordered) * 1e3,
        **{f"p{percent}": percentile(ordered, percent) * 1e3 for percent in PERCENTILES},
        "max": ordered[-1] * 1e3,
        "variation_percent": 100 * spread / median if median else 0.0,
    }
