"""Keeping workers busy with little in flight, and finding out which image broke one."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from distributed import Client, KilledWorker, as_completed

from mammofast.archive import Unit
from mammofast.errors import EngineError, MammofastError, SchedulerError
from mammofast.screening.task import packed, screen_alone, screen_task, unpacked
from mammofast.screening.trace import IN_FLIGHT, LIST, SEND
from mammofast.tracing import sample, span

# One being worked on, one waiting: enough that a worker never waits for us, and all that is lost when it dies.
TASKS_PER_WORKER = 2
# What a task's images or volumes decode to, at most, unless it is one: 157 images of 4096 x 3328. In flight is twice
# that a thread.
TASK_BYTES = 4 << 30
# How often images that were alone are tried when what ends is not their own process but the worker that looks on.
TRIES_ALONE = 5
_POLL_SECONDS = 0.05
# How long a result that is there may take to be fetched.
_FETCH_SECONDS = 30.0
# How often to look how many workers a cluster has by now, and for tasks that take too long.
_COUNT_SECONDS = 10.0
# How long a cluster may have no worker at all: enough for one that died to be back, or for one that is being started.
NO_WORKER_SECONDS = 120.0
# Workers end themselves where a task takes too long; this much later nobody waits any more for one that cannot even do
# that. A task may have waited behind others.
_OVERDUE_FACTOR, _OVERDUE_SECONDS = 2 * TASKS_PER_WORKER, 60.0
_RESTART_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker made of an image: a status and the bytes to record, or None where it outlived no worker.

    seconds: what it took the worker, where known.
    """

    image: Unit
    status: str | None = None
    content: bytes | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    """Images that go to a worker together.

    alone: how often they were sent to be screened in a process of their own. others: how many tasks had ended well when
    they first were.
    """

    images: list[Unit]
    alone: int = 0
    others: int = 0
    sent: float = field(default=0.0, compare=False)

    @property
    def time_units(self) -> int:
        """How many images' time it may take."""
        return sum(image.record.time_units for image in self.images)


