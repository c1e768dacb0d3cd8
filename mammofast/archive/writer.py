"""Adding to an archive so that it is whole at every instant.

An image is written to a folder of its own run, synced to the disk by threads that do nothing else (whoever decodes need
not wait for a disk), and then renamed into place: it is there as a whole or not at all, whatever is killed when. A run
holds a lock on a file of its name while it lives; what a dead run left behind, the next one removes.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from mammofast.archive import layout
from mammofast.archive.record import Duplicate, ImageRecord, SkippedRecord
from mammofast.archive.regular import read_regular
from mammofast.archive.store import Archive, open_archive
from mammofast.durable import make_folder, sync, sync_tree
from mammofast.errors import ArchiveError

_STAGING = ".ingest"
_OURS = frozenset({_STAGING, "images", "volumes", "waiting", "skipped", "duplicates"})
# Threads that only wait for the disk: several, as file systems put on the disk together what is asked for together.
_SYNCING = 4


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Say of an archive that cannot be written what the system says, without its paths."""
    try:
        yield
    except OSError as error:
        raise ArchiveError(
            f"the archive cannot be written ({error.strerror}); what was added before is safe, run again to resume"
        ) from None


@dataclass(frozen=True, slots=True)
class Staged:
    """An image that is written where nobody looks. synced: done when it is on the disk."""

    folder: Path
    synced: Future[None]


class Writer:
    """One run's hold on an archive; a context manager. ``stage`` may run on several threads, the rest on one."""

    def __init__(self, path: Path) -> None:
        self._is_new = not (path / "zarr.json").exists()
        with _written():
            self.archive = _create(path)
        self._staging = path / _STAGING
        self._lock: int | None = None
        self._run = ""
        self._syncing = ThreadPoolExecutor(_SYNCING, thread_name_prefix="sync")

    def __enter__(self) -> "Writer":
        with _written():
            _remove_dead_runs(self._staging)
            self._run, self._lock = _begin(self._staging)
            (self._staging / self._run).mkdir()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self._syncing.shutdown(cancel_futures=True)
        shutil.rmtree(self._staging / self._run, ignore_errors=True)
        (self._staging / f"{self._run}.lock").unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
        with contextlib.suppress(OSError):  # another run is at work
            self._staging.rmdir()
        if failure is not None and self._is_new:
            _remove_empty(self.archive.path)

    def stage(self, record: ImageRecord, levels: dict[int, layout.Pixels], header: bytes) -> Staged:
        """Write an image where nobody looks, and begin to sync it to the disk."""
        folder = self._staging / self._run / uuid.uuid4().hex
        try:
            layout.write_group(folder, record.as_dict())
            for level, pixels in levels.items():
                layout.write_image(folder / str(level), pixels, record.background)
            layout.write_bytes(folder / "header", header)
        except (OSError, ValueError) as error:
            # tensorstore's ValueError holds the system's words, and paths.
            words = error.strerror if isinstance(error, OSError) else "is the disk full, or not writable?"
            raise ArchiveError(f"image {record.sop_uid} cannot be written ({words})") from None
        return Staged(folder, self._syncing.submit(sync_tree, folder))

    @_written()
    def publish(self, staged: Staged, record: ImageRecord) -> bool:
        """Move a staged image into place, once it is on the disk.

        False, and the staged image is gone, when another run has been faster.
        """
        staged.synced.result()
        study = self.archive.path / "images" / record.study_uid
        self._make_study(study)
        if _move(staged.folder, study / record.sop_uid):
            return True
        self.discard(staged)
        return False

    def discard(self, staged: Staged) -> None:
        """Remove a staged image, synced or not."""
        staged.synced.cancel()
        shutil.rmtree(staged.folder)

    def scratch(self) -> Path:
        """Return a name in this run's own folder, where nobody looks."""
        return self._staging / self._run / uuid.uuid4().hex

    @_written()
    def publish_volume(self, staged: Path, study_uid: str, content_sha256: str) -> bool:
        """Move a volume into place, once it is on the disk; False, and it is gone, when it is there already."""
        volumes = self.archive.path / "volumes"
        if not (volumes / "zarr.json").exists():
            _make_group(volumes)
        self._make_study(volumes / study_uid)
        sync_tree(staged)
        if _move(staged, volumes / study_uid / content_sha256):
            return True
        shutil.rmtree(staged)
        return False

    @_written()
    def let_wait(self, staged: Path, study_uid: str, source_sha256: str) -> Path:
        """Keep an MR object that makes no volume yet; return where."""
        study = self.archive.path / "waiting" / study_uid
        make_folder(study)
        sync(staged)
        waiting = study / f"{source_sha256}.dcm"
        staged.replace(waiting)
        sync(study)
        return waiting

    @_written()
    def remove(self, path: Path) -> None:
        """Remove what another thing has taken the place of, in one step."""
        with contextlib.suppress(FileNotFoundError):
            path.rename(self.scratch())

    @_written()
    def skip(self, key: str, record: SkippedRecord) -> bool:
        """Record a file that is not kept; False when exactly that is recorded already."""
        return self._put(self.archive.path / "skipped" / key, record.as_dict())

    def remember(self, source_sha256: str, record: ImageRecord) -> None:
        """Record a file that is another copy of an image."""
        folder = self.archive.path / "duplicates"
        if not (folder / "zarr.json").exists():
            _make_group(folder)
        self._put(folder / source_sha256, asdict(Duplicate.of(record)))

    def _put(self, folder: Path, attributes: dict[str, object]) -> bool:
        text = layout.group_text(attributes)
        try:
            if read_regular(folder / "zarr.json") == text.encode():
                return False
        except (FileNotFoundError, ValueError):
            pass
        staged = self._staging / self._run / uuid.uuid4().hex
        layout.write_group(staged, attributes)
        sync_tree(staged)
        if not _move(staged, folder):
            (staged / "zarr.json").replace(folder / "zarr.json")
            sync(folder)
            shutil.rmtree(staged)
        return True

    @_written()
    def forget(self, key: str) -> None:
        """Remove the record of a file that could not be read before and now can."""
        folder = self.archive.path / "skipped" / key
        with contextlib.suppress(FileNotFoundError):
            folder.rename(self._staging / self._run / uuid.uuid4().hex)

    def _make_study(self, study: Path) -> None:
        if (study / "zarr.json").exists():
            return
        staged = self._staging / self._run / uuid.uuid4().hex
        layout.write_group(staged)
        sync_tree(staged)
        if not _move(staged, study):
            shutil.rmtree(staged)


