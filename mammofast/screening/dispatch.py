"""Keeping workers busy with little in flight, and finding out which image broke one."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from itertools import count
from typing import Any

from distributed import Client, KilledWorker

from mammofast.archive import Unit
from mammofast.errors import EngineError, MammofastError, SchedulerError
from mammofast.screening.cutting import Name, Task, cut
from mammofast.screening.task import Result, results_topic, screen_alone, screen_task, unpacked
from mammofast.screening.trace import IN_FLIGHT, LIST, SEND
from mammofast.tracing import sample, span

# One being worked on, one waiting: enough that a worker never waits for us, and all that is lost when it dies.
TASKS_PER_WORKER = 2
# How often images that were alone are tried when what ends is not their own process but the worker that looks on.
TRIES_ALONE = 5
# How often to look what has come: with more in flight less often, so that several are there at once.
_POLL_SECONDS, _POLL_SECONDS_PER_TASK, _LONGEST_POLL_SECONDS = 0.05, 0.001, 0.5
# What is listed within so long is sent together.
_LIST_SECONDS = 0.1
# How long a task may have ended without its result.
_RESULT_SECONDS = 30.0
# How often to look how many workers a cluster has by now, and for tasks that take too long.
_COUNT_SECONDS = 10.0
# How long a cluster may have no worker at all: enough for one that died to be back, or for one that is being started.
NO_WORKER_SECONDS = 120.0
# Workers end themselves where a task takes too long; this much later nobody waits any more for one that cannot even do
# that. A task may have waited behind others.
_OVERDUE_FACTOR, _OVERDUE_SECONDS = 2 * TASKS_PER_WORKER, 60.0
_RESTART_SECONDS = 30.0


class Dispatcher:
    """Sends images to workers, a few a task, and yields what comes back.

    Dask takes whatever it is given at once, so the bound on what is in flight is ours. When a worker dies, Dask blames
    all tasks it held: their images are screened again at once, each alone in a process that may die of it
    (:mod:`mammofast.screening.alone`).

    size: images a task, at most. stop: asked before anything is sent; True ends sending. abandon: asked all the time;
    True ends waiting as well. give_up: makes the result of an image that outlived no worker. deadline: seconds that an
    image, or ten slices of a volume, may take.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        size: int,
        stop: Callable[[], bool],
        abandon: Callable[[], bool],
        give_up: Callable[[Unit], Result],
        deadline: float = 600.0,
    ) -> None:
        self._client = client
        self._name = name
        self._size = size
        self._stop = stop
        self._abandon = abandon
        self._give_up = give_up
        self._deadline = deadline
        # By their keys.
        self._in_flight: dict[str, Task] = {}
        # Keys and what came of them; Dask's thread puts them here.
        self._arrived: deque[tuple[str, bytes]] = deque()
        self._found: list[tuple[Name, Result]] = []
        self._numbers = count()
        self._suspects: deque[Task] = deque()
        # When it was first seen that a task has ended, of those whose results have not come.
        self._ended: dict[str, float] = {}
        self._ended_well = 0
        self._workers = 0
        self._threads = 0
        self._counted = self._looked = float("-inf")
        self._none_since: float | None = None
        # When the first task was sent, on the monotonic clock.
        self.began: float | None = None
        # Whether images were left when it was time to stop.
        self.left = False

    def run(self, images: Iterator[tuple[Unit, Name]]) -> Iterator[list[tuple[Name, Result]]]:
        """Yield the result of every image, many at once, in any order, until all are done or stopped.

        Raises
        ------
        SchedulerError
            When the scheduler is lost, or has had no worker for two minutes.
        MammofastError
            When a worker cannot screen at all.

        """
        tasks = cut(images, self._size)
        self._client.subscribe_topic(results_topic(self._name), lambda event: self._arrived.append(event[1]))
        try:
            while True:
                self._fill(tasks)
                if not (self._in_flight or self._found):
                    # A run that was done when its time was up was not stopped by it.
                    self.left = bool(self._suspects) or next(tasks, None) is not None
                    return
                self._collect()
                if time.monotonic() - self._looked >= self._pause():
                    self._look_for_failures()
                if self._found:
                    found, self._found = self._found, []
                    yield found
                elif self._abandon():
                    return
                else:
                    time.sleep(self._pause())
        finally:
            if self._client.status == "running":
                self._client.unsubscribe_topic(results_topic(self._name))
                if self._in_flight:
                    self._client.cancel([task.future for task in self._in_flight.values()], force=True)

    def _fill(self, tasks: Iterator[Task]) -> None:
        """Send what there is room for; what is suspected first, so that the end of a run does not wait for it."""
        self._look_after_workers()
        while not self._stop():
            if self._suspects and sum(task.alone > 0 for task in self._in_flight.values()) < max(self._workers, 1):
                suspect = self._suspects.popleft()
                self._send([suspect], screen_alone if suspect.alone else screen_task)
            elif listed := self._list(tasks, TASKS_PER_WORKER * max(self._threads, 1) - len(self._in_flight)):
                self._send(listed, screen_task)
                if self._arrived:
                    return  # listing may take long: what is finished is not to wait for a full window
            else:
                return

    def _list(self, tasks: Iterator[Task], room: int) -> list[Task]:
        """Take as many tasks as there is room for, or as are there in a moment."""
        listed: list[Task] = []
        with span(LIST):
            end = time.monotonic() + _LIST_SECONDS
            while len(listed) < room and (not listed or time.monotonic() < end):
                if (task := next(tasks, None)) is None:
                    break
                listed.append(task)
        return listed

    def _send(self, tasks: list[Task], what: Callable[..., Any]) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began = now
        with span(SEND, sum(len(task.names) for task in tasks)):
            # The run's name first: that is how its scheduler and its workers know our tasks.
            keys = [f"{self._name}-{next(self._numbers)}" for _ in tasks]
            contents = [task.content for task in tasks]
            options = {"name": self._name, "deadline": self._deadline}
            futures = self._client.map(what, contents, key=keys, pure=False, **options)
            for key, task, future in zip(keys, tasks, futures, strict=True):
                self._in_flight[key] = replace(task, future=future, sent=now)
        sample(IN_FLIGHT, len(self._in_flight))

    def _collect(self) -> None:
        """Take what has arrived."""
        while self._arrived:
            key, content = self._arrived.popleft()
            if key in self._in_flight:  # not given up
                task = self._end(key)
                self._ended_well += 1
                self._found += zip(task.names, unpacked(content), strict=True)

    def _look_for_failures(self) -> None:
        """See which tasks have failed: Dask's own word, which comes with no event."""
        self._looked = time.monotonic()
        for key in [key for key, task in self._in_flight.items() if task.future.status in ("error", "cancelled")]:
            future = self._in_flight[key].future
            error = future.exception() if future.status == "error" else CancelledError()
            task = self._end(key)
            _raise_if_hopeless(error, task, self._client.status == "running", self._others_go_on(task))
            self._suspect(task)

    def _pause(self) -> float:
        """Return how long to wait before looking again."""
        return min(max(_POLL_SECONDS, _POLL_SECONDS_PER_TASK * len(self._in_flight)), _LONGEST_POLL_SECONDS)

    def _end(self, key: str) -> Task:
        task = self._in_flight.pop(key)
        task.future.release()
        sample(IN_FLIGHT, len(self._in_flight))
        return task

    def _others_go_on(self, task: Task) -> bool:
        """Say whether tasks have ended well since this one was first suspected."""
        return task.others is not None and self._ended_well > task.others

    def _suspect(self, task: Task) -> None:
        """Have a task's images screened alone; where that went wrong too often, each by itself; then give it up."""
        if task.alone >= TRIES_ALONE and len(task.names) > 1:
            self._suspects.extend(replace(Task.of([unit]), others=task.others) for unit in task.units())
        elif task.alone >= TRIES_ALONE:
            self._found.extend((name, self._give_up(image)) for image, name in task.units())
        else:
            others = self._ended_well if task.others is None else task.others
            self._suspects.append(replace(task, alone=task.alone + 1, others=others))

    def _look_after_workers(self) -> None:
        now = time.monotonic()
        if now - self._counted <= _COUNT_SECONDS or self._client.status != "running":
            return
        self._counted = now
        try:
            threads = self._client.nthreads()
            self._give_up_overdue(now)
        except OSError:  # a lost scheduler shows in what was sent to it
            return
        self._give_up_lost(now)
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

    def _give_up_lost(self, now: float) -> None:
        """Screen again what has ended long ago while its result never came, which Dask does not promise."""
        ended = {key: self._ended.get(key, now) for key, task in self._in_flight.items() if task.future.done()}
        if not self._arrived:
            for key in [key for key, since in ended.items() if now - since > _RESULT_SECONDS]:
                del ended[key]
                self._suspect(self._end(key))
        self._ended = ended

    def _give_up_overdue(self, now: float) -> None:
        """Restart workers that should have ended themselves long ago, say because their machine stands still."""
        overdue = {
            key
            for key, task in self._in_flight.items()
            if now - task.sent > _OVERDUE_FACTOR * self._deadline * max(self._size, task.time_units) + _OVERDUE_SECONDS
        }
        if not overdue:
            return
        # What no worker holds yet waits for one: no fault of its own.
        held = {worker: set(keys) & overdue for worker, keys in self._client.processing().items()}
        stuck = [worker for worker, keys in held.items() if keys]
        for key in set().union(*held.values()):
            task = self._in_flight.pop(key)
            self._suspect(task)
            self._client.cancel([task.future], force=True)
        if stuck:
            self._client.restart_workers(stuck, timeout=_RESTART_SECONDS, raise_for_error=False)


def _raise_if_hopeless(error: Any, task: Task, connected: bool, others_go_on: bool) -> None:
    """Pass over what one image can cause; raise what would fail every image the same way."""
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
