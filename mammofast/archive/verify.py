"""Reading a whole archive again to see that it still holds what was put in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammofast import ops
from mammofast.archive import layout
from mammofast.archive.patients import patient_of
from mammofast.archive.quiet import quiet
from mammofast.archive.record import SkippedRecord
from mammofast.archive.store import Archive, ArchiveImage, image_folders, open_image
from mammofast.archive.volumes.store import ArchiveVolume, ContentHash, open_volume, volume_folders
from mammofast.errors import MammofastError


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one image or volume, or with one record of a file not kept."""

    study_uid: str | None
    sop_uid: str | None
    detail: str


def verify(archive: Archive, progress: Callable[[int], None] | None = None) -> Iterator[Problem]:
    """Read every image and volume whole: its content's hash, the coarse levels made anew, its headers.

    Yields what is wrong; nothing where all is well. ``progress`` is called with 1 after each.
    """
    patients: dict[str, bytes] = {}  # of the study's first image, or volume
    for folder in image_folders(archive.path):
        detail = _problem(archive.path, folder, patients)
        if detail is not None:
            yield Problem(folder.parent.name, folder.name, detail)
        if progress is not None:
            progress(1)
    for folder in volume_folders(archive.path):
        sop_uid, detail = _volume_problem(folder, patients)
        if detail is not None:
            yield Problem(folder.parent.name, sop_uid, detail)
        if progress is not None:
            progress(1)
    for folder in layout.folders(archive.path / "skipped"):
        try:
            SkippedRecord.from_dict(layout.read_group(folder))
        except (MammofastError, OSError):
            if folder.is_dir():
                yield Problem(None, None, f"the record {folder.name} of a file not kept cannot be read")


def _problem(archive: Path, folder: Path, patients: dict[str, bytes]) -> str | None:
    try:
        with quiet():
            image = open_image(archive, folder)
            return _pixels_problem(image) or _header_problem(image) or _patient_problem(image, patients)
    except MammofastError as error:
        return str(error)
    except Exception as error:  # whatever damage does; the next image is looked at all the same
        return f"it cannot be read ({type(error).__name__})"


def _volume_problem(folder: Path, patients: dict[str, bytes]) -> tuple[str | None, str | None]:
    """Return a volume's name, where it can be read, and what is wrong with it."""
    sop_uid = None
    try:
        volume = open_volume(folder)
        record, sop_uid = volume.record, volume.record.sop_uid
        digest = ContentHash(record)
        for phase in range(record.phases):
            digest.update(volume.read(phase))
        if digest.hexdigest() != record.content_sha256:
            return sop_uid, f"content hash is {digest.hexdigest()}, the record says {record.content_sha256}"
        objects = volume.objects.objects
        named = [str(header.SOPInstanceUID) for header in volume.headers()]
        if named != [each.sop_uid for each in objects] or str(volume.header.SOPInstanceUID) != sop_uid:
            return sop_uid, "headers and record do not name the same objects"
        if next(uid for uid, _ in volume.frames(0)) != sop_uid:
            return sop_uid, "its first slice is not the object that its record names"
        with quiet():
            return sop_uid, _patient_problem(volume, patients)
    except MammofastError as error:
        return sop_uid, str(error)
    except Exception as error:
        return sop_uid, f"it cannot be read ({type(error).__name__})"


def _pixels_problem(image: ArchiveImage) -> str | None:
    record = image.record
    native = image.read()
    if (native.shape, native.dtype.name) != (image.shape, record.dtype):
        return f"pixels are {native.shape} {native.dtype.name}, the record says {image.shape} {record.dtype}"
    found = layout.content_sha256(native, record.bits_stored, record.photometric)
    if found != record.content_sha256:
        return f"content hash is {found}, the record says {record.content_sha256}"
    coarse = [level for level in record.levels if level]
    for level, expected in zip(coarse, ops.pool(native, coarse), strict=True):
        if not np.array_equal(image.read(level), expected):
            return f"level {level} is not the mean of level 0"
    return None


def _header_problem(image: ArchiveImage) -> str | None:
    record = image.record
    try:
        header = image.header
        named = (str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID))
    except MammofastError:
        raise
    except Exception as error:
        return f"the header cannot be read ({type(error).__name__})"
    if named != (record.study_uid, record.series_uid, record.sop_uid):  # which the folder's name was held against
        return "header, record and folder do not name the same image"
    return None


def _patient_problem(image: ArchiveImage | ArchiveVolume, patients: dict[str, bytes]) -> str | None:
    patient = patient_of(image.header)
    if patients.setdefault(image.record.study_uid, patient) != patient:
        return "its Patient ID is not that of the study's first image"
    return None
