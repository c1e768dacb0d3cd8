"""Where the time goes: spans of named stages, kept only while somebody asks for them.

With no recorder a span costs a fraction of a microsecond, so that stages are always marked.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path


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


class Recorder:
    """Spans of this process."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, stage: str, start: float, end: float, items: int = 1) -> None:
        """Keep a span."""
        self.spans.append(Span(stage, start, end, items, os.getpid(), threading.get_ident()))


_recorder: Recorder | None = None
_NOTHING = nullcontext()


def span(stage: str, items: int = 1) -> AbstractContextManager[None]:
    """Mark the block as a stage at work."""
    recorder = _recorder
    return _NOTHING if recorder is None else _recorded(recorder, stage, items)


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


def write_chrome_trace(spans: Iterable[Span], path: Path) -> None:
    """Write spans as Chrome's trace events, which Perfetto and chrome://tracing open."""
    spans = list(spans)
    first = min((found.start for found in spans), default=0.0)
    events = [
        {
            "name": found.stage,
            "ph": "X",
            "ts": (found.start - first) * 1e6,
            "dur": found.seconds * 1e6,
            "pid": found.process,
            "tid": found.thread,
            "args": {"items": found.items},
        }
        for found in sorted(spans, key=lambda found: found.start)
    ]
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")


def save(spans: Iterable[Span], path: Path) -> None:
    """Write spans for ``load``."""
    path.write_text(json.dumps([asdict(found) for found in spans]), encoding="utf-8")


def load(path: Path) -> list[Span]:
    """Read what ``save`` wrote."""
    return [Span(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
