"""Keeping workers busy with little in flight, and finding out which image broke one."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import islice
from typing import Any

from distributed import Client, KilledWorker, as_completed

from mammofast.archive import ArchiveImage
from mammofast.errors import MammofastError, SchedulerError
from mammofast.screening.trace import IN_FLIGHT, LIST, SEND
from mammofast.screening.worker import screen_task
from mammofast.tracing import sample, span

# One being worked on, one waiting: enough that a worker never waits for us, and all that is lost when it dies.
TASKS_PER_WORKER = 2
_POLL_SECONDS = 0.02
# How often to look how many workers a cluster has by now.
_COUNT_SECONDS = 10.0
# How long a cluster may have no worker at all: enough for one that died to be back, or for one that is being started.
NO_WORKER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker made of an image: a status and the bytes to record, or None where it killed its worker.

    seconds: what it took the worker, where known.
    """

    image: ArchiveImage
    status: str | None = None
    content: bytes | None = None
    seconds: float | None = None


class Dispatcher:
    """Sends images to workers, a few a task, and yields what comes back.

    Dask takes whatever it is given at once, so the bound on what is in flight is ours. When a worker dies, Dask blames
    all tasks it held: their images are set aside, and once the others are done they are tried alone, one at a time. The
    one that kills its worker again is to blame.

    stop: asked before anything is sent; True ends sending. abandon: asked all the time; True ends waiting as well.
    """

    def __init__(
        self, client: Client, name: str, size: int, stop: Callable[[], bool], abandon: Callable[[], bool]
    ) -> None:
        self._client = client
        self._name = name
        self._size = size
        self._stop = stop
        self._abandon = abandon
        self._in_flight: dict[Any, list[ArchiveImage]] = {}
        self._completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._suspects: list[ArchiveImage] = []
        self._workers = 0
        self._counted = float("-inf")
        self._none_since: float | None = None
        # When the first task was sent, on the monotonic clock.
        self.began: float | None = None

    def run(self, images: Iterator[ArchiveImage]) -> Iterator[Outcome]:
        """Yield the outcome of every image, in any order, until all are done or stopped.

        Raises
        ------
        SchedulerError
            When the scheduler is lost, or has had no worker for two minutes.
        MammofastError
            When a worker cannot screen at all.

        """
        tasks = iter(lambda: list(islice(images, self._size)), [])
        try:
            yield from self._window(tasks, self._room, self._set_aside)
            alone = iter([[image] for image in self._suspects])
            yield from self._window(alone, lambda: 1, lambda images: [Outcome(image) for image in images])
        finally:
            if self._in_flight and self._client.status == "running":
                self._client.cancel(list(self._in_flight), force=True)

    def _window(
        self,
        tasks: Iterator[list[ArchiveImage]],
        room: Callable[[], int],
        killed: Callable[[list[ArchiveImage]], list[Outcome]],
    ) -> Iterator[Outcome]:
        more = True
        while True:
            while more and len(self._in_flight) < room() and not self._stop():
                with span(LIST):
                    task = next(tasks, None)
                more = task is not None
                if task is not None:
                    self._send(task)
            if not self._in_flight:
                return
            if self._completed.has_ready():
                yield from self._collect(killed)
            elif self._abandon():
                return
            else:
                self._count_workers()
                time.sleep(_POLL_SECONDS)

    def _send(self, images: list[ArchiveImage]) -> None:
        if self.began is None:
            self.began = time.monotonic()
        with span(SEND, len(images)):
            future = self._client.submit(screen_task, self._name, images, pure=False)
            self._in_flight[future] = images
            self._completed.add(future)
        sample(IN_FLIGHT, len(self._in_flight))

    def _collect(self, killed: Callable[[list[ArchiveImage]], list[Outcome]]) -> Iterator[Outcome]:
        for future, result in self._completed.next_batch(block=False):
            images = self._in_flight[future]
            if future.status == "finished":
                for image, (status, content, seconds) in zip(images, result, strict=True):
                    yield Outcome(image, status, content, seconds)
            else:
                _raise_if_hopeless(result)
                yield from killed(images)
            # Only now: until its images are recorded, the result stays where it can be fetched again.
            del self._in_flight[future]
            future.release()
            sample(IN_FLIGHT, len(self._in_flight))

    def _set_aside(self, images: Sequence[ArchiveImage]) -> list[Outcome]:
        self._suspects.extend(images)
        return []

    def _room(self) -> int:
        self._count_workers()
        return TASKS_PER_WORKER * max(self._workers, 1)

    def _count_workers(self) -> None:
        now = time.monotonic()
        if now - self._counted <= _COUNT_SECONDS or self._client.status != "running":
            return
        self._counted = now
        try:
            self._workers = sum(self._client.nthreads().values())
        except OSError:  # a lost scheduler shows in what was sent to it
            return
        if self._workers:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = now
        elif now - self._none_since >= NO_WORKER_SECONDS:
            raise SchedulerError(
                f"the Dask scheduler has had no worker for {NO_WORKER_SECONDS:.0f} s; start some with `dask worker`, "
                "then run again: what was recorded is safe"
            )


def _raise_if_hopeless(result: Any) -> None:
    """Pass over what one image can cause; raise what would fail every image the same way."""
    error = result[1] if isinstance(result, tuple) else result
    if isinstance(error, KilledWorker):
        return
    if isinstance(error, MammofastError):
        raise error
    if isinstance(error, CancelledError):
        # What Dask does to all that is in flight when the connection breaks.
        raise SchedulerError("the Dask scheduler is gone; what was recorded is safe, run again to resume") from error
