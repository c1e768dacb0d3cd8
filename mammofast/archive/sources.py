"""Where DICOM objects come from: files, folders, zip files, DICOMDIR.

What is found is opened only when it is its turn. Names stay in here: what leaves are bytes, sizes and hashes.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pydicom import Dataset, dcmread

from mammofast.archive.mammogram import uid
from mammofast.errors import BrokenImage, Reason

# Larger than any 2-D image; of what is larger only the header is read.
MAX_FILE_BYTES = 1 << 29
# Mammograms shrink to a tenth when zipped; a bomb to a thousandth.
_MAX_UNZIPPED_RATIO = 100
_UNZIPPED_FREE = 1 << 30
_DICOMDIR_CLASS = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to look at.

    place: hash of where it is, the only name it has outside of here. size: bytes, as announced.
    open: returns a seekable stream; raises BrokenImage (READ, MISSING_FILE, TOO_LARGE) when it cannot.
    study_uid, series_uid, sop_uid: what a DICOMDIR says of it.
    """

    place: str
    size: int
    open: Callable[[], BinaryIO]
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None


def find_files(sources: Iterable[str | Path], exclude: Path | None = None) -> Iterator[SourceFile]:
    """Yield every file under some sources, each once, in an order that depends on names only.

    A folder is walked to its ends, zip files inside included; where it holds a DICOMDIR, references to files that
    are not there are yielded as files that cannot be opened. A DICOMDIR given itself yields what it references.
    ``exclude`` is a folder never walked into: the archive, when it stands inside a source.

    Raises
    ------
    ValueError
        When a source does not exist.

    """
    paths = [Path(source) for source in sources]
    for number, path in enumerate(paths, start=1):
        if not path.exists():
            raise ValueError(f"sources: got a source {number} that does not exist, expected a file or folder")
    seen: set[str] = set()
    unvisited = None if exclude is None else os.path.realpath(exclude)
    for path in paths:
        if path.is_dir():
            yield from _folder(path, seen, unvisited)
        elif (directory := _read_dicomdir(path)) is not None:
            yield from _referenced(path, directory, seen)
        else:
            yield from _file(path, seen)


def _folder(folder: Path, seen: set[str], exclude: str | None) -> Iterator[SourceFile]:
    directories: list[Path] = []
    visited = set() if exclude is None else {exclude}
    for root, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:  # where a link leads back, or the archive
            names.clear()
            continue
        visited.add(real)
        names.sort()
        for name in sorted(files):
            path = Path(root, name)
            if name.upper() == "DICOMDIR":
                directories.append(path)
            else:
                yield from _file(path, seen)
    for path in directories:
        directory = _read_dicomdir(path)
        if directory is None:
            yield from _file(path, seen)
        else:
            yield from _referenced(path, directory, seen)


def _file(path: Path, seen: set[str]) -> Iterator[SourceFile]:
    real = os.path.realpath(path)
    if real in seen or not (path.is_file() or path.is_symlink()):
        return
    seen.add(real)
    if _is_zip(path):
        yield from _zip(path)
    else:
        yield SourceFile(_hash(real), path.stat().st_size if path.exists() else 0, partial(_open, path))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise BrokenImage(Reason.READ, f"the file cannot be opened ({error.strerror})") from None


def _is_zip(path: Path) -> bool:
    # By its first bytes, not its end: a DICOM object may end like a zip file and stay a DICOM object.
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def _zip(path: Path) -> Iterator[SourceFile]:
    real = os.path.realpath(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        yield SourceFile(_hash(real), path.stat().st_size, _refusal(Reason.READ, "the zip file is damaged"))
        return
    members = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename)
    total = sum(info.file_size for info in members)
    if total > _UNZIPPED_FREE + _MAX_UNZIPPED_RATIO * path.stat().st_size:
        archive.close()
        refusal = _refusal(Reason.TOO_LARGE, f"the zip file would unfold to {total} bytes")
        yield SourceFile(_hash(real), path.stat().st_size, refusal)
        return
    named = {info.filename.upper(): info for info in members}
    for info in members:
        place = _hash(f"{real}\0{info.filename}")
        if PurePosixPath(info.filename).name.upper() == "DICOMDIR":
            directory = _parse_dicomdir(partial(_open_member, archive, info))
            if directory is not None:
                folder = PurePosixPath(info.filename).parent
                for parts, uids in _references(directory):
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
    if path.name.upper() != "DICOMDIR" and not _says_dicomdir(path):
        return None
    return _parse_dicomdir(partial(_open, path))


def _says_dicomdir(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return _DICOMDIR_CLASS.encode() + b"\0" in stream.read(1024)
    except OSError:
        return False


def _parse_dicomdir(open_it: Callable[[], BinaryIO]) -> Dataset | None:
    try:
        with open_it() as stream:
            directory = dcmread(stream)
        is_one = directory.file_meta.get("MediaStorageSOPClassUID") == _DICOMDIR_CLASS
        return directory if is_one and "DirectoryRecordSequence" in directory else None
    except Exception:
        return None  # it is then looked at as any other file, and its reason recorded


def _referenced(path: Path, directory: Dataset, seen: set[str]) -> Iterator[SourceFile]:
    folder = path.parent
    for parts, uids in _references(directory):
        found = _resolve(folder, parts)
        if found is None:
            yield _missing(f"{os.path.realpath(path)}\0{parts}", uids)
        else:
            yield from _file(found, seen)


def _resolve(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """Find a referenced file, whatever case the medium's file system made of its name; never outside the folder."""
    found = folder
    for part in parts:
        if part in ("", ".", "..") or "/" in part or not found.is_dir():
            return None
        exact = found / part
        others = (entry for entry in sorted(found.iterdir()) if entry.name.upper() == part.upper())
        step = exact if exact.exists() else next(others, None)
        if step is None:
            return None
        found = step
    return found if found.is_file() else None


# A referenced file's path below the DICOMDIR, and the study, series and instance UIDs the index gives it.
_Reference = tuple[tuple[str, ...], tuple[str | None, str | None, str | None]]


def _references(directory: Dataset) -> Iterator[_Reference]:
    """Yield what a DICOMDIR references, in its own order.

    Records are read in the sequence's order, where each study and series stands before what belongs to it (PS3.3 F.3
    links them by offsets as well; an index whose links are broken still names its files).
    """
    study = series = None
    for record in directory.DirectoryRecordSequence:
        kind = str(record.get("DirectoryRecordType", "")).strip()
        if kind == "STUDY":
            study, series = uid(record, "StudyInstanceUID"), None
        elif kind == "SERIES":
            series = uid(record, "SeriesInstanceUID")
        file_id = record.get("ReferencedFileID")
        if file_id:
            parts = (file_id,) if isinstance(file_id, str) else tuple(str(part) for part in file_id)
            yield parts, (study, series, uid(record, "ReferencedSOPInstanceUIDInFile"))


def missing_place(sop_uid: str) -> str:
    """Return the place of a file that is known only by the instance a DICOMDIR says is in it."""
    return _hash(f"missing\0{sop_uid}")


def _missing(reference: str, uids: tuple[str | None, str | None, str | None]) -> SourceFile:
    refusal = _refusal(Reason.MISSING_FILE, "a DICOMDIR references it, but it is not there")
    return SourceFile(missing_place(uids[2]) if uids[2] else _hash(reference), 0, refusal, *uids)


def _refusal(reason: Reason, detail: str) -> Callable[[], BinaryIO]:
    def refuse() -> BinaryIO:
        raise BrokenImage(reason, detail)

    return refuse


def _hash(place: str) -> str:
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
