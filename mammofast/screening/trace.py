"""What a run writes down when somebody asks where its time goes: a file for each process, a line for each task.

Results never depend on it. UIDs and names have no place here, images are told apart by their content's hash.
"""

import json
import os
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tensorstore as ts

from mammofast import tracing
from mammofast.archive import Unit
from mammofast.tracing import Sample, Span

# A worker's span around all that it does for a task, the locks and encoding of results included.
TASK = "task"
# The driving program's spans: looking up what to screen, handing it out, putting results on record.
LIST, SEND, RECORD = "list", "send", "record"
# The driving program's sample: tasks that were sent and are not yet on record.
IN_FLIGHT = "tasks in flight"

_BYTES_READ = "/tensorstore/kvstore/file/bytes_read"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used since it began.

    time: of the spans' clock. cpu: seconds of all its threads. peak_bytes: the most memory it held. bytes_read: of
    files, as tensorstore counts them.
    """

    time: float
    cpu: float
    peak_bytes: int
    bytes_read: int

    @classmethod
    def now(cls) -> "Usage":
        """Look."""
        return cls(time.monotonic(), time.process_time(), _peak_bytes(), bytes_read())


@dataclass(frozen=True, slots=True)
class Task:
    """A worker's task. first_image: hash of its first image's content. before, after: what its process had used."""

    process: int
    first_image: str
    images: int
    before: Usage
    after: Usage

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.after.time - self.before.time

    @property
    def cpu(self) -> float:
        """CPU seconds it took."""
        return self.after.cpu - self.before.cpu

    @property
    def bytes_read(self) -> int:
        """How much of the archive it read."""
        return self.after.bytes_read - self.before.bytes_read


@dataclass(slots=True)
class Trace:
    """What all processes of a run wrote down. driver: the id of the one that handed out tasks, and what it used."""

    spans: list[Span] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    driver: int | None = None
    driver_usage: tuple[Usage, Usage] | None = None


class TraceFile:
    """Records this process's spans, for ``folder/<process id>.jsonl``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}.jsonl"
        self._recorder = tracing.start_recording()
        self._lock = threading.Lock()  # tasks of one process may overlap

    @contextmanager
    def task(self, images: Sequence[Unit]) -> Iterator[None]:
        """Record the block as a task."""
        before = Usage.now()
        with tracing.span(TASK, len(images)):
            yield
        first = images[0].record.content_sha256 if images else ""
        self._write("task", {"first_image": first, "images": len(images)}, before)

    @contextmanager
    def driver(self) -> Iterator[None]:
        """Record the block as what hands out tasks."""
        before = Usage.now()
        try:
            yield
        finally:
            self._write("driver", {}, before)
            tracing.stop_recording()

    def _write(self, what: str, facts: dict[str, Any], before: Usage) -> None:
        spans, samples = self._recorder.take()
        line = {
            what: {"process": os.getpid(), **facts, "before": asdict(before), "after": asdict(Usage.now())},
            "spans": [asdict(span) for span in spans],
            "samples": [asdict(sample) for sample in samples],
        }
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@contextmanager
def traced_driver(folder: Path | None) -> Iterator[None]:
    """Record the block as what hands out tasks, where there is a folder."""
    if folder is None:
        yield
        return
    with TraceFile(folder).driver():
        yield


def read_trace(folder: Path) -> Trace:
    """Read what all processes of a run wrote."""
    trace = Trace()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            content = json.loads(line)
            trace.spans += [Span(**values) for values in content["spans"]]
            trace.samples += [Sample(**values) for values in content["samples"]]
            if "task" in content:
                trace.tasks.append(Task(**_with_usage(content["task"])))
            else:
                driver = _with_usage(content["driver"])
                trace.driver, trace.driver_usage = driver["process"], (driver["before"], driver["after"])
    trace.tasks.sort(key=lambda task: task.before.time)
    trace.samples.sort(key=lambda sample: sample.time)
    return trace


def _with_usage(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "before": Usage(**values["before"]), "after": Usage(**values["after"])}


def _peak_bytes() -> int:
    """Return the peak resident size; getrusage's survives exec, and would be that of the process we were started by."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def bytes_read() -> int:
    """Return how many bytes of files this process has read through tensorstore, which counts them."""
    (metric,) = ts.experimental_collect_matching_metrics(_BYTES_READ) or [{"values": []}]
    return sum(value["value"] for value in metric["values"])
