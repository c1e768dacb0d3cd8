"""DICOMDIR (PS3.10 8): a medium's index of its files, and what it says of each."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread

from mammofast.archive.mammogram import uid

_CLASS = "1.2.840.10008.1.3.10"

# A referenced file's path below the DICOMDIR, and the study, series and instance UIDs the index gives it.
Reference = tuple[tuple[str, ...], tuple[str | None, str | None, str | None]]


def is_one(path: Path) -> bool:
    """Say whether a file of any name looks like one."""
    try:
        with path.open("rb") as stream:
            return _CLASS.encode() + b"\0" in stream.read(1024)
    except OSError:
        return False


def parse(open_it: Callable[[], BinaryIO]) -> Dataset | None:
    """Return the index in a file; None where it is none."""
    try:
        with open_it() as stream:
            directory = dcmread(stream)
        says_so = directory.file_meta.get("MediaStorageSOPClassUID") == _CLASS
        return directory if says_so and "DirectoryRecordSequence" in directory else None
    except Exception:
        return None  # it is then looked at as any other file, and its reason recorded


def resolve(folder: Path, parts: tuple[str, ...]) -> Path | None:
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


def references(directory: Dataset) -> Iterator[Reference]:
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