def _create(path: Path) -> Archive:
    """Open an archive, or make one of a folder that is empty or missing."""
    if not (path / "zarr.json").exists():
        if path.exists() and not path.is_dir():
            raise ArchiveError("the archive's path is a file; give a new or empty folder, or an archive")
        if path.is_dir() and any(not _is_ours(entry.name) for entry in path.iterdir()):
            raise ArchiveError("the archive's folder is neither empty nor an archive; give another (the last argument)")
        for group in ("images", "skipped"):
            _make_group(path / group)
        _make_group(path, {"format": layout.FORMAT, "archive_id": uuid.uuid4().hex})
    return open_archive(path)


def _remove_empty(path: Path) -> None:
    """Take away an archive that nothing was added to: what could not begin leaves nothing that looks like a result."""
    groups = [path / "images", path / "skipped"]
    if {each.name for each in path.iterdir()} != {"zarr.json", "images", "skipped"}:
        return
    if any(each.name != "zarr.json" for group in groups for each in group.iterdir()):
        return
    with contextlib.suppress(OSError):
        for folder in (path, *groups):  # in this order: without the first it is no archive, and may be begun again
            (folder / "zarr.json").unlink()
        for folder in (*groups, path):
            folder.rmdir()


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith(_STAGING)


def _make_group(folder: Path, attributes: dict[str, object] | None = None) -> None:
    make_folder(folder)
    temporary = folder / f"{_STAGING}-{uuid.uuid4().hex}"
    try:
        with temporary.open("x") as file:
            file.write(layout.group_text(attributes))
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces: of two runs that start at once, one names the archive.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, folder / "zarr.json")
    finally:
        temporary.unlink(missing_ok=True)
    sync(folder)


def _begin(staging: Path) -> tuple[str, int]:
    """Choose a name for this run and lock its file."""
    while True:
        run = uuid.uuid4().hex
        staging.mkdir(exist_ok=True)
        path = staging / f"{run}.lock"
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileNotFoundError:  # another run has just removed the empty folder
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return run, descriptor
        os.close(descriptor)  # taken for dead between being made and being locked


def _remove_dead_runs(staging: Path) -> None:
    for path in sorted(staging.glob("*.lock")):
        with _lock_of_dead(path) as dead:
            if dead:
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock_of_dead(path: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _move(staged: Path, target: Path) -> bool:
    """Rename a folder to a name nobody has; False when somebody has it."""
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync(target.parent)
    return True
