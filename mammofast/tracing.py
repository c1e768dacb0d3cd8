"""Where the time goes: spans of named stages, kept only while somebody asks for them.

With no recorder a span costs a fraction of a microsecond, so that stages are always marked.
"""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """One stage at work.

    start, end: seconds of the system's monotonic clock, which processes of one machine share. items: how many images,
    rows or candidates it was for.
    """

    stage: str
    start: float
    end: float
    items: int
    process: int
    thread: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Sample:
    """What something counted at a moment was: ``value`` of ``name`` from ``time`` on, on the spans' clock."""

    name: str
    time: float
    value: float
    process: int


class Recorder:
    """Spans and samples of this process."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.samples: list[Sample] = []

    def add(self, stage: str, start: float, end: float, items: int = 1) -> None:
        """Keep a span."""
        self.spans.append(Span(stage, start, end, items, os.getpid(), threading.get_ident()))

    def take(self) -> tuple[list[Span], list[Sample]]:
        """Return what was kept since the last call."""
        taken = (self.spans, self.samples)
        self.spans, self.samples = [], []
        return taken


_recorder: Recorder | None = None
_NOTHING = nullcontext()


def span(stage: str, items: int = 1) -> AbstractContextManager[None]:
    """Mark the block as a stage at work."""
    recorder = _recorder
    return _NOTHING if recorder is None else _recorded(recorder, stage, items)


def sample(name: str, value: float) -> None:
    """Say what something counted is from now on."""
    recorder = _recorder
    if recorder is not None:
        recorder.samples.append(Sample(name, time.monotonic(), value, os.getpid()))


@contextmanager
def _recorded(recorder: Recorder, stage: str, items: int) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    finally:
        recorder.add(stage, start, time.monotonic(), items)


def start_recording() -> Recorder:
    """Keep this process's spans from now on."""
    global _recorder
    _recorder = Recorder()
    return _recorder


def stop_recording() -> None:
    """Keep no spans any more."""
    global _recorder
    _recorder = None


def write_chrome_trace(
    spans: Iterable[Span], path: Path, samples: Iterable[Sample] = (), names: Mapping[int, str] | None = None
) -> None:
    """Write spans, and samples as counters, as Chrome's trace events, which Perfetto and chrome://tracing open.

    names: what processes are called, by their ids.
    """
    spans, samples = sorted(spans, key=lambda found: found.start), sorted(samples, key=lambda found: found.time)
    first = min([found.start for found in spans[:1]] + [found.time for found in samples[:1]], default=0.0)
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": process, "args": {"name": name}}
        for process, name in (names or {}).items()
    ]
    stages: dict[tuple[int, int], set[str]] = defaultdict(set)
    for found in spans:
        stages[found.process, found.thread].add(found.stage)
    events += [
        # A thread of a pipeline is its stage's; those that do all kinds of things keep their numbers.
        {"name": "thread_name", "ph": "M", "pid": process, "tid": thread, "args": {"name": only}}
        for (process, thread), (only, *others) in stages.items()
        if not others
    ]
    events += [
        {
            "name": found.stage,
            "ph": "X",
            "ts": (found.start - first) * 1e6,
            "dur": found.seconds * 1e6,
            "pid": found.process,
            "tid": found.thread,
            "args": {"items": found.items},
        }
        for found in spans
    ]
    events += [
        {
            "name": found.name,
            "ph": "C",
            "ts": (found.time - first) * 1e6,
            "pid": found.process,
            "args": {"value": found.value},
        }
        for found in samples
    ]
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")
