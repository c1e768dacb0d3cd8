"""What runs in a Dask worker: images in by reference, encoded outcomes out.

A worker process opens the bundle once. A task is a few images; what it returns is small and final, the very bytes that
the ledger will hold, so that whoever writes them need not understand them.
"""

import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import WorkerPlugin, get_worker

from mammofast.archive import Unit
from mammofast.errors import DeviceLostError, EngineError, MammofastError
from mammofast.machine import share_cores
from mammofast.methods.screener import open_bundle
from mammofast.screening.cards import claim_card
from mammofast.screening.entry import Run
from mammofast.screening.outcomes import Screener, screen_images
from mammofast.screening.task import results_topic
from mammofast.screening.trace import TraceFile
from mammofast.screening.watch import ends_within
from mammofast.settings import Settings
from mammofast.tracing import stop_recording

OpenScreener = Callable[[str, str, Settings], Screener]


@dataclass(frozen=True, slots=True)
class Opened:
    """A screener, and where to write down what it does, if anywhere.

    open_again: opens another one like it. lock: held by who uses it alone, or ends it.
    """

    screener: Screener
    trace: TraceFile | None
    open_again: Callable[[], Screener]
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: list[None] = field(default_factory=list)

    @contextmanager
    def used(self) -> Iterator[Screener]:
        """Have the screener: alone, unless it is concurrent."""
        if not self.screener.concurrent:
            with self.lock:
                yield self.screener
            return
        self.users.append(None)
        try:
            yield self.screener
        finally:
            self.users.pop()


_LAST_WORDS_SECONDS = 0.5
# How often a worker says that it lives, which nobody asks in a run: one whose connection breaks has died. Each time
# costs the scheduler about half of what a task does, and Dask's pace is one to four times a task.
_HEARTBEAT_SECONDS = 30.0
# Screeners of this process, by run.
_OPEN: dict[str, Opened] = {}


class ScreenerPlugin(WorkerPlugin):  # type: ignore[misc]
    """Opens a bundle in every worker that is there or comes later, and closes it when the run is over.

    name: of this run, unique on the cluster. expected: which bundle and settings the results will be filed under.
    ours: whether the workers are this program's own; they then leave Ctrl-C and SIGHUP, which a terminal sends to all
    of them, to the program, and have a card each. trace: a folder for what :mod:`mammofast.screening.trace` writes
    down; None for nothing. there: addresses of the workers that are there; what goes wrong in one of them is told to
    who started the run, while one that comes later, say again after it lost its card, leaves the others to it.
    """

    def __init__(
        self,
        name: str,
        expected: Run,
        bundle: str,
        device: str,
        settings: Settings,
        ours: bool,
        opener: OpenScreener = open_bundle,
        trace: Path | None = None,
        there: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._expected = expected
        self._bundle, self._device, self._settings = bundle, device, settings
        self._ours = ours
        self._opener = opener
        self._trace = trace
        self._there = tuple(there)
        self._worker: Any = None

    def setup(self, worker: Any) -> None:
        """Open the bundle.

        Raises
        ------
        BundleError, EngineError
            When it cannot be opened here, or is another one here than where the run was started.

        """
        self._worker = worker
        if self._ours:
            # pydicom's warnings quote values, and they may be a patient's.
            warnings.filterwarnings("ignore", module="pydicom")
        if self._ours and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        share_cores(_on_one_machine(self._there, worker.address))
        try:
            _OPEN[self.name] = self._open()
        except MammofastError:
            if worker.address not in self._there:
                worker.loop.add_callback(worker.close_gracefully, restart=False, reason="cannot open the bundle")
            raise
        worker.periodic_callbacks["heartbeat"].callback = self._heartbeat

    async def _heartbeat(self) -> None:
        await self._worker.heartbeat()
        beats = self._worker.periodic_callbacks["heartbeat"]
        beats.callback_time = max(beats.callback_time, 1000 * _HEARTBEAT_SECONDS)

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Send a task's result, as it is there."""
        if finish == "memory" and str(key).startswith(self.name):
            self._worker.log_event(results_topic(self.name), (key, self._worker.data[key]))

    def _open(self) -> Opened:
        is_to_choose = self._settings.device != "cpu" and not self._ours
        device = claim_card(self._device) if is_to_choose else self._device
        open_it = partial(self._opener, self._bundle, device, self._settings)
        screener = open_it()
        opened = Run(screener.bundle_id, screener.settings_id)
        if opened != self._expected:
            screener.__exit__(None, None, None)
            raise EngineError(f"a worker opened {opened}, expected {self._expected}; give all machines the same bundle")
        return Opened(screener, None if self._trace is None else TraceFile(self._trace), open_it)

    def teardown(self, worker: Any) -> None:
        """Close the bundle; one that is in use goes with its process, for whose end nobody should wait."""
        beats = worker.periodic_callbacks["heartbeat"]
        beats.callback, beats.callback_time = worker.heartbeat, 500  # until the scheduler says its own pace again
        opened = _OPEN.pop(self.name, None)
        if opened is not None and not opened.users and opened.lock.acquire(blocking=False):
            opened.screener.__exit__(None, None, None)
            if opened.trace is not None:
                stop_recording()


def opened(name: str) -> Opened:
    """Return what this worker has open for the run of this name.

    Raises
    ------
    EngineError
        When that is nothing.

    """
    if name not in _OPEN:
        raise EngineError("a worker could not open the bundle; its log says why")
    return _OPEN[name]


def card_memory(name: str) -> dict[str, Any] | None:
    """Return what the run of this name has of this worker's card, by ``CardMemory``; None where that is nothing."""
    here = _OPEN.get(name)
    memory = getattr(here.screener, "memory", None) if here is not None else None
    return None if memory is None else asdict(memory)


def screen_together(name: str, images: Sequence[Unit], deadline: float) -> list[tuple[str, bytes, float]]:
    """Screen a task's images as :func:`mammofast.screening.task.screen_task` says.

    Where the card is lost this worker ends, at once: whatever came next would be said to fail.
    """
    here = opened(name)
    with here.used() as screener, nullcontext() if here.trace is None else here.trace.task(images):
        start = time.monotonic()
        with ends_within(deadline * sum(image.record.time_units for image in images)), _ends_with_its_card(name):
            encoded = screen_images(screener, images)
        seconds = (time.monotonic() - start) / max(len(images), 1)
    return [(status, content, seconds) for status, content in encoded]


@contextmanager
def _ends_with_its_card(name: str) -> Iterator[None]:
    """End this process where the block loses the card: its nanny starts another one, and the images are tried alone."""
    try:
        yield
    except DeviceLostError as error:
        # The only trace where the images then succeed; it has to leave before the process ends.
        with suppress(ValueError):  # no worker of Dask's
            get_worker().log_event(name, str(error))
            time.sleep(_LAST_WORDS_SECONDS)
        os._exit(1)  # closing in order may wait for the card for ever


def _on_one_machine(workers: Sequence[str], mine: str) -> int:
    """Return how many of the workers share this one's machine; as many as do elsewhere where it came later."""
    there = Counter(urlsplit(address).hostname for address in workers)
    return there[urlsplit(mine).hostname] or max(there.values(), default=1)
