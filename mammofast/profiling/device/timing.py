"""Calls timed by the card's clock, many between two marks, and how long the host waits for one.

A kernel of microseconds is shorter than the call that launches it, so that launches back to back would be timed at the
host's pace. The stream is held meanwhile (as nvbench does): once it is let go, all launches are in its queue. A way
that waits for the card within a call is timed with that wait: it is part of it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from mammofast.profiling.device.card import Card
from mammofast.profiling.sampling import SAMPLE_SECONDS, Call, Effort, without_garbage_collection

# Of one way between two marks: with several kernels a call, a stream's queue of about a thousand is not filled.
MOST_LAUNCHES = 64
# More than what the host took when it was tried, since it may be slower the next time.
_HELD = 2.0
_WAITS = 20


@dataclass(frozen=True, slots=True)
class _Plan:
    calls: tuple[Call, ...]
    hold: float


def stream_times(
    card: Card, ways: Mapping[str, Sequence[Call]], effort: Effort
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Time several ways in turns by the card's clock.

    ways: name to calls that do the same on inputs of their own, taken one after the other. effort: of each way.

    Returns
    -------
    Name to seconds a call, equally many numbers for each, and name to how many calls one number is the mean of.

    """
    plans = {name: _plan(card, calls, effort.warm_up) for name, calls in ways.items()}
    samples: dict[str, list[float]] = {name: [] for name in ways}
    with without_garbage_collection():
        end = time.perf_counter() + effort.seconds * len(ways)
        rounds = 0
        while rounds < effort.at_least or time.perf_counter() < end:
            for name, plan in plans.items():
                samples[name].append(_sample(card, plan))
            rounds += 1
    return samples, {name: len(plan.calls) for name, plan in plans.items()}


def waiting_times(card: Card, call: Call) -> list[float]:
    """Return the host's seconds from a call to its result on the card, one call at a time."""
    times = []
    card.wait()
    with without_garbage_collection():
        for _ in range(_WAITS):
            start = time.perf_counter()
            call()
            card.wait()
            times.append(time.perf_counter() - start)
    return times


def _plan(card: Card, calls: Sequence[Call], warm_up: float) -> _Plan:
    """Call until the time is up, each at least twice; find how many calls fill a sample."""
    end = time.perf_counter() + warm_up
    _run(card, calls)
    while True:
        launching, whole = _run(card, calls)
        if time.perf_counter() >= end:
            break
    wanted = min(MOST_LAUNCHES, max(1, round(SAMPLE_SECONDS / max(whole / len(calls), 1e-7))))
    # Whole rounds through the inputs, so that every sample is of the same work.
    count = -(-wanted // len(calls)) * len(calls)
    return _Plan(tuple(islice(cycle(calls), count)), _HELD * launching * count / len(calls))


def _run(card: Card, calls: Sequence[Call]) -> tuple[float, float]:
    """Return the host's seconds until all calls have returned, and until their work is done."""
    card.wait()
    start = time.perf_counter()
    for call in calls:
        call()
    launched = time.perf_counter()
    card.wait()
    return launched - start, time.perf_counter() - start


def _sample(card: Card, plan: _Plan) -> float:
    card.wait()
    card.hold(plan.hold)
    start = card.mark()
    for call in plan.calls:
        call()
    return card.seconds(start, card.mark()) / len(plan.calls)
