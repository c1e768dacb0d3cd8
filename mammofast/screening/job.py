"""One run over one archive: which images need a worker, and what becomes of each on record."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

from mammofast.archive import Archive, ArchiveVolume, ImageRecord, SkippedRecord, Unit, VolumeRecord
from mammofast.errors import ArchiveError, Reason
from mammofast.screening.dispatch import TRIES_ALONE, Dispatcher
from mammofast.screening.entry import FAILED, SKIPPED, Entry, ImageInfo, Run, parse_entry, status_of
from mammofast.screening.layout import image_name
from mammofast.screening.ledger import Results
from mammofast.screening.stopping import Interrupt
from mammofast.screening.study_log import StudyLog
from mammofast.screening.task import Result
from mammofast.screening.timing import Stopwatch
from mammofast.screening.trace import RECORD
from mammofast.tracing import span

# Threads that put results on record: one alone, which waits for the disk twice an image, would hold up a card.
RECORDERS = 16
_WAITING = 4 * RECORDERS  # parts of tasks, small ones, that may wait for them
# What a bundle may ask of images, by ImageRecord field, and the reason given where one is otherwise.
ACCEPTABLE = {
    "presentation_intent": Reason.PRESENTATION_INTENT,
    "laterality": Reason.LATERALITY,
    "view": Reason.VIEW,
    "modifiers": Reason.VIEW_MODIFIER,
}
_asked = attrgetter(*ACCEPTABLE)


def _asked_of_volume(record: ImageRecord | VolumeRecord) -> tuple[Any, ...]:
    return tuple(getattr(record, name, None) for name in ACCEPTABLE)


def _counted(there: bytes | None, result: Result) -> Result:
    """Return what counts where an outcome was on record before: that one, unless it has just been removed."""
    return result if there is None else (status_of(there), there, result[2])


@dataclass(slots=True)
class ScreenReport:
    """What became of what an archive was offered.

    done, skipped, failed: on record now, the rows of ``Results.images()``.
    already: how many images of these were on record before. left_out: how many of these are files that the archive did
    not keep. seconds: what this run took.
    stopped: "interrupted", "time is up", or None where nothing is left to do.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    already: int = 0
    left_out: int = 0
    seconds: float = 0.0
    stopped: str | None = None

    def counts(self) -> dict[str, int]:
        """Return the numbers of images and files."""
        return {name: getattr(self, name) for name in ("done", "skipped", "failed", "already", "left_out")}

    def __str__(self) -> str:
        text = f"{self.done} done, {self.skipped} skipped, {self.failed} failed"
        if self.already:
            text += f" ({self.already} of them before)"
        if self.left_out:
            text += f"; {self.left_out} of them are files that never became images"
        if self.stopped:
            text += f"; stopped, {self.stopped}: run again to go on"
        return text


# What an image in flight is known by: its study, itself, and its outcome's file name.
_Name = tuple[str, str, str]


