"""Screening an archive: what is not on record yet goes to the workers, what they find goes on record."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from mammofast.archive import Archive, ArchiveImage, open_archive
from mammofast.bundles import Bundle, device_of, load_bundle
from mammofast.engine.driver import card_count
from mammofast.errors import ArchiveError, BundleError, Reason, SchedulerError
from mammofast.machine import cores
from mammofast.methods.screener import open_bundle
from mammofast.screening.cluster import Access, local_client, remote_client, visible_cards
from mammofast.screening.dispatch import TRIES_ALONE, Dispatcher, Outcome
from mammofast.screening.entry import FAILED, SKIPPED, Entry, ImageInfo, Run
from mammofast.screening.ledger import Results
from mammofast.screening.software import software_versions
from mammofast.screening.stopping import Interrupt, interruptible, next_time
from mammofast.screening.timing import Stopwatch, timed
from mammofast.screening.trace import RECORD, traced_driver
from mammofast.screening.worker import OpenScreener, ScreenerPlugin
from mammofast.settings import Settings
from mammofast.tracing import span

IMAGES_PER_TASK = 4
CARD_IMAGES_PER_TASK = 16
# Threads that put results on record: one alone, which waits for the disk twice an image, would hold up a card.
RECORDERS = 16
_WAITING = 4 * RECORDERS  # results, small ones, that may wait for them
# What a bundle may ask of images, by ImageRecord field, and the reason given where one is otherwise.
_ACCEPTABLE = {"presentation_intent": Reason.PRESENTATION_INTENT}

INTERRUPTED, TIME_IS_UP = "interrupted", "time is up"


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

    def __str__(self) -> str:
        text = f"{self.done} done, {self.skipped} skipped, {self.failed} failed"
        if self.already:
            text += f" ({self.already} of them before)"
        if self.left_out:
            text += f"; {self.left_out} of them are files that never became images"
        if self.stopped:
            text += f"; stopped, {self.stopped}: run again to go on"
        return text


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after all that was finished is on record. ``report``: what there is."""

    def __init__(self, report: ScreenReport) -> None:
        super().__init__("stopped; run again to resume")
        self.report = report


