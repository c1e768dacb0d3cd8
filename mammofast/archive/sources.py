"""Where DICOM objects come from: files, folders, zip files, DICOMDIR.

What is found is opened only when it is its turn. Names stay in here: what leaves are bytes, sizes and hashes.
"""

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from pydicom import Dataset

from mammofast.archive import dicomdir
from mammofast.archive.mammogram import Stated
from mammofast.archive.regular import open_regular, read_regular
from mammofast.errors import BrokenImage, Reason

# Larger than any 2-D image; of what is larger only the header is read.
MAX_FILE_BYTES = 1 << 29
# Larger than the images of any mammography detector so far: what unfolds to more is worked on one at a time.
LARGE_BYTES = 1 << 26
# Mammograms shrink to a tenth when zipped; a bomb to a thousandth.
_MAX_UNZIPPED_RATIO = 100
_UNZIPPED_FREE = 1 << 30


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to look at.

    place: hash of where it is, the only name it has outside of here. size: bytes, as announced.
    open: returns a seekable stream; raises BrokenImage (READ, MISSING_FILE, TOO_LARGE) when it cannot.
    study_uid, series_uid, sop_uid: what a DICOMDIR or a PACS says of it.
    stated: what the data set says that the file is listed in.
    settled: called when what became of it is part of the archive; with false where another try may go better.
    """

    place: str
    size: int
    open: Callable[[], BinaryIO]
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    stated: Stated | None = None
    settled: Callable[[bool], None] = lambda final: None


class FileSource(Protocol):
    """Somewhere else that files come from, say a PACS."""

    def files(self, archive: Path, opened: Callable[[str], None]) -> Iterator[SourceFile]:
        """Yield files; call ``opened`` with the place of what could not be looked into before, and now can."""
        ...


def checked_sources(sources: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return sources as paths.

    Raises
    ------
    ValueError
        When one does not exist, or is neither a file nor a folder: a pipe would be waited on for ever.

    """
    paths = [Path(source) for source in ([sources] if isinstance(sources, (str, Path)) else sources)]
    for number, path in enumerate(paths, start=1):
        # os.path's say no where pathlib's raise, and name the file.
        if not os.path.exists(path):  # noqa: PTH110
            raise ValueError(f"sources: got a source {number} that does not exist, expected a file or folder")
        if not (os.path.isfile(path) or os.path.isdir(path)):  # noqa: PTH112, PTH113
            raise ValueError(f"sources: source {number} is a pipe or a device, expected a file or folder")
    return paths


def find_files(
    sources: str | Path | Iterable[str | Path], exclude: Path | None = None, opened: Callable[[str], None] | None = None
) -> Iterator[SourceFile]:
    """Yield every file under some sources, each once, in an order that depends on names only.

    A folder is walked to its ends, zip files inside included; where it holds a DICOMDIR, references to files that
    are not there are yielded as files that cannot be opened. A DICOMDIR given itself yields what it references.
    A folder or zip file that cannot be read is yielded as one file that cannot be opened.
    Folders that are a mammofast archive or the results of a screening are passed over: what is in them was made here.
    ``exclude`` is one more folder never walked into: the archive, before it is one.
    ``opened`` is called with the place of each folder and zip file that could be read.

    Raises
    ------
    ValueError
        When a source does not exist.

    """
    search = _Search(set() if exclude is None else {os.path.realpath(exclude)}, opened or (lambda place: None))
    for path in checked_sources(sources):
        if os.path.isdir(path):  # noqa: PTH112
            yield from search.folder(path)
        elif (directory := _read_dicomdir(path)) is not None:
            yield from search.referenced(path, directory)
        else:
            yield from search.file(path)


class _Search:
    """One look through the sources: what it has been to is not looked at again."""

    def __init__(self, visited: set[str], opened: Callable[[str], None]) -> None:
        self._visited = visited
        self._opened = opened
        self._seen: set[str] = set()

    def folder(self, folder: Path) -> Iterator[SourceFile]:
        directories: list[Path] = []
        unread: list[OSError] = []
        for root, names, files in os.walk(folder, onerror=unread.append, followlinks=True):
            yield from self._unread(unread)
            real = os.path.realpath(root)
            if real in self._visited or _is_ours(Path(root), files):  # where a link leads back, or the archive
                names.clear()
                continue
            self._visited.add(real)
            self._opened(_hash(real))
            names.sort()
            for name in sorted(files):
                path = Path(root, name)
                if name.upper() == "DICOMDIR":
                    directories.append(path)
                else:
                    yield from self.file(path)
        yield from self._unread(unread)
        for path in directories:
            directory = _read_dicomdir(path)
            if directory is None:
                yield from self.file(path)
            else:
                yield from self.referenced(path, directory)

    def file(self, path: Path) -> Iterator[SourceFile]:
        real = os.path.realpath(path)
        if real in self._seen:
            return
        self._seen.add(real)
        try:
            status = path.stat()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.islink(path):  # noqa: PTH114
                return  # removed since its folder was listed
            yield _unreadable(real, f"the file cannot be looked at ({error.strerror})")
            return
        if not stat.S_ISREG(status.st_mode):
            return
        if _is_zip(path):
            yield from _zip(path, real, status.st_size, self._opened)
        else:
            yield SourceFile(_hash(real), status.st_size, partial(_open, path))

    def referenced(self, path: Path, directory: Dataset) -> Iterator[SourceFile]:
        folder = path.parent
        for parts, uids in dicomdir.references(directory):
            reference = f"{os.path.realpath(path)}\0{parts}"
            try:
                found = dicomdir.resolve(folder, parts)
            except OSError as error:
                detail = f"a DICOMDIR references it, but it cannot be looked at ({error.strerror})"
                yield _missing(reference, uids, Reason.READ, detail)
                continue
            if found is None:
                yield _missing(reference, uids)
            else:
                yield from self.file(found)

    def _unread(self, errors: list[OSError]) -> Iterator[SourceFile]:
        """Yield folders that could not be listed; os.walk goes on without them."""
        while errors:
            error = errors.pop(0)
            real = os.path.realpath(os.fsdecode(error.filename))
            if real not in self._visited and not isinstance(error, FileNotFoundError):
                self._visited.add(real)
                yield _unreadable(real, f"the folder, and what is in it, cannot be read ({error.strerror})")


