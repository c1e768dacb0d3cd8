"""DICOM objects in, archive out: what is new is decoded, checked and added."""

import contextlib
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mammofast.archive.counts import IngestReport
from mammofast.archive.in_order import in_order
from mammofast.archive.intake import Intake
from mammofast.archive.quiet import quiet
from mammofast.archive.sources import FileSource, SourceFile, checked_sources, find_files
from mammofast.archive.writer import Writer
from mammofast.errors import ArchiveError, PacsError
from mammofast.machine import cores
from mammofast.objects import ObjectPath, place
from mammofast.ops._native import kernels

# Files being worked on, together, for each thread: what is decoded may wait a while for the disk and for its turn.
_WINDOW = 4
# Their bytes; what they unfold to is bounded by one large one at a time (LARGE_BYTES).
_IN_FLIGHT_BYTES = 1 << 30

# Files, folders, zip files, DICOMDIRs by their paths; or what yields files itself.
Source = str | Path | FileSource


def ingest(
    sources: Source | Iterable[Source],
    archive_path: str | Path,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Add what is new in some sources to an archive; make the archive where there is none.

    Parameters
    ----------
    sources: files, folders, zip files, DICOMDIRs; a :class:`mammofast.pacs.DicomWeb`.
    archive_path: an archive, or a folder that is empty or missing.
    workers: threads; by default one per core. What is added does not depend on it.
    progress: called with 1 after each file.

    Returns
    -------
    Counts of files. What is skipped or failed is recorded in the archive with its reason; a file that is known as such
    counts as what it was.

    Raises
    ------
    ArchiveError
        When the archive cannot be opened, made or written.
    ValueError
        When a source does not exist.
    ImportError
        When mammofast's compiled extension is missing.

    """
    places, others = _by_kind(sources)
    with Ingest(archive_path, workers=workers) as run:
        return run.add([*places, *others], progress=progress)


class Ingest:
    """What :func:`ingest` does, for whoever adds to one archive again and again; a context manager."""

    def __init__(self, archive_path: str | Path, *, workers: int | None = None) -> None:
        workers = cores() if workers is None else workers
        if workers < 1:
            raise ValueError(f"workers: got {workers}, expected an integer >= 1")
        self._path, self._workers = place(archive_path), workers
        if isinstance(self._path, ObjectPath):
            raise ArchiveError("an archive is made on a file system: ingest to one, then copy the archive to s3://")

    def __enter__(self) -> "Ingest":
        kernels()  # or else every single file would fail for want of them
        with contextlib.ExitStack() as held:
            held.enter_context(quiet())
            self._run = Intake(held.enter_context(Writer(self._path)))
            self._held = held.pop_all()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._held.__exit__(*failure)

    @property
    def report(self) -> IngestReport:
        """The counts of all that was added since it was entered, also by a call that failed."""
        return self._run.report

    def add(self, sources: Source | Iterable[Source], progress: Callable[[int], None] | None = None) -> IngestReport:
        """Add what is new in some sources; see :func:`ingest`.

        Raises
        ------
        PacsError
            When a PACS no longer answers; what it gave before is in the archive.

        """
        run, files = self._run, self._files(*_by_kind(sources))
        before = run.report
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="ingest")
        try:
            for file, outcome in in_order(pool, run.look_at, files, _WINDOW * self._workers, _IN_FLIGHT_BYTES):
                run.settle(file, outcome)
                if progress is not None:
                    progress(1)
        except PacsError:
            run.put_together()
            raise
        finally:
            files.close()  # first, so that a source that is waited for hears of the end
            pool.shutdown(wait=True, cancel_futures=True)
        run.put_together()
        return run.report - before

    def _files(self, places: list[Path], others: list[FileSource]) -> Generator[SourceFile, None, None]:
        yield from find_files(places, exclude=self._path, opened=self._run.opened)
        for other in others:
            yield from other.files(self._path, self._run.opened)


def _by_kind(sources: Source | Iterable[Source]) -> tuple[list[Path], list[FileSource]]:
    several = sources if isinstance(sources, Iterable) and not isinstance(sources, str) else [sources]
    places, others = [], []
    for source in several:
        if isinstance(source, (str, Path)):
            places.append(source)
        else:
            others.append(source)
    return checked_sources(places), others