def screen(
    archive: str | Path,
    results: str | Path,
    bundle: str | Path = "demo",
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    access: Access | None = None,
    device: str = "auto",
    until: str | None = None,
    progress: Callable[[int], None] | None = None,
    retry_failed: bool = False,
    image_deadline: float = 600.0,
    images_per_task: int | None = None,
    opener: OpenScreener = open_bundle,
    trace: str | Path | None = None,
) -> ScreenReport:
    """Screen what is new in an archive.

    Every image ends on record as done, skipped or failed, and is not touched again while it, the bundle and the
    settings stay the same: a run that was stopped or killed resumes, one over finished work changes nothing.

    Parameters
    ----------
    archive: what ``mammofast ingest`` wrote. results: a results folder, made where there is none.
    bundle: a folder, or "demo".
    workers: processes on this machine; by default one for each core, or for each card where the bundle needs one.
    scheduler: a running Dask cluster to use instead, such as "tls://host:8786"; archive and bundle must be found under
        the same paths there.
    access: the TLS files for it, where Dask's configuration does not name them.
    device: see :func:`mammofast.open_bundle`.
    until: "HH:MM", local time: nothing is begun after that.
    progress: called with the number of images just finished, those already on record included.
    retry_failed: screen images again that failed before, say because the archive's disk was away.
    image_deadline: seconds that an image may take. Where it takes longer, or ends its worker, it is screened once more,
        in a process of its own, and has failed if that ends the same way.
    images_per_task: how many images go to a worker together, 4 by default, 16 on cards; changes no result.
    opener: opens the bundle, in workers too.
    trace: a folder for what :mod:`mammofast.screening.trace` writes down of where the time goes; the workers of a
        cluster must find it under the same path.

    Raises
    ------
    ArchiveError, BundleError, EngineError, ResultsError, SchedulerError
        When it cannot run, or cannot go on; what is on record stays.
    Interrupted
        After Ctrl-C or SIGTERM. Images that were being worked on will be done again by the next run.

    """
    start = time.monotonic()
    trace = None if trace is None else Path(trace).resolve()
    deadline = None if until is None else next_time(until)
    if workers is not None and workers < 1:
        raise ValueError(f"workers: got {workers}, expected 1 or more")
    if not image_deadline > 0:
        raise ValueError(f"image_deadline: got {image_deadline}, expected more than 0 seconds")
    if images_per_task is not None and images_per_task < 1:
        raise ValueError(f"images_per_task: got {images_per_task}, expected 1 or more")
    opened = open_archive(Path(archive).resolve())
    folder = str(bundle) if bundle == "demo" else str(Path(bundle).resolve())
    manifest = load_bundle(folder)
    settings = Settings.on(device_of(manifest))
    images_per_task = images_per_task or (IMAGES_PER_TASK if settings.device == "cpu" else CARD_IMAGES_PER_TASK)
    run = Run(manifest.id, settings.id)
    ledger = Results.create_or_open(results, opened)
    ledger.start(run, summary(manifest, settings))

    job = _Job(opened, ledger, run, _accepts(manifest), retry_failed, progress or (lambda n: None))
    with interruptible() as interrupt:
        pending = job.pending(interrupt)
        first = next(pending, None)
        if first is not None:
            # A bundle that cannot be opened is said here, once, rather than by every worker.
            opener(folder, device, settings).__exit__(None, None, None)
            ledger.add_versions(run, software_versions(network.backend for network in manifest.networks.values()))
            wanted = "cuda" if device == "auto" else device
            cards = visible_cards(card_count(), wanted) if settings.device == "cuda" and not scheduler else []
            n_workers = min(workers or len(cards), len(cards)) if cards else workers or cores()
            # A worker sees the card that it has only, as its first.
            device = "cuda" if cards else device
            name = f"mammofast-{uuid.uuid4().hex}"
            connect = (
                remote_client(scheduler, name, access or Access())
                if scheduler
                else local_client(n_workers, cards[:n_workers])
            )
            put_timing = partial(ledger.put_timing, run)
            with timed(put_timing, None if scheduler else n_workers) as watch, connect as client:
                plugin = ScreenerPlugin(
                    name, run, folder, device, settings, ours=not scheduler, opener=opener, trace=trace
                )
                try:
                    client.register_plugin(plugin, name=name)
                except (OSError, TimeoutError) as error:
                    raise SchedulerError(f"the workers cannot be reached ({type(error).__name__})") from error
                stop = _stopper(interrupt, deadline, job.report)
                dispatcher = Dispatcher(client, name, images_per_task, stop, lambda: interrupt.came, image_deadline)
                try:
                    with traced_driver(trace):
                        job.record(dispatcher, chain([first], pending), watch)
                finally:
                    if scheduler and client.status == "running":
                        client.unregister_worker_plugin(name)
                watch.stopped = INTERRUPTED if interrupt else job.report.stopped
        job.report.seconds = time.monotonic() - start
        if interrupt:
            job.report.stopped = INTERRUPTED
            raise Interrupted(job.report)
    return job.report


