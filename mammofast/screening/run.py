"""Screening an archive: what is not on record yet goes to the workers, what they find goes on record."""

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from mammofast.archive import open_archive
from mammofast.bundles import Bundle, device_of, load_bundle
from mammofast.bundles.fit import fitting_device
from mammofast.bundles.manifest import SHIPPED
from mammofast.engine.driver import card_count
from mammofast.errors import BundleError
from mammofast.machine import about, cores
from mammofast.methods.screener import OF_VOLUMES, open_bundle
from mammofast.objects import ObjectPath, place
from mammofast.screening.cluster import Access, give_plugin, local_client, remote_client, visible_cards
from mammofast.screening.dispatch import Dispatcher
from mammofast.screening.entry import Run
from mammofast.screening.garbage import seldom_collected
from mammofast.screening.job import ACCEPTABLE, Job, ScreenReport
from mammofast.screening.layout import log_path
from mammofast.screening.ledger import Results
from mammofast.screening.software import scheduling_versions, software_versions
from mammofast.screening.stopping import Interrupt, interruptible, next_time
from mammofast.screening.study_log import StudyLog, lines_to
from mammofast.screening.timing import INTERRUPTED, TIME_IS_UP, call_name, timed
from mammofast.screening.trace import traced_driver
from mammofast.screening.worker import OpenScreener, ScreenerPlugin, card_memory
from mammofast.settings import Settings

