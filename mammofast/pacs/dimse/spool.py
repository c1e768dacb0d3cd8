"""What was received and is not in the archive yet: one file an object, on the disk before its sender hears of it."""

import contextlib
import fcntl
import hashlib
import io
import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mammofast.archive.sources import SourceFile
from mammofast.durable import make_folder, sync
from mammofast.errors import BrokenImage, PacsError, Reason

FOLDER = ".received"
_LOCK = "lock"


class Spool:
    """A folder of received objects, a source of ingest; a context manager, of which one folder has one at a time.

    An object leaves it once it is in the archive, or the archive has on record why it never will be. ``stop`` says when
    to yield no more: what is left waits for the next start.
    """

    def __init__(self, folder: Path, stop: Callable[[], bool] = lambda: False) -> None:
        self._folder, self._stop = folder, stop

    def __enter__(self) -> "Spool":
        make_folder(self._folder)
        self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise PacsError("another `mammofast serve` receives for this archive; stop it first") from None
        for abandoned in self._folder.glob("*.part"):  # never acknowledged
            abandoned.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def part(self) -> "Part":
        """Return where an object goes as it arrives; OSError where nothing can be written."""
        return Part(self._folder)

    def __len__(self) -> int:
        return sum(1 for _ in self._folder.glob("*.dcm"))

    def files(self, archive: Path, opened: Callable[[str], None]) -> Iterator[SourceFile]:
        """Yield what is there now, the oldest first."""
        ages = {}
        for path in self._folder.glob("*.dcm"):
            with contextlib.suppress(FileNotFoundError):  # taken back: its sender was told that it failed
                ages[path] = path.stat()
        for path in sorted(ages, key=lambda path: ages[path].st_mtime_ns):
            if self._stop():
                return
            place = hashlib.sha256(f"received\0{path.name}".encode()).hexdigest()
            yield SourceFile(place, ages[path].st_size, partial(_open, path), settled=partial(_settled, path))


class Part:
    """An object on its way in: its bytes go to a file as they come, which counts for nothing before it is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._name = folder, uuid.uuid4().hex
        self.file: BinaryIO = (folder / f"{self._name}.part").open("xb")

    def keep(self) -> None:
        """Make it one of the spool's objects; return when it outlasts a power cut.

        Raises
        ------
        OSError
            When it cannot be kept, for one because the disk is full; nothing is left of it.

        """
        try:
            with self.file:
                self.file.flush()
                os.fsync(self.file.fileno())
            (self._folder / f"{self._name}.part").rename(self._folder / f"{self._name}.dcm")
            sync(self._folder)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(OSError):  # of what is still to be written to a full disk
            self.file.close()
        for suffix in ("part", "dcm"):
            with contextlib.suppress(OSError):
                (self._folder / f"{self._name}.{suffix}").unlink()


def _open(path: Path) -> BinaryIO:
    try:
        return io.BufferedReader(io.FileIO(path))
    except OSError as error:
        raise BrokenImage(Reason.READ, f"the received object cannot be opened ({error.strerror})") from None


def _settled(path: Path, final: bool) -> None:
    if final:
        path.unlink(missing_ok=True)
