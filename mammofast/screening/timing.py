"""What a call of ``screen`` was: when, with what, where, and what came of it.

Kept beside the results, in none of them, since the same image must give the same bytes.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import numpy as np

from mammofast.errors import ResultsError

INTERRUPTED, TIME_IS_UP = "interrupted", "time is up"
_PERCENTILES = (50, 90, 95, 99)
# Percentiles are of all images up to so many, of as many drawn from them beyond: a night must not grow with its images.
_KEPT = 1 << 16
Write = Callable[[str, Mapping[str, Any]], None]


def call_name() -> str:
    """Return a name for a call of ``screen``: names sort by time, and no two calls share one."""
    return f"{_now():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


class Stopwatch:
    """One call of ``screen``, from its start to its end; a run that was stopped and resumed has several.

    workers: processes of this machine; None for a cluster's. name: the call's, if it has one. facts: what else is kept.
    counts: gives numbers of images, by status, as they are now.
    stopped: why it ended before all was done; None where nothing is left to do.
    began: when the first worker got something to do, on the monotonic clock; None before.
    """

    def __init__(
        self,
        workers: int | None,
        name: str | None = None,
        facts: Mapping[str, Any] | None = None,
        counts: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.name = name or call_name()
        self.stopped: str | None = None
        self.began: float | None = None
        self._recorded: float | None = None
        self._workers = workers
        self._facts = facts or {}
        self._counts = counts
        self._started = _now()
        self._start = time.monotonic()
        self._ended: datetime | None = None
        self._seconds: float | None = None
        self._images = 0
        self._known = 0
        self._kept: list[float] = []
        self._draw = random.Random(0)

    def add(self, images: Sequence[float | None]) -> None:
        """Count images that were put on record, each with the seconds that it took its worker, where that is known."""
        self._recorded = time.monotonic()
        self._images += len(images)
        for seconds in images:
            if seconds is None:
                continue
            self._known += 1
            if len(self._kept) < _KEPT:
                self._kept.append(seconds)
            elif (place := int(self._draw.random() * self._known)) < _KEPT:
                self._kept[place] = seconds

    def end(self) -> None:
        """Stop."""
        self._ended, self._seconds = _now(), time.monotonic() - self._start

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept, JSON-ready.

        started, ended: local time, ISO 8601; ended, and seconds, are null until the end, and for ever after a kill.
        steady_seconds: from when the first worker got something to do to when the last image was put on record, without
        what starting and ending takes; null where no worker was needed.
        images: put on record by workers. image_ms: percentiles of what an image took its worker, or null.
        counts: of all images, by status. exit_status: what ``mammofast screen`` ends with, null until then: 0, 3 with
        images that failed, 1 where it was interrupted or could not go on.
        """
        known = [1000 * seconds for seconds in self._kept]
        at = zip(_PERCENTILES, np.percentile(known, _PERCENTILES), strict=True) if known else ()
        return {
            "started": self._started.isoformat(),
            "ended": None if self._ended is None else self._ended.isoformat(),
            "seconds": None if self._seconds is None else round(self._seconds, 3),
            "steady_seconds": self._steady_seconds(),
            "workers": self._workers,
            "images": self._images,
            "image_ms": {f"p{percent}": round(float(value), 1) for percent, value in at} or None,
            "stopped": self.stopped,
            "exit_status": self._exit_status(),
            "counts": dict(self._counts()),
            **self._facts,
        }

    def _exit_status(self) -> int | None:
        if self._ended is None:
            return None
        if self.stopped not in (None, TIME_IS_UP):
            return 1
        return 3 if self._counts().get("failed") else 0

    def _steady_seconds(self) -> float | None:
        if self.began is None or self._recorded is None:
            return None
        return round(self._recorded - self.began, 3)


@contextmanager
def timed(
    write: Write,
    workers: int | None,
    name: str | None = None,
    facts: Mapping[str, Any] | None = None,
    counts: Callable[[], Mapping[str, int]] = dict,
) -> Iterator[Stopwatch]:
    """Keep what the block takes; its start is written before, so that a run that is killed is seen too.

    write: takes a name and what is kept under it, over what is there. The rest as :class:`Stopwatch` takes it.
    """
    watch = Stopwatch(workers, name, facts, counts)
    write(watch.name, watch.as_dict())
    try:
        yield watch
    except BaseException as error:
        watch.stopped = type(error).__name__
        raise
    finally:
        watch.end()
        # The results are safe by now: that the disk has no room left for their timing is no reason to fail.
        with suppress(ResultsError):
            write(watch.name, watch.as_dict())


def _now() -> datetime:
    return datetime.now().astimezone().replace(microsecond=0)
