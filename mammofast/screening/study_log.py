"""A line for each study once all of its images are on record: JSON, UIDs only, for whoever watches a night."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mammofast.objects import ObjectPath, place
from mammofast.screening.entry import DONE, FAILED, SKIPPED

STDERR = "-"
_STDERR_NUMBER = 2
Say = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass(slots=True)
class _Study:
    """A study that was begun. images: what became of each, None before. counts: how many by status; left: of none."""

    images: dict[str, str | None]
    counts: dict[str, int]
    already: int
    left: int
    worker_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)


class StudyLog:
    """Follows images and says what became of each study.

    A line holds: time (local, ISO 8601), study_uid; done, skipped, failed, how many images; already, how many of these
    were on record before this run; seconds, from when the study was begun; worker_seconds, what its images took
    workers, added up; images, by SOP Instance UID the status and, unless it is done, the reason's first word. A study
    of which this run had nothing to do has no line; one that a stopped run left unfinished has it from the run that
    finishes it. Files that never became images are in no study.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._studies: dict[str, _Study] = {}
        # Those of which all is on record and nothing is said, in this order.
        self._complete: dict[str, None] = {}

    def flush(self) -> None:
        """Say what there is to say by now, all at once: to open a file for each study takes longer than its line."""
        if not self._complete:
            return
        now, moment = datetime.now().astimezone().isoformat(timespec="seconds"), time.monotonic()
        lines = []
        for study_uid in self._complete:
            study = self._studies.pop(study_uid)
            lines.append(
                {
                    "time": now,
                    "study_uid": study_uid,
                    **study.counts,
                    "already": study.already,
                    "seconds": round(moment - study.began, 3),
                    "worker_seconds": round(study.worker_seconds, 3),
                    "images": study.images,
                }
            )
        self._complete = {}
        self._say(lines)

    def begin(self, study_uid: str, images: Mapping[str, str | None]) -> None:
        """Name a study's images, by SOP Instance UID, each with the status that is on record before, or None.

        Those of a study that has been begun and is not yet said are added to it.
        """
        if study_uid in self._complete:
            self.flush()
        counts = dict.fromkeys((DONE, SKIPPED, FAILED), 0)
        for status in images.values():
            if status is not None:
                counts[status] += 1
        already = sum(counts.values())
        left = len(images) - already
        if (study := self._studies.get(study_uid)) is not None:
            study.images.update(images)
            study.counts = {status: n + study.counts[status] for status, n in counts.items()}
            study.already += already
            study.left += left
        elif left:
            self._studies[study_uid] = _Study(dict(images), counts, already, left)

    def recorded(self, study_uid: str, sop_uid: str, status: str, reason: str | None, seconds: float | None) -> None:
        """Say that an image is on record now."""
        study = self._studies[study_uid]
        study.images[sop_uid] = status if reason is None else f"{status}: {reason.partition(':')[0]}"
        study.counts[status] += 1
        study.worker_seconds += seconds or 0.0
        study.left -= 1
        if not study.left:
            self._complete[study_uid] = None


def lines_to(where: Path | str) -> Say:
    """Return what appends lines of JSON to a file, made with its folder at the first; ``"-"`` is standard error.

    What cannot be written is left out: no run fails for its log. That is all of it on ``s3://``, where nothing can be
    added to what is there.
    """
    path = None if where == STDERR else place(where)
    if isinstance(path, ObjectPath):
        return lambda lines: None

    def say(lines: Sequence[Mapping[str, Any]]) -> None:
        content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
        with suppress(OSError):
            if path is None:
                os.write(_STDERR_NUMBER, content)
                return
            try:
                _append(path, content)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                _append(path, content)

    return say


def _append(path: Path, content: bytes) -> None:
    # Opened again each time: who rotates logs takes the file away.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(file, content)
    finally:
        os.close(file)