class Job:
    """One archive, one bundle, one ledger.

    of_volumes: whether the bundle reads volumes, not images. fresh: whether nothing of the run was on record before;
    then nothing is looked up, image by image, until it shows that another program is putting the same run's on record:
    what that one found counts.
    """

    def __init__(
        self,
        archive: Archive,
        ledger: Results,
        run: Run,
        accepts: Mapping[str, list[str]],
        of_volumes: bool,
        fresh: bool,
        retry_failed: bool,
        progress: Callable[[int], None],
        log: StudyLog,
    ) -> None:
        self._archive = archive
        self._ledger = ledger
        self._run = run
        self._accepts = accepts
        self._of_volumes = of_volumes
        self._fresh = fresh and not retry_failed
        self._retry_failed = retry_failed
        self._progress = progress
        self._log = log
        # Millions of images have the same few values.
        self._refusal = lru_cache(maxsize=1024)(self._refuse)
        self.report = ScreenReport()

    def pending(self, interrupt: Interrupt) -> Iterator[tuple[Unit, _Name]]:
        """Yield the images that need a worker; put what needs none on record on the way."""
        left_out: set[str] = set()
        for study in self._studies(left_out):
            study_uid = study[0].record.study_uid
            names = [
                (study_uid, image.record.sop_uid, image_name(image.record.sop_uid, image.record.content_sha256))
                for image in study
            ]
            known = self._known(study, [name for _, _, name in names])
            self._log.begin(study_uid, {sop_uid: status for (_, sop_uid, _), status in zip(names, known, strict=True)})
            for image, name, status in zip(study, names, known, strict=True):
                if interrupt:
                    return
                if status is not None:
                    self._progress(1)
                    continue
                self._forget_replaced(image)
                if (reason := self._unaccepted(image)) is not None:
                    self._put(Entry(ImageInfo.of(image.record), self._run, SKIPPED, reason))
                    self._progress(1)
                else:
                    yield image, name
        self._log.flush()
        # An archive that is gone by now looks like one of fewer images.
        for folder in (self._archive.path, self._archive.path / "images"):
            if not (folder / "zarr.json").exists():
                raise ArchiveError("the archive is gone; what was recorded is safe, run again once it is back")
        self._ledger.forget_other_files(left_out, self._run)

    def _studies(self, left_out: set[str]) -> Iterator[list[Unit]]:
        """Yield the images of every study; put on record, and name, what the archive did not keep or cannot read."""
        study: list[Unit] = []
        # In no order: that of ten million images would have to be remembered first.
        for found in chain(self._archive.not_kept(), self._archive.all_units()):
            if isinstance(found, SkippedRecord):
                self._ledger.record_file(Entry(ImageInfo.of_file(found), self._run, found.status, found.reason))
                self._count(found.status)
                self.report.left_out += 1
                left_out.add(found.key)
                continue
            if study and study[0].record.study_uid != found.record.study_uid:
                yield study
                study = []
            study.append(found)
        if study:
            yield study

    def record(self, dispatcher: Dispatcher, images: Iterator[tuple[Unit, _Name]], watch: Stopwatch) -> None:
        """Screen images and put what comes back on record: several at a time, since each waits for the disk."""
        waiting: deque[Future[Sequence[tuple[_Name, Result]]]] = deque()

        def take() -> None:
            part = waiting.popleft().result()
            for (study_uid, sop_uid, _), (status, content, seconds) in part:
                reason = parse_entry(content).reason if status == FAILED else None
                self._log.recorded(study_uid, sop_uid, status, reason, seconds)
            for status, n in Counter([status for _, (status, _, _) in part]).items():
                self._count(status, n)
            watch.add([seconds for _, (_, _, seconds) in part])
            self._progress(len(part))

        try:
            with ThreadPoolExecutor(RECORDERS, thread_name_prefix="record") as recorders:
                for found in dispatcher.run(images):
                    watch.began = dispatcher.began
                    size = -(-len(found) // RECORDERS)
                    for start in range(0, len(found), size):
                        waiting.append(recorders.submit(self._put_all, found[start : start + size]))
                    while waiting and (waiting[0].done() or len(waiting) > _WAITING):
                        take()
                    self._log.flush()
                while waiting:
                    take()
        finally:
            self._log.flush()

    def give_up(self, image: Unit) -> Result:
        """Return what is recorded of an image that no worker outlived."""
        reason = f"{Reason.WORKER}: given up after {TRIES_ALONE + 1} tries, workers ended or had no room"
        return FAILED, Entry(ImageInfo.of(image.record), self._run, FAILED, reason).to_bytes(), None

    def _put_all(self, found: Sequence[tuple[_Name, Result]]) -> Sequence[tuple[_Name, Result]]:
        """Put what came of images on record."""
        with span(RECORD, len(found)):
            taken = self._ledger.put_all({name: content for (_, _, name), (_, content, _) in found}, self._run)
            if not taken:
                return found
            self._fresh = False
            there = dict(zip(taken, self._ledger.contents(taken, self._run), strict=True))
            return [(name, _counted(there.get(name[2]), result)) for name, result in found]

    def _known(self, study: Sequence[Unit], names: Sequence[str]) -> list[str | None]:
        """Return what images are on record with, None for those that are to be screened."""
        if self._fresh:
            return [None] * len(names)
        known = self._ledger.statuses(names, self._run)
        for i, status in enumerate(known):
            if status == FAILED and self._retry_failed:
                self._ledger.forget(ImageInfo.of(study[i].record), self._run)
                known[i] = None
            elif status is not None:
                self._count(status)
                self.report.already += 1
        return known

    def _put(self, entry: Entry) -> None:
        if not self._ledger.record(entry):
            self._fresh = False
        self._count(entry.status)
        image = entry.image
        self._log.recorded(str(image.study_uid), str(image.sop_uid), entry.status, entry.reason, None)

    def _count(self, status: str, n: int = 1) -> None:
        setattr(self.report, status, getattr(self.report, status) + n)

    def _forget_replaced(self, image: Unit) -> None:
        """Forget what is on record of a volume that this one took the place of, as more of its series came."""
        if isinstance(image, ArchiveVolume):
            for sop_uid, content_sha256 in image.record.replaces:
                info = ImageInfo.of(image.record)
                self._ledger.forget(replace(info, sop_uid=sop_uid, content_sha256=content_sha256), self._run)

    def _unaccepted(self, image: Unit) -> str | None:
        if isinstance(image, ArchiveVolume) != self._of_volumes:
            if self._of_volumes:
                return f"{Reason.NOT_DCE}: an image, the bundle reads breast DCE-MRI volumes"
            return f"{Reason.NOT_A_MAMMOGRAM}: a breast DCE-MRI volume, the bundle reads mammograms"
        if not self._accepts:
            return None
        asked = _asked_of_volume if self._of_volumes else _asked
        return self._refusal(asked(image.record))

    def _refuse(self, values: tuple[Any, ...]) -> str | None:
        """Say why images with these values, of ``ACCEPTABLE``, are not for the bundle."""
        stated = dict(zip(ACCEPTABLE, values, strict=True))
        for name, allowed in self._accepts.items():
            value = stated[name]
            # Of an image's modifiers each has to be one that the bundle reads.
            refused = [v for v in (value if isinstance(value, tuple) else (value,)) if v not in allowed]
            if refused:
                got = "not stated" if refused == [None] else ", ".join(refused)
                words = "view modifier" if name == "modifiers" else name.replace("_", " ")
                reads = ", ".join(allowed) or "none"
                return f"{ACCEPTABLE[name]}: the image's {words} is {got}, the bundle reads {reads}"
        return None
