"""When to stop before everything is done: Ctrl-C, SIGTERM, SIGHUP, or a time of day."""

import faulthandler
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import FrameType

from mammofast.screening.watch import NOWHERE

# SIGHUP is a terminal that is closed, a connection that broke.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Whether one of ``SIGNALS`` came."""

    def __init__(self) -> None:
        self.came = False

    def __bool__(self) -> bool:
        return self.came


@contextmanager
def interruptible(grace: float | None = None) -> Iterator[Interrupt]:
    """Within this block the first of ``SIGNALS`` only sets a mark, so that it can cut nothing in two.

    A second one does what it did before the block. Python delivers signals to the main thread alone; elsewhere this
    does nothing. grace: seconds that the block may go on after that, whatever it waits for; then the process ends with
    exit status 1. None: as long as it takes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def handle(number: int, frame: FrameType | None) -> None:
        interrupt.came = True
        restore()
        if grace is not None:
            # Its thread needs nothing of Python's: not even a call that never comes back keeps this process.
            faulthandler.dump_traceback_later(grace, exit=True, file=NOWHERE)

    for number in SIGNALS:
        # What the program ignores, say under nohup, it goes on ignoring.
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield interrupt
    finally:
        restore()
        if interrupt.came and grace is not None:
            faulthandler.cancel_dump_traceback_later()


def next_time(until: str, now: datetime | None = None) -> datetime:
    """Return the next moment, in local time, at which a clock shows "HH:MM".

    Raises
    ------
    ValueError
        When it is no time of day.

    """
    now = now or datetime.now()
    try:
        time = datetime.strptime(until, "%H:%M")
    except ValueError:
        raise ValueError(f"until: got {until!r}, expected a time of day such as 06:30") from None
    moment = now.replace(hour=time.hour, minute=time.minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


def in_words(moment: datetime, now: datetime | None = None) -> str:
    """Return "HH:MM", and "tomorrow" where it is: a time just past is the next day's."""
    today = (now or datetime.now()).date()
    return f"{moment:%H:%M}" + ("" if moment.date() == today else " tomorrow")
