"""One simulated run, watched: CPU seconds by who spent them, memory over time, and what became of the cards' time."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from bench.scale.cards import ALONE, open_simulated
from bench.scale.model import POISON, UNREADABLE, VIEWS, Model, SimulatedArchive
from mammofast.archive import ArchiveImage
from mammofast.screening import run as run_module
from mammofast.screening import screen

_TICK = os.sysconf("SC_CLK_TCK")
# The client's threads, by the start of their names; all others are Dask's.
_OWN = {"MainThread": "client", "record": "recording"}
_DASK = "client, Dask's threads"
SCHEDULER = "scheduler"
_IDLE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Moment:
    """What had been used by then. done: images on record. cpu: seconds, by who spent them. mib: by process."""

    time: float
    done: int
    cpu: dict[str, float]
    mib: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """A run. making_up: CPU seconds of the client for the records that it made up. idle: cores of the scheduler."""

    model: Model
    images: int
    report: dict[str, Any]
    seconds: float
    making_up: float
    listed_at: float
    deaths: int
    idle: float
    moments: list[Moment]

    @property
    def us(self) -> dict[str, float]:
        """Microseconds of CPU an image, by who spent them."""
        first, last = self.moments[0].cpu, self.moments[-1].cpu
        seconds = {name: last[name] - first.get(name, 0.0) for name in last}
        seconds["client"] -= self.making_up
        seconds["making up records"] = self.making_up
        return {name: 1e6 * value / self.images for name, value in sorted(seconds.items())}

    @property
    def scheduling_us(self) -> float:
        """Microseconds of CPU an image of client and scheduler, without recording and without making up records."""
        return sum(value for name, value in self.us.items() if name in ("client", _DASK, SCHEDULER))

    @property
    def card_seconds_per_image(self) -> float:
        """Mean of what a card needs for an image, by the model."""
        draws = np.random.default_rng(0).bytes(32 * 20_000).hex()
        return float(np.mean([self.model.seconds(draws[64 * i : 64 * i + 64]) for i in range(20_000)]))

    @property
    def used(self) -> float:
        """Share of the cards' time in which they did images that are on record."""
        return self.images * self.card_seconds_per_image / self.model.cards / self.seconds

    @property
    def tail(self) -> float:
        """Seconds from when the last image was handed out to the end."""
        return self.moments[-1].time - self.listed_at

    @property
    def memory(self) -> dict[str, float]:
        """MiB at the start and at most, and growth over the second half in bytes an image."""
        found = {}
        for process in ("client", SCHEDULER):
            found[f"{process}, start"] = self.moments[0].mib[process]
            found[f"{process}, most"] = max(moment.mib[process] for moment in self.moments)
            found[f"{process}, growth in bytes an image"] = 2**20 * self._growth(process)
        return found

    def memory_after(self, process: str, images: int) -> float:
        """Return MiB after so many images, as the second half goes on."""
        return max(m.mib[process] for m in self.moments) + max(self._growth(process), 0.0) * (images - self.images)

    def _growth(self, process: str) -> float:
        half = [m for m in self.moments if self.images / 2 <= m.done < self.images]
        if len(half) < 3:
            return 0.0
        return float(np.polyfit([m.done for m in half], [m.mib[process] for m in half], 1)[0])


class _Watch(threading.Thread):
    """Looks every second."""

    def __init__(self, scheduler: int) -> None:
        super().__init__(daemon=True, name="watch")
        self.done = 0
        self.moments: list[Moment] = []
        self._scheduler = scheduler
        self._threads: dict[int, tuple[str, float]] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(1.0):
            self.look()

    def look(self) -> None:
        """Take down the moment."""
        for thread in threading.enumerate():
            stat = Path(f"/proc/self/task/{thread.native_id}/stat")
            if thread.native_id is not None and thread is not self:
                owner = next((who for start, who in _OWN.items() if thread.name.startswith(start)), _DASK)
                with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    self._threads[thread.native_id] = owner, _cpu(stat)
        cpu: dict[str, float] = defaultdict(float)
        for owner, seconds in self._threads.values():
            cpu[owner] += seconds
        cpu[SCHEDULER] = _cpu(Path(f"/proc/{self._scheduler}/stat"))
        mib = {"client": _mib(os.getpid()), SCHEDULER: _mib(self._scheduler)}
        self.moments.append(Moment(time.monotonic(), self.done, dict(cpu), mib))

    def end(self) -> None:
        self._ended.set()
        self.join()
        self.look()


