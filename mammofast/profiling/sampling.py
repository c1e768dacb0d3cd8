"""Timing calls: warm-up by time, then by time; several contestants in turns."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]

# A call shorter than this is repeated within a sample: clocks and interrupts cost microseconds.
SAMPLE_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: seconds of warm-up, seconds of samples, and how many samples there must be at least."""

    warm_up: float = 0.5
    seconds: float = 3.0
    at_least: int = 10

    def __post_init__(self) -> None:
        if self.warm_up < 0 or self.seconds <= 0 or self.at_least < 1:
            raise ValueError(f"effort: got {self}, expected times of 0 and more, and at least one sample")


def sample(call: Call, effort: Effort) -> list[float]:
    """Return seconds per call, one number a sample."""
    return interleave({"": call}, effort)[""]


def interleave(calls: Mapping[str, Call], effort: Effort) -> dict[str, list[float]]:
    """Time several calls in turns, so that what disturbs the machine disturbs all of them.

    calls: name to a call without arguments. effort: of each of them.

    Returns
    -------
    Name to seconds a call, equally many numbers for each.

    """
    repeats = {name: _warm_up(call, effort.warm_up) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    with without_garbage_collection():
        end = time.perf_counter() + effort.seconds * len(calls)
        rounds = 0
        while rounds < effort.at_least or time.perf_counter() < end:
            for name, call in calls.items():
                start = time.perf_counter()
                for _ in range(repeats[name]):
                    call()
                samples[name].append((time.perf_counter() - start) / repeats[name])
            rounds += 1
    return samples


def _warm_up(call: Call, seconds: float) -> int:
    """Call until the time is up, at least twice; return how many calls fill a sample."""
    end = time.perf_counter() + seconds
    call()
    shortest = float("inf")
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        shortest = min(shortest, now - start)
        if now >= end:
            return max(1, round(SAMPLE_SECONDS / max(shortest, 1e-7)))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Keep Python from collecting garbage in the middle of a sample."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
