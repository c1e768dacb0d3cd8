"""MR objects of an ingest run, gathered by study until they make volumes.

Objects are copied to the run's own folder as they come. When the run's sources are at their end, each study's are put
together with what the archive has of it (:mod:`mammofast.archive.volumes.study`). More of a series may come any time
later: then its volume is made anew, under the new content's name, and takes the old one's place.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset

from mammofast.archive.volumes import members
from mammofast.archive.volumes.record import MrObject
from mammofast.archive.volumes.store import open_volume, volume_folders
from mammofast.archive.volumes.study import LOST, Arrival, Settled, Study, series_key
from mammofast.archive.writer import Writer
from mammofast.errors import ArchiveError, ImageError

# Copies that a run keeps before it puts together what it has, should its sources not be at their end.
MOST_BYTES = 4 << 30


@dataclass(slots=True)
class Gathering:
    """What one run has gathered. Objects are checked on several threads; the rest happens on one."""

    writer: Writer
    volumes: int = 0
    _arrivals: dict[str, list[Arrival]] = field(default_factory=dict)
    _waiting: dict[str, str] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _checked: dict[str, MrObject] = field(default_factory=dict)
    _bytes: int = 0

    def start(self) -> Iterator[str]:
        """Look at what the archive has; yield the hash of every file that is a part of a volume."""
        path = self.writer.archive.path
        left_out = self.writer.archive.not_kept()
        known = {r.study_uid for r in left_out if r.key == series_key(r.study_uid or "", r.series_uid or "")}
        for file in sorted(path.glob("waiting/*/*.dcm")):
            self._waiting[file.stem] = file.parent.name
            if file.parent.name not in known:  # a run ended before it was put together
                self._arrivals.setdefault(file.parent.name, [])
        for folder in volume_folders(path):
            with contextlib.suppress(ArchiveError, ImageError, OSError):  # a damaged one: told elsewhere
                yield from (each.source_sha256 for each in open_volume(folder).objects.objects)

    def waits(self, source_sha256: str) -> bool:
        """Say whether a file waits in the archive for the rest of its series."""
        return source_sha256 in self._waiting

    def stage(self, stream: BinaryIO, dataset: Dataset, source_sha256: str) -> tuple[MrObject, Path]:
        """Check an MR object, and copy it to where this run keeps it. Runs on many threads.

        Raises
        ------
        ImageError
            When it is no part of a breast DCE-MRI series, or damaged.
        ArchiveError
            When the copy cannot be written.

        """
        found = members.check(dataset, source_sha256)
        stream.seek(0)
        path = self.writer.scratch()
        try:
            with path.open("xb") as copy:
                shutil.copyfileobj(stream, copy)
        except OSError as error:
            raise ArchiveError(f"an MR object cannot be written ({error.strerror})") from None
        return found, path

    def add(self, arrival: Arrival) -> None:
        """Take an object in."""
        assert arrival.object is not None
        assert arrival.path is not None
        self._arrivals.setdefault(arrival.object.study_uid, []).append(arrival)
        self._bytes += arrival.path.stat().st_size
        if self._bytes > MOST_BYTES:
            self.put_together()

    def add_waiting(self, source_sha256: str, settle: Settled) -> None:
        """Take note that a file that waits has been offered again."""
        study = self._waiting.get(source_sha256)
        if study is None:  # put together since it was looked at
            settle(*(LOST if source_sha256 in self._lost else ("known", None)))
            return
        self._arrivals.setdefault(study, []).append(Arrival(None, source_sha256, None, settle))

    def put_together(self) -> None:
        """Make volumes of what there is, study by study."""
        while self._arrivals:
            study, arrivals = self._arrivals.popitem()
            with _alone(self.writer.archive.path):
                parts = Study(self.writer, study, self._waiting, self._lost, self._checked)
                self.volumes += parts.put_together(arrivals)
        self._bytes = 0


@contextlib.contextmanager
def _alone(archive: Path) -> Iterator[None]:
    """Wait until no other run puts a study of this archive together."""
    descriptor = os.open(archive, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
