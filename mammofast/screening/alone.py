"""Screening an image in a process of its own: it may crash, never come back or take all memory, and only that is said.

When a worker dies, any image that it held may be to blame. Each is screened again here, alone; the one that ends this
process too is convicted by it, and the worker that looks on lives. What only the worker needs is imported there.
"""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Self

from mammofast.archive import Unit
from mammofast.errors import DeviceLostError, EngineError, MammofastError, Reason
from mammofast.screening.entry import FAILED, Entry, ImageInfo, Run
from mammofast.screening.outcomes import Screener, screen_images

# Loading networks may take long on a card; not for ever.
_OPENING_SECONDS = 1800.0
_LOOK_SECONDS = 0.02
_ENDING_SECONDS = 10.0
# Of a worker's memory limit, where Dask's nanny ends the worker.
_TERMINATE = 0.95
_PR_SET_PDEATHSIG = 1
# Each process holds the bundle's networks once more.
_ONE_AT_A_TIME = threading.Lock()


class Ended(Exception):
    """The process is gone. reason, words: why."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(reason, words)
        self.reason = reason
        self.words = words


@dataclass(slots=True)
class Apart:
    """Screens one image at a time in a child process; one that an image has ended is replaced by a new one.

    open_screener: opens the bundle there. deadline: seconds for an image, and for every ten slices of a volume.
    memory_limit: bytes; None for no limit.
    """

    open_screener: Callable[[], Screener]
    deadline: float
    memory_limit: int | None = None
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _link: "Connection[Any, Any] | None" = field(default=None, init=False)

    def screen(self, image: Unit) -> tuple[str, bytes]:
        """Return what :func:`mammofast.screening.outcomes.screen_images` gives for the image.

        Raises
        ------
        Ended
            When the image ended the process, or had to be ended with it.
        MammofastError
            When the bundle cannot be opened there.

        """
        if self._child is None:
            self._start()
        try:
            outcome: tuple[str, bytes] | DeviceLostError = self._ask(image, self.deadline * image.record.time_units)
            if isinstance(outcome, DeviceLostError):
                raise Ended(Reason.WORKER, f"lost the card of a process of its own: {outcome}")
        except Ended:
            self.close()
            raise
        return outcome

    def close(self) -> None:
        """End the process."""
        child, link, self._child, self._link = self._child, self._link, None, None
        if child is not None and link is not None:
            child.kill()
            child.wait()
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self) -> None:
        from distributed.protocol.pickle import dumps

        self._link, theirs = Pipe()
        with theirs:
            self._child = subprocess.Popen(  # noqa: S603
                # -P: what is imported is what is imported here, not what lies in the current folder.
                [sys.executable, "-P", "-m", "mammofast.screening.alone", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            answer = self._ask(dumps(self.open_screener), _OPENING_SECONDS)
        except Ended as ended:
            self.close()
            raise EngineError(f"the bundle could not be opened in a process of its own: {ended.words}") from None
        if isinstance(answer, MammofastError):
            self.close()
            raise answer

    def _ask(self, question: Any, seconds: float) -> Any:
        """Send something and return the answer; watch the process meanwhile."""
        assert self._child is not None
        assert self._link is not None
        end = time.monotonic() + seconds
        try:
            self._link.send(question)
            while not self._link.poll(_LOOK_SECONDS):
                if time.monotonic() > end:
                    raise Ended(Reason.HUNG, f"not done after {seconds:g} s in a process of its own")
                if self.memory_limit is not None and _resident(self._child.pid) > self.memory_limit:
                    raise Ended(Reason.MEMORY, f"took more than {self.memory_limit} bytes in a process of its own")
            return self._link.recv()
        except (EOFError, OSError):
            raise Ended(Reason.WORKER, f"ended a process of its own ({_how(self._child)})") from None


def screen_each_alone(name: str, images: Iterable[Unit], deadline: float) -> list[tuple[str, bytes, float]]:
    """Screen images as :func:`mammofast.screening.task.screen_alone` says; one that ends its process has failed."""
    from mammofast.screening.worker import opened

    here = opened(name)
    run = Run(here.screener.bundle_id, here.screener.settings_id)
    outcomes = []
    with _ONE_AT_A_TIME, Apart(here.open_again, deadline, _memory_limit()) as apart:
        for image in images:
            start = time.monotonic()
            try:
                status, content = apart.screen(image)
            except Ended as ended:
                info = ImageInfo.of(image.record)
                status, content = FAILED, Entry(info, run, FAILED, f"{ended.reason}: {ended.words}").to_bytes()
            outcomes.append((status, content, time.monotonic() - start))
    return outcomes


def _memory_limit() -> int | None:
    from distributed import get_worker

    limit = get_worker().memory_manager.memory_limit
    return int(limit * _TERMINATE) if limit else None


def _resident(process: int) -> int:
    """Return the bytes of memory that a process holds; 0 of one that has ended and is not waited for."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _how(child: "subprocess.Popen[bytes]") -> str:
    """Say how a process that says nothing any more has ended."""
    try:
        status = child.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:  # it lives, and closed what it should answer on
        child.kill()
        status = child.wait()
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def main() -> None:
    """Screen what comes, until nothing can come any more."""
    # What is at work when the worker dies goes with it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(int(sys.argv[1])) as parent:
        try:
            screener = pickle.loads(parent.recv())()  # noqa: S301 - from the process that started this one
        except MammofastError as error:
            parent.send(error)
            return
        with screener:
            parent.send(None)
            while True:
                try:
                    image = parent.recv()
                except EOFError:
                    return
                try:
                    parent.send(screen_images(screener, [image])[0])
                except DeviceLostError as error:
                    parent.send(error)
                    return


if __name__ == "__main__":
    main()