IMAGES_PER_TASK = 4
CARD_IMAGES_PER_TASK = 16


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP, after all that was finished is on record. ``report``: what there is."""

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
    log: str | Path | None = None,
    grace: float | None = None,
) -> ScreenReport:
    """Screen what is new in an archive.

    Every image ends on record as done, skipped or failed, and is not touched again while it, the bundle and the
    settings stay the same: a run that was stopped or killed resumes, one over finished work changes nothing.

    Parameters
    ----------
    archive: what ``mammofast ingest`` wrote. results: a results folder, made where there is none.
    bundle: a folder, or "demo" or "demo-mri".
    workers: processes on this machine; by default one for each core, or for each card where the bundle needs one.
    scheduler: a running Dask cluster to use instead, such as "tls://host:8786"; archive and bundle must be found under
        the same paths there.
    access: the TLS files for it, where Dask's configuration does not name them.
    device: see :func:`mammofast.open_bundle`.
    until: "HH:MM", local time: nothing is begun after that.
    progress: called with the number of images just finished, those already on record included.
    retry_failed: screen images again that failed before, say because the archive's disk was away.
    image_deadline: seconds that an image may take, or ten slices of a volume. Where it takes longer, or ends its
        worker, it is screened once more, in a process of its own, and has failed if that ends the same way.
    images_per_task: how many images go to a worker together, 4 by default, 16 on cards; changes no result.
    opener: opens the bundle, in workers too.
    trace: a folder for what :mod:`mammofast.screening.trace` writes down of where the time goes; the workers of a
        cluster must find it under the same path.
    log: a file to which a line is added for each study that is complete, see
        :class:`mammofast.screening.study_log.StudyLog`; by default one of its own in RESULTS/logs, "-" for standard
        error. On ``s3://``, where nothing can be added to a file, there is none.
    grace: seconds after Ctrl-C, SIGTERM or SIGHUP after which this process ends in any case, with exit status 1; by
        default it takes what it takes, mostly that of ending workers.

    Raises
    ------
    ArchiveError, BundleError, EngineError, ResultsError, SchedulerError
        When it cannot run, or cannot go on; what is on record stays.
    Interrupted
        After Ctrl-C, SIGTERM or SIGHUP. Images that were being worked on will be done again by the next run.

    """
    start = time.monotonic()
    if trace is not None and isinstance(place(trace), ObjectPath):
        raise ValueError("trace: got an s3:// path, expected a folder: lines are added to what is there")
    trace = None if trace is None else Path(trace).resolve()
    deadline = None if until is None else next_time(until)
    if workers is not None and workers < 1:
        raise ValueError(f"workers: got {workers}, expected 1 or more")
    if not image_deadline > 0:
        raise ValueError(f"image_deadline: got {image_deadline}, expected more than 0 seconds")
    if images_per_task is not None and images_per_task < 1:
        raise ValueError(f"images_per_task: got {images_per_task}, expected 1 or more")
    opened = open_archive(place(archive).resolve())
    folder = str(bundle) if bundle in SHIPPED else str(Path(bundle).resolve())
    manifest = load_bundle(folder)
    settings = Settings.on(device_of(manifest))
    images_per_task = images_per_task or (IMAGES_PER_TASK if settings.device == "cpu" else CARD_IMAGES_PER_TASK)
    run = Run(manifest.id, settings.id)
    ledger = Results.create_or_open(results, opened)
    fresh = ledger.start(run, summary(manifest, settings))

    call = call_name()
    study_log = StudyLog(lines_to(log_path(ledger.path, call) if log is None else log))
    of_volumes, advance = manifest.method in OF_VOLUMES, progress or (lambda n: None)
    job = Job(opened, ledger, run, _accepts(manifest), of_volumes, fresh, retry_failed, advance, study_log)
    with interruptible(grace) as interrupt:
        pending = job.pending(interrupt)
        first = next(pending, None)
        if first is not None:
            _check_openable(manifest, folder, device, settings, opener, scheduler)
            versions = software_versions(network.backend for network in manifest.networks.values())
            ledger.add_versions(run, versions)
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
            facts = {
                "archive_id": opened.archive_id,
                "device": settings.device,
                "images_per_task": images_per_task,
                "machine": about(),
                "versions": {**versions, **scheduling_versions()},
            }
            n_local = None if scheduler else n_workers
            with timed(put_timing, n_local, call, facts, job.report.counts) as watch, connect as client:
                there = tuple(client.scheduler_info(n_workers=-1)["workers"])  # by default some versions name five
                plugin = ScreenerPlugin(
                    name, run, folder, device, settings, ours=not scheduler, opener=opener, trace=trace, there=there
                )
                give_plugin(client, plugin, name)
                if settings.device != "cpu":
                    there_now = client.run(card_memory, name, on_error="ignore")
                    facts["card_memory"] = [stated for stated in there_now.values() if stated]
                stop = _stopper(interrupt, deadline)
                dispatcher = Dispatcher(
                    client, name, images_per_task, stop, lambda: interrupt.came, job.give_up, image_deadline
                )
                try:
                    with traced_driver(trace), seldom_collected():
                        job.record(dispatcher, chain([first], pending), watch)
                    with suppress(OSError):  # a scheduler that has gone by now
                        facts["lost_cards"] = [words for _, words in client.get_events(name) or ()]
                finally:
                    if scheduler and client.status == "running":
                        client.unregister_worker_plugin(name)
                job.report.stopped = TIME_IS_UP if dispatcher.left else None
                watch.stopped = INTERRUPTED if interrupt else job.report.stopped
        ledger.settle(run)  # what was found there counts as done from now on
        job.report.seconds = time.monotonic() - start
        if interrupt:
            job.report.stopped = INTERRUPTED
            raise Interrupted(job.report)
    return job.report


def _check_openable(
    bundle: Bundle, folder: str, device: str, settings: Settings, opener: OpenScreener, scheduler: str | None
) -> None:
    """Say here, once, what every worker would.

    What is for a card is opened by workers alone: here it would keep a part of the card's memory until the end.
    """
    if settings.device == "cpu":
        opener(folder, device, settings).__exit__(None, None, None)
    elif not scheduler:
        for name in bundle.networks:
            fitting_device(bundle, name, device)


def summary(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    """Return what the ledger keeps of a run for its readers."""
    return {
        "name": bundle.name,
        "method": bundle.method,
        "parameters": dict(bundle.parameters),
        "notice": bundle.notice,
        "operating_points": bundle.operating_points,
        "networks": {name: network.sha256 for name, network in bundle.networks.items()},
        "settings": settings.as_dict(),
    }


def _accepts(bundle: Bundle) -> Mapping[str, list[str]]:
    if unknown := set(bundle.accepts) - set(ACCEPTABLE):
        raise BundleError(
            f"bundle {bundle.name!r}: 'accepts' names {sorted(unknown)}; this version knows {sorted(ACCEPTABLE)}"
        )
    return bundle.accepts


def _stopper(interrupt: Interrupt, deadline: datetime | None) -> Callable[[], bool]:
    return lambda: interrupt.came or (deadline is not None and datetime.now() >= deadline)