def _is_ours(folder: Path, files: list[str]) -> bool:
    """Say whether a folder is an archive, or results of a screening."""
    try:
        if "zarr.json" in files:
            return "archive_id" in json.loads(read_regular(folder / "zarr.json"))["attributes"]["mammofast"]
        if "results.json" in files:
            return {"id", "path", "relative"} <= set(json.loads(read_regular(folder / "results.json"))["archive"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # somebody else's
    return False


def _unreadable(real: str, detail: str) -> SourceFile:
    return SourceFile(_hash(real), 0, refusal(Reason.READ, detail))


class _Nameless(io.BufferedReader):
    """A file whose name pydicom cannot log."""

    name = "a DICOM file"


def _open(path: Path) -> BinaryIO:
    try:
        return _Nameless(io.FileIO(open_regular(path)))
    except OSError as error:
        raise BrokenImage(Reason.READ, f"the file cannot be opened ({error.strerror})") from None
    except ValueError:  # it was a file when its folder was listed
        raise BrokenImage(Reason.READ, "the file cannot be opened (it is a folder, pipe, socket or device)") from None


def _is_zip(path: Path) -> bool:
    # By its first bytes, not its end: a DICOM object may end like a zip file and stay a DICOM object.
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def _zip(path: Path, real: str, size: int, opened: Callable[[str], None]) -> Iterator[SourceFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        yield _unreadable(real, "the zip file is damaged")
        return
    members = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename)
    total = sum(info.file_size for info in members)
    if total > _UNZIPPED_FREE + _MAX_UNZIPPED_RATIO * size:
        archive.close()
        bomb = refusal(Reason.TOO_LARGE, f"the zip file would unfold to {total} bytes")
        yield SourceFile(_hash(real), size, bomb)
        return
    opened(_hash(real))
    named = {info.filename.upper(): info for info in members}
    for info in members:
        place = _hash(f"{real}\0{info.filename}")
        if PurePosixPath(info.filename).name.upper() == "DICOMDIR":
            directory = dicomdir.parse(partial(_open_member, archive, info))
            if directory is not None:
                folder = PurePosixPath(info.filename).parent
                for parts, uids in dicomdir.references(directory):
                    if str(folder.joinpath(*parts)).upper() not in named:
                        yield _missing(f"{place}\0{parts}", uids)
                continue
        yield SourceFile(place, info.file_size, partial(_open_member, archive, info))


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    if info.file_size > MAX_FILE_BYTES:
        raise BrokenImage(Reason.TOO_LARGE, f"{info.file_size} bytes in a zip file, at most {MAX_FILE_BYTES} are read")
    try:
        with archive.open(info) as stream:
            # ZipExtFile ends at the announced size and then compares the checksum.
            return io.BytesIO(stream.read())
    except Exception as error:
        raise BrokenImage(Reason.READ, f"damaged inside its zip file ({type(error).__name__})") from None


def _read_dicomdir(path: Path) -> Dataset | None:
    if path.name.upper() != "DICOMDIR" and not dicomdir.is_one(path):
        return None
    return dicomdir.parse(partial(_open, path))


def missing_place(sop_uid: str) -> str:
    """Return the place of a file that is known only by the instance a DICOMDIR says is in it."""
    return _hash(f"missing\0{sop_uid}")


def _missing(
    reference: str,
    uids: tuple[str | None, str | None, str | None],
    reason: Reason = Reason.MISSING_FILE,
    detail: str = "a DICOMDIR references it, but it is not there",
) -> SourceFile:
    place = missing_place(uids[2]) if uids[2] else _hash(reference)
    return SourceFile(place, 0, refusal(reason, detail), *uids)


def refusal(reason: Reason, detail: str) -> Callable[[], BinaryIO]:
    """Return the ``open`` of a file that cannot be opened."""

    def refuse() -> BinaryIO:
        raise BrokenImage(reason, detail)

    return refuse


def _hash(place: str) -> str:
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