def summary(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    """Return what the ledger keeps of a run for its readers."""
    return {
        "name": bundle.name,
        "method": bundle.method,
        "notice": bundle.notice,
        "operating_points": bundle.operating_points,
        "networks": {name: network.sha256 for name, network in bundle.networks.items()},
        "settings": settings.as_dict(),
    }


class _Job:
    """One archive, one bundle, one ledger."""

    def __init__(
        self,
        archive: Archive,
        ledger: Results,
        run: Run,
        accepts: Mapping[str, list[str]],
        retry_failed: bool,
        progress: Callable[[int], None],
    ) -> None:
        self._archive = archive
        self._ledger = ledger
        self._run = run
        self._accepts = accepts
        self._retry_failed = retry_failed
        self._progress = progress
        self.report = ScreenReport()

    def pending(self, interrupt: Interrupt) -> Iterator[ArchiveImage]:
        """Yield the images that need a worker; put what needs none on record on the way."""
        left_out = []
        for skipped in self._archive.skipped():
            if interrupt:
                return
            info = ImageInfo.of_file(skipped)
            self._ledger.record_file(Entry(info, self._run, skipped.status, skipped.reason))
            self._count(skipped.status)
            left_out.append(info)
        self._ledger.forget_other_files(left_out, self._run)
        self.report.left_out = len(left_out)
        for image in self._archive.images():
            if interrupt:
                return
            info = ImageInfo.of(image.record)
            if self._known(info):
                self._progress(1)
            elif (reason := self._unaccepted(image)) is not None:
                self._put(Entry(info, self._run, SKIPPED, reason))
                self._progress(1)
            else:
                yield image
        # An archive that is gone by now looks like one of fewer images.
        for folder in (self._archive.path, self._archive.path / "images"):
            if not (folder / "zarr.json").exists():
                raise ArchiveError("the archive is gone; what was recorded is safe, run again once it is back")

    def record(self, dispatcher: Dispatcher, images: Iterator[ArchiveImage], watch: Stopwatch) -> None:
        """Screen images and put what comes back on record: several at a time, since each waits for the disk."""
        waiting: deque[tuple[Outcome, Future[str]]] = deque()

        def take() -> None:
            outcome, recorded = waiting.popleft()
            self._count(recorded.result())
            watch.add(outcome.seconds)
            self._progress(1)

        with ThreadPoolExecutor(RECORDERS, thread_name_prefix="record") as recorders:
            for outcome in dispatcher.run(images):
                watch.began = dispatcher.began
                waiting.append((outcome, recorders.submit(self._put_outcome, outcome)))
                while waiting and (waiting[0][1].done() or len(waiting) > _WAITING):
                    take()
            while waiting:
                take()

    def _put_outcome(self, outcome: Outcome) -> str:
        """Put what came of an image on record; return its status."""
        info = ImageInfo.of(outcome.image.record)
        with span(RECORD):
            if outcome.status is None or outcome.content is None:
                words = f"{Reason.WORKER}: {TRIES_ALONE + 1} workers ended while they held this image"
                self._ledger.record(Entry(info, self._run, FAILED, words))
                return FAILED
            self._ledger.put(info, self._run, outcome.content)
            return outcome.status

    def _known(self, info: ImageInfo) -> bool:
        status = self._ledger.status(info, self._run)
        if status == FAILED and self._retry_failed:
            self._ledger.forget(info, self._run)
            status = None
        if status is None:
            return False
        self._count(status)
        self.report.already += 1
        return True

    def _put(self, entry: Entry) -> None:
        self._ledger.record(entry)
        self._count(entry.status)

    def _count(self, status: str) -> None:
        setattr(self.report, status, getattr(self.report, status) + 1)

    def _unaccepted(self, image: ArchiveImage) -> str | None:
        for name, allowed in self._accepts.items():
            value = getattr(image.record, name)
            if value not in allowed:
                got = "not stated" if value is None else value
                words = name.replace("_", " ")
                return f"{_ACCEPTABLE[name]}: the image's {words} is {got}, the bundle reads {', '.join(allowed)}"
        return None


def _accepts(bundle: Bundle) -> Mapping[str, list[str]]:
    if unknown := set(bundle.accepts) - set(_ACCEPTABLE):
        raise BundleError(
            f"bundle {bundle.name!r}: 'accepts' names {sorted(unknown)}; this version knows {sorted(_ACCEPTABLE)}"
        )
    return bundle.accepts


def _stopper(interrupt: Interrupt, deadline: datetime | None, report: ScreenReport) -> Callable[[], bool]:
    def stop() -> bool:
        if deadline is not None and datetime.now() >= deadline:
            report.stopped = TIME_IS_UP
        return interrupt.came or report.stopped is not None

    return stop