class _Watched(SimulatedArchive):
    """Remembers when its last image was asked for, and the CPU seconds that records took to be made up."""

    __slots__ = ("ended", "making_up")

    def all_units(self) -> Iterator[ArchiveImage]:
        seconds = 0.0
        for first in range(0, self.count, len(VIEWS)):
            start = time.thread_time()
            study = [self.made_up(number) for number in range(first, min(first + len(VIEWS), self.count))]
            seconds += time.thread_time() - start
            yield from study
        object.__setattr__(self, "ended", time.monotonic())
        object.__setattr__(self, "making_up", seconds)


def simulate(model: Model, images: int, out: Path, images_per_task: int) -> Measured:
    """Screen so many images; what failed is what the model says, image for image counted."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "results", ignore_errors=True)
    archive = _Watched.create(out / "archive.zarr", images)
    marks: list[str] = []
    with _cards(model, out, marks) as (address, scheduler, deaths), _listing(archive):
        idle = _idle(address, scheduler, model)
        watch = _Watch(scheduler)
        watch.look()
        watch.start()

        def progress(n: int) -> None:
            watch.done += n

        start = time.monotonic()
        try:
            report = screen(
                archive.path,
                out / "results",
                "demo",
                scheduler=address,
                progress=progress,
                images_per_task=images_per_task,
                opener=open_simulated,
            )
        finally:
            seconds = time.monotonic() - start
            watch.end()
            shutil.rmtree(out / "results", ignore_errors=True)
    fates = Counter(model.fate(archive.content_sha256(number)) for number in range(images))
    expected = fates[UNREADABLE] + fates[POISON] + sum(mark.endswith(ALONE) for mark in marks)
    assert report.failed == expected, (report.failed, expected, fates, marks)
    return Measured(
        model, images, asdict(report), seconds, archive.making_up, archive.ended, deaths[0], idle, watch.moments
    )


def _idle(address: str, scheduler: int, model: Model) -> float:
    """Wait until all cards are there; return the share of a core that their scheduler takes with nothing to do."""
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(model.cards, timeout=120)
    stat = Path(f"/proc/{scheduler}/stat")
    start, before = time.monotonic(), _cpu(stat)
    time.sleep(_IDLE_SECONDS)
    return (_cpu(stat) - before) / (time.monotonic() - start)


@contextmanager
def _cards(model: Model, out: Path, marks: list[str]) -> Iterator[tuple[str, int, list[int]]]:
    """Switch the cards on; yield the scheduler's address and process, and what will say how many workers died.

    marks: where what came once, and to whom, is added in the end.
    """
    folder = out / "cards"
    folder.mkdir()
    command = [sys.executable, "-m", "bench.scale.cards", str(folder), json.dumps(asdict(model))]
    deaths: list[int] = []
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            address, scheduler = process.stdout.readline().split()
            yield address, int(scheduler), deaths
            process.stdin.close()
            deaths.append(int(process.stdout.readline()))
    finally:
        marks += [mark.read_text() for mark in folder.glob("[0-9a-f]" * 64)]
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _listing(archive: SimulatedArchive) -> Iterator[None]:
    real = run_module.open_archive
    run_module.open_archive = lambda path: archive  # type: ignore[assignment]
    try:
        yield
    finally:
        run_module.open_archive = real


def _cpu(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _mib(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
