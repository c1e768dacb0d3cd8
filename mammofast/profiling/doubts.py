"""What a reader must know before trusting a measurement, in words."""

from collections.abc import Mapping, Sequence

from mammofast.machine import cores
from mammofast.profiling.statistics import percentile, summarize

VARIATION_PERCENT = 2.5
_DRIFT = 0.05
_SHORTEST_SECONDS = 0.5
_FEWEST = 10
_FIFTHS = 5
_CALL = 0.5
_TRANSFER = 0.5
# A rate above what was measured as the most possible, by more than clocks err.
_ABOVE = 1.02


def doubts(samples: Sequence[float], seconds: float, threads: int | None = None) -> tuple[str, ...]:
    """Return what speaks against a series of samples.

    samples: seconds a call, in the order they were taken. seconds: how long that took at least.
    threads: how many the measured code was given, where it was.
    """
    found = []
    seconds = max(seconds, sum(samples))
    if len(samples) < _FEWEST or seconds < _SHORTEST_SECONDS:
        found.append(
            f"too short a run: {len(samples)} samples in {seconds:.2g} s, at least {_FEWEST} and "
            f"{_SHORTEST_SECONDS} s tell something; give --seconds more"
        )
    variation = summarize(samples)["variation_percent"]
    if variation > VARIATION_PERCENT:
        found.append(f"the samples vary by {variation:.1f} %, more than {VARIATION_PERCENT} %: is the machine busy?")
    if (drift := drift_of(samples)) is not None and abs(drift) > _DRIFT:
        words = "slower" if drift > 0 else "faster"
        found.append(
            f"it became {words} by {100 * abs(drift):.0f} % while it was measured: heat, or the clock's frequency?"
        )
    if threads is not None and threads > cores():
        found.append(f"{threads} threads on {cores()} cores take turns: latencies are longer than they need be")
    return tuple(found)


def call_bound(overhead: float, time: float) -> tuple[str, ...]:
    """Return a doubt where most of a call's time is the call itself: Python, and checking arguments.

    overhead: time of the same call on the smallest input. time: of the call, in the same unit.
    """
    share = overhead / time
    if share < _CALL:
        return ()
    return (f"Python-bound: {min(share, 1):.0%} of the time is what the same call takes on the smallest input",)


def transfer_bound(split: Mapping[str, float]) -> tuple[str, ...]:
    """Return a doubt where a run on a card is the way there and back more than the network.

    split: time of each step, as :func:`mammofast.profiling.way_to_the_card.split_ms` gives it.
    """
    share = 1 - split["compute"] / sum(split.values())
    if share < _TRANSFER:
        return ()
    return (f"transfer-bound: {share:.0%} of a run is the way to the card and back",)


def above_ceiling(share: float | None) -> tuple[str, ...]:
    """Return a doubt where a rate is above what was measured as the most possible; share: of that."""
    if share is None or share <= _ABOVE:
        return ()
    return (
        f"{share:.0%} of the ceiling: something else ran while the ceiling was measured, and it is higher than that",
    )


def drift_of(samples: Sequence[float]) -> float | None:
    """Return by what part the last fifth's median is above the first fifth's; None of fewer than ten samples."""
    if len(samples) < _FEWEST:
        return None
    fifth = len(samples) // _FIFTHS
    first, last = (percentile(sorted(part), 50) for part in (samples[:fifth], samples[-fifth:]))
    return last / first - 1
