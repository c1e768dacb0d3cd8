"""A pipeline at work: threads for every stage, driven by a :class:`mammofast.pipeline.board.Board`."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from mammofast.errors import DeviceLostError, EngineError
from mammofast.pipeline.board import Board
from mammofast.pipeline.memory import Hold
from mammofast.pipeline.stage import Stage
from mammofast.pipeline.tickets import Outcome, Report, Run, Task, Ticket


@dataclass(slots=True, eq=False)
class _Worker:
    """A stage's thread. since: when its present call began, on the monotonic clock; None while it waits for work."""

    stage: int
    thread: threading.Thread | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """Somebody who waits until something is the case."""

    news: threading.Condition
    is_over: Callable[[], bool]


class Flow:
    """Stages that work at the same time, each on other images; use it in a ``with`` block, or close it.

    Threads sleep until there is something to do; all that they share lies behind one lock, which no stage's code runs
    under. Several threads may :meth:`run` images at once: they share batches, and each gets its own outcomes.

    Parameters
    ----------
    stages, holds, enter: as :class:`mammofast.pipeline.board.Board` takes them.
    hung_after: seconds from which on a call on a device is taken to never return. A device that hangs cannot be made to
        go on: the flow is broken then, as by one that is lost, and its process had better end.

    """

    def __init__(
        self,
        stages: Sequence[Stage],
        holds: Sequence[Hold] = (),
        enter: Callable[[Any, Sequence[Any]], Any] | None = None,
        hung_after: float | None = None,
    ) -> None:
        self._board = Board(stages, holds) if enter is None else Board(stages, holds, enter)
        self._hung_after = hung_after
        self._lock = threading.Lock()
        self._work = [threading.Condition(self._lock) for _ in stages]
        self._waiting: list[_Waiting] = []
        self._closing = False
        self._broken: BaseException | None = None
        self._workers = [_Worker(number) for number, stage in enumerate(stages) for _ in range(stage.workers)]
        for worker in self._workers:
            name = stages[worker.stage].name
            worker.thread = threading.Thread(target=self._serve, args=(worker,), name=name, daemon=True)
            worker.thread.start()

    def run(self, images: Iterable[Any]) -> Iterator[Outcome]:
        """Send images through and yield what became of each, as they are done, in any order.

        The next image is asked for when the first stage has room for it and its holds are free, by the thread that
        iterates: who is slow with outcomes gets fewer images read. Until it is there, or there is none, batches wait to
        be filled by it. Whoever stops iterating early drops the rest.

        Raises
        ------
        DeviceLostError
            When a call lost its device, or hangs.
        EngineError
            When the flow is closed meanwhile.
        BaseException
            What ended a stage's thread, where that was no ``Exception``.

        """
        with self._lock:
            run = self._board.open()
        try:
            yield from self._feed(run, images)
            with self._changing():
                run.exhausted = True
            yield from self._outcomes(run, lambda: run.left == 0)
        finally:
            with self._changing():
                self._board.close(run)

    def results(self, images: Iterable[Any]) -> list[Outcome]:
        """Send images through; return what became of each, in the order asked for."""
        return sorted(self.run(images), key=lambda outcome: outcome.index)

    def close(self) -> None:
        """Let the calls at work end, and all threads with them; closing twice is allowed.

        A call that hangs is not waited for.
        """
        with self._lock:
            self._closing = True
            self._wake_all()
        for worker in self._workers:
            while worker.thread is not None and worker.thread.is_alive() and not self._hangs(worker):
                worker.thread.join(self._patience([worker]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _feed(self, run: Run, images: Iterable[Any]) -> Iterator[Outcome]:
        for index, image in enumerate(images):
            ticket = self._board.ticket(run, index, image)
            with self._changing():
                self._board.offer(ticket)
            yield from self._outcomes(run, lambda: run.offered is None)

    def _outcomes(self, run: Run, done: Callable[[], bool]) -> Iterator[Outcome]:
        """Yield outcomes as they come, until something is the case and none is left."""
        waiting = _Waiting(threading.Condition(self._lock), lambda: bool(run.outcomes) or done())
        while True:
            with self._lock:
                self._wait(waiting)
                if not run.outcomes:
                    return
                outcome = run.outcomes.popleft()
                run.away = True
                self._wake()
            yield outcome
            with self._lock:
                run.away = False

    def _wait(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        try:
            while not waiting.is_over():
                self._raise_if_broken()
                waiting.news.wait(self._patience(self._workers))
        finally:
            self._waiting.remove(waiting)

    def _serve(self, worker: _Worker) -> None:
        """Be a stage's thread."""
        try:
            while self._work_once(worker):
                pass
        except BaseException as error:  # a device that is lost, KeyboardInterrupt: nobody would hear of it here
            with self._lock:
                self._broken = self._broken or error
                self._wake_all()

    def _work_once(self, worker: _Worker) -> bool:
        """Wait for a task and do it; False where it is time to end. What it held is let go when this returns."""
        task = self._next(worker)
        if task is None:
            return False
        report = task.run()
        worker.since = None
        for ticket in self._report(report):
            self._bring_on(ticket)
        return True

    def _next(self, worker: _Worker) -> Task | None:
        """Wait for a task; None says that it is time to end."""
        with self._lock:
            while not self._closing and self._broken is None:
                if (task := self._board.task(worker.stage)) is not None:
                    worker.since = time.monotonic()
                    self._wake()
                    return task
                self._work[worker.stage].wait()
        return None

    def _report(self, report: Report) -> list[Ticket]:
        with self._changing():
            return self._board.finish(report)

    def _bring_on(self, ticket: Ticket) -> None:
        step = self._board.step(ticket)
        with self._changing():
            self._board.moved(ticket, step)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            finally:
                self._wake()

    def _wake(self) -> None:
        """Wake who has something to do now: of each stage one worker, which wakes the next one, if there is more."""
        for number, condition in enumerate(self._work):
            if self._board.can_start(number):
                condition.notify()
        for waiting in self._waiting:
            if waiting.is_over():
                waiting.news.notify()

    def _wake_all(self) -> None:
        for condition in (*self._work, *(waiting.news for waiting in self._waiting)):
            condition.notify_all()

    def _patience(self, workers: Sequence[_Worker]) -> float | None:
        """Return how long to wait before looking whether a call hangs."""
        if self._hung_after is None:
            return None
        now = time.monotonic()
        began = [since for worker in workers if self._is_on_device(worker) and (since := worker.since) is not None]
        return max(0.0, min(began, default=now) + self._hung_after - now)

    def _hangs(self, worker: _Worker) -> bool:
        since = worker.since
        if self._hung_after is None or since is None or not self._is_on_device(worker):
            return False
        return time.monotonic() - since >= self._hung_after

    def _is_on_device(self, worker: _Worker) -> bool:
        return self._board.stages[worker.stage].device

    def _raise_if_broken(self) -> None:
        for worker in self._workers:
            if self._broken is None and self._hangs(worker):
                name = self._board.stages[worker.stage].name
                self._broken = DeviceLostError(
                    f"stage {name!r} has not come back for {self._hung_after:g} s; end this process, start it again"
                )
                self._wake_all()
        if self._broken is not None:
            raise self._broken
        if self._closing:
            raise EngineError("the pipeline was closed while it had images; open it again")