class Dispatcher:
    """Sends images to workers, a few a task, and yields what comes back.

    Dask takes whatever it is given at once, so the bound on what is in flight is ours. When a worker dies, Dask blames
    all tasks it held: their images are screened again at once, each alone in a process that may die of it
    (:mod:`mammofast.screening.alone`).

    size: images a task, at most. stop: asked before anything is sent; True ends sending. abandon: asked all the time;
    True ends waiting as well. deadline: seconds that an image, or ten slices of a volume, may take.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        size: int,
        stop: Callable[[], bool],
        abandon: Callable[[], bool],
        deadline: float = 600.0,
    ) -> None:
        self._client = client
        self._name = name
        self._size = size
        self._stop = stop
        self._abandon = abandon
        self._deadline = deadline
        self._in_flight: dict[Any, _Task] = {}
        self._completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._numbers = count()
        self._suspects: deque[_Task] = deque()
        # When it was first seen that a task has ended, of those that are in flight all the same.
        self._ended: dict[Any, float] = {}
        self._given_up: deque[Outcome] = deque()
        self._ended_well = 0
        self._workers = 0
        self._threads = 0
        self._counted = float("-inf")
        self._none_since: float | None = None
        # When the first task was sent, on the monotonic clock.
        self.began: float | None = None
        # Whether images were left when it was time to stop.
        self.left = False

    def run(self, images: Iterator[Unit]) -> Iterator[list[Outcome]]:
        """Yield the outcome of every image, a task's together, in any order, until all are done or stopped.

        Raises
        ------
        SchedulerError
            When the scheduler is lost, or has had no worker for two minutes.
        MammofastError
            When a worker cannot screen at all.

        """
        tasks = _cut(images, self._size)
        try:
            while True:
                self._fill(tasks)
                while self._given_up:
                    yield [self._given_up.popleft()]
                if not self._in_flight:
                    # A run that was done when its time was up was not stopped by it.
                    self.left = bool(self._suspects) or next(tasks, None) is not None
                    return
                if self._completed.has_ready():
                    yield from self._collect()
                elif self._abandon():
                    return
                else:
                    self._look_after_workers()
                    time.sleep(_POLL_SECONDS)
        finally:
            if self._in_flight and self._client.status == "running":
                self._client.cancel(list(self._in_flight), force=True)

    def _fill(self, tasks: Iterator[_Task]) -> None:
        """Send what there is room for; what is suspected first, so that the end of a run does not wait for it."""
        self._look_after_workers()
        while not self._stop():
            if self._suspects and sum(task.alone > 0 for task in self._in_flight.values()) < max(self._workers, 1):
                suspect = self._suspects.popleft()
                self._send(suspect, screen_alone if suspect.alone else screen_task)
            elif len(self._in_flight) < TASKS_PER_WORKER * max(self._threads, 1):
                with span(LIST):
                    task = next(tasks, None)
                if task is None:
                    return
                self._send(task, screen_task)
                if self._completed.has_ready():
                    return  # listing may take long: what is finished is not to wait for a full window
            else:
                return

    def _send(self, task: _Task, what: Callable[..., Any]) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began = now
        with span(SEND, len(task.images)):
            # The run's name first: that is how its scheduler knows our tasks.
            key = f"{self._name}-{next(self._numbers)}"
            future = self._client.submit(what, self._name, packed(task.images), self._deadline, key=key, pure=False)
            self._in_flight[future] = replace(task, sent=now)
            self._completed.add(future)
        sample(IN_FLIGHT, len(self._in_flight))

    def _collect(self) -> Iterator[list[Outcome]]:
        for future, result in self._completed.next_batch(block=False):
            if future not in self._in_flight:  # given up
                continue
            task = self._in_flight[future]
            if future.status == "finished":
                self._ended_well += 1
                yield [Outcome(image, *outcome) for image, outcome in zip(task.images, unpacked(result), strict=True)]
            else:
                _raise_if_hopeless(result, task, self._client.status == "running", self._ended_well > task.others)
                self._suspect(task)
            del self._in_flight[future]
            future.release()
            sample(IN_FLIGHT, len(self._in_flight))

    def _suspect(self, task: _Task) -> None:
        """Have a task's images screened alone; where that went wrong too often, each by itself; then give it up."""
        if task.alone >= TRIES_ALONE and len(task.images) > 1:
            self._suspects.extend(_Task([image]) for image in task.images)
        elif task.alone >= TRIES_ALONE:
            self._given_up.extend(Outcome(image) for image in task.images)
        else:
            others = task.others if task.alone else self._ended_well
            self._suspects.append(replace(task, alone=task.alone + 1, others=others))

    def _look_after_workers(self) -> None:
        now = time.monotonic()
        if now - self._counted <= _COUNT_SECONDS or self._client.status != "running":
            return
        self._counted = now
        try:
            threads = self._client.nthreads()
            self._give_up_overdue(now)
            self._give_up_unfetched(now)
        except OSError:  # a lost scheduler shows in what was sent to it
            return
        self._workers, self._threads = len(threads), sum(threads.values())
        if self._workers:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = now
        elif now - self._none_since >= NO_WORKER_SECONDS:
            raise SchedulerError(
                f"the Dask scheduler has had no worker for {NO_WORKER_SECONDS:.0f} s; start some with `dask worker`, "
                "then run again: what was recorded is safe"
            )

    def _give_up_unfetched(self, now: float) -> None:
        """Screen again what has ended long ago and never came.

        Where a worker dies while its result is fetched, Dask does the task again; where that fails in turn, what
        fetches fails with it, and says nothing.
        """
        ended = {future: self._ended.get(future, now) for future in self._in_flight if future.done()}
        if ended and not self._completed.has_ready():
            for future in [future for future, since in ended.items() if now - since > _FETCH_SECONDS]:
                del ended[future]
                self._suspect(self._in_flight.pop(future))
                future.release()
        self._ended = ended

    def _give_up_overdue(self, now: float) -> None:
        """Restart workers that should have ended themselves long ago, say because their machine stands still."""
        overdue = {
            future.key: future
            for future, task in self._in_flight.items()
            if now - task.sent > _OVERDUE_FACTOR * self._deadline * max(self._size, task.time_units) + _OVERDUE_SECONDS
        }
        if not overdue:
            return
        # What no worker holds yet waits for one: no fault of its own.
        held = {worker: set(keys) & set(overdue) for worker, keys in self._client.processing().items()}
        stuck = [worker for worker, keys in held.items() if keys]
        for key in set().union(*held.values()):
            future = overdue[key]
            self._suspect(self._in_flight.pop(future))
            self._client.cancel([future], force=True)
        if stuck:
            self._client.restart_workers(stuck, timeout=_RESTART_SECONDS, raise_for_error=False)


def _cut(images: Iterator[Unit], size: int) -> Iterator[_Task]:
    """Cut images into tasks of at most so many, and of bounded bytes."""
    task: list[Unit] = []
    total = 0
    for image in images:
        decoded = image.record.nbytes
        if task and (len(task) == size or total + decoded > TASK_BYTES):
            yield _Task(task)
            task, total = [], 0
        task.append(image)
        total += decoded
    if task:
        yield _Task(task)


def _raise_if_hopeless(result: Any, task: _Task, connected: bool, others_go_on: bool) -> None:
    """Pass over what one image can cause; raise what would fail every image the same way."""
    error = result[1] if isinstance(result, tuple) else result
    if isinstance(error, KilledWorker):
        return
    if isinstance(error, EngineError) and (task.alone < TRIES_ALONE or others_go_on):
        return  # a second bundle found no room beside the first; it may elsewhere, or later, or this image fails
    if isinstance(error, MammofastError):
        raise error
    if isinstance(error, CancelledError) and not connected:
        # What Dask does to all that is in flight when the connection breaks.
        raise SchedulerError("the Dask scheduler is gone; what was recorded is safe, run again to resume") from error
    if task.alone >= TRIES_ALONE:  # whatever it is, no image did it
        words = f"the workers cannot run this mammofast's tasks ({type(error).__name__}); give all machines the same"
        raise SchedulerError(words) from None
