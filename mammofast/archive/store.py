"""The archive as its readers see it."""

import contextlib
import hashlib
import io
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread

from mammofast import ops
from mammofast.archive import layout
from mammofast.archive.grey import grey_table
from mammofast.archive.quiet import quiet
from mammofast.archive.record import Duplicate, ImageRecord, SkippedRecord
from mammofast.archive.volumes.store import ArchiveVolume, open_volume, volume_folders
from mammofast.errors import ArchiveError, BrokenImage, Reason
from mammofast.objects import place
from mammofast.records import GreyPipeline, GreyTable, Window, level_shape

# What ops.pool makes; the largest image that DICOM can describe is then 2 x 2 pixels.
_LAST_LEVEL = 15


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """One image; an :class:`~mammofast.records.ImageSource`. Holds no open file and can be sent to other processes.

    archive: where the archive is.
    """

    archive: Path
    record: ImageRecord

    def __reduce__(self) -> tuple[Any, ...]:
        # Every task carries many: a dataclass's own way takes longer, and so would a Path for each.
        return ArchiveImage, (self.archive, self.record)

    @property
    def folder(self) -> Path:
        """Where the image is."""
        return image_folder(self.archive, self.record.study_uid, self.record.sop_uid)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the native image."""
        return (self.record.rows, self.record.cols)

    @property
    def pixel_spacing(self) -> tuple[float, float] | None:
        """Millimetres at the detector between rows and between columns, where known."""
        return self.record.pixel_spacing

    @property
    def header(self) -> Dataset:
        """The whole data set without its pixels."""
        with quiet():
            return dcmread(io.BytesIO(self.header_bytes))

    @property
    def header_bytes(self) -> bytes:
        """The same as a DICOM Part 10 file."""
        return self._read("header").tobytes()

    def read(self, level: int = 0, window: Window | None = None) -> layout.Pixels:
        """Return stored values of a level; only the chunks that the window touches are read.

        Parameters
        ----------
        level: 0 <= k <= 15; pixels are means over 2^k x 2^k squares of native ones.
        window: (x_min, y_min, x_max, y_max) in pixels of that level, inside it; None for all of it.

        Returns
        -------
        (rows, cols) of the record's dtype.

        Raises
        ------
        ValueError
            When there is no such level or the window is not inside it, or either is not of integers.
        BrokenImage
            READ, when what is stored cannot be read.

        """
        level = _level(level)
        rows, cols = level_shape(self.shape, level)
        if window is not None:
            window = _window(window, rows, cols)
            x_min, y_min, x_max, y_max = window
            if x_min == x_max or y_min == y_max:
                return np.empty((y_max - y_min, x_max - x_min), self.record.dtype)
        if level in self.record.levels:
            return self._read_level(level, window)
        native = None
        if window is not None:
            # Squares are aligned, so that the pixels of a window need no others.
            x_min, y_min, x_max, y_max = (edge << level for edge in window)
            native = (x_min, y_min, min(x_max, self.record.cols), min(y_max, self.record.rows))
        return ops.pool(self._read_level(0, native), [level])[0]

    def grey_table(self, pipeline: GreyPipeline) -> GreyTable:
        """Return the pipeline, as the header describes it, as a table over stored values."""
        return grey_table(self.header, pipeline)

    def _read_level(self, level: int, window: Window | None) -> layout.Pixels:
        # A zarr.json that says otherwise is damaged, and would give other pixels.
        record = self.record
        expected = {
            "shape": list(level_shape(self.shape, level)),
            "data_type": record.dtype,
            "fill_value": record.background,
        }
        return self._read(str(level), window, expected)

    def _read(self, name: str, window: Window | None = None, expected: dict[str, Any] | None = None) -> layout.Pixels:
        try:
            return layout.read(self.folder / name, window, expected)
        except (OSError, ValueError) as error:
            # The message would name the file.
            raise BrokenImage(Reason.READ, f"array {name} cannot be read ({type(error).__name__})") from None


def _level(level: int) -> int:
    try:
        index = operator.index(level)
    except TypeError:
        index = -1
    if not 0 <= index <= _LAST_LEVEL:
        raise ValueError(f"level: got {level!r}, expected an integer in 0..{_LAST_LEVEL}")
    return index


def _window(window: Window, rows: int, cols: int) -> Window:
    try:
        x_min, y_min, x_max, y_max = map(operator.index, window)
    except (TypeError, ValueError):
        raise ValueError(f"window: got {window!r}, expected four integers (x_min, y_min, x_max, y_max)") from None
    if not (0 <= x_min <= x_max <= cols and 0 <= y_min <= y_max <= rows):
        raise ValueError(f"window: got {window}, expected a box inside {cols} columns and {rows} rows")
    return x_min, y_min, x_max, y_max


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive on disk. What is in it is looked up anew on every call: others may be adding to it."""

    path: Path
    archive_id: str

    def images(self) -> Iterator[ArchiveImage]:
        """Yield every image, by study and SOP Instance UID; those whose record is damaged are in ``skipped``."""
        return (image for image in self.all_images() if isinstance(image, ArchiveImage))

    def all_images(self) -> Iterator[ArchiveImage | SkippedRecord]:
        """Yield every image, or what can be said of it where its own record is damaged."""
        yield from _images(self.path, image_folders(self.path))

    def volumes(self) -> Iterator[ArchiveVolume]:
        """Yield every volume, by study and content; those whose record is damaged are in ``skipped``."""
        return (volume for volume in self.all_volumes() if isinstance(volume, ArchiveVolume))

    def all_volumes(self, study_uid: str | None = None) -> Iterator[ArchiveVolume | SkippedRecord]:
        """Yield every volume, of one study or of all, or what can be said of it where its own record is damaged."""
        for folder in volume_folders(self.path, study_uid):
            try:
                yield open_volume(folder)
            except (ArchiveError, OSError):
                if folder.is_dir():
                    reason = f"{Reason.READ}: the volume's record in the archive is damaged"
                    key = hashlib.sha256(f"volume\0{folder.parent.name}\0{folder.name}".encode()).hexdigest()
                    yield SkippedRecord("failed", reason, study_uid=folder.parent.name, key=key)

    def all_units(self) -> "Iterator[Unit | SkippedRecord]":
        """Yield what can be screened, images and volumes, as ``all_images`` and ``all_volumes``.

        Study by study as the file system has them, remembering none but those of images and volumes, which are few. A
        study that gains its first image, or volume, meanwhile may come twice, each time with other units.
        """
        mixed = set()
        for study in layout.unsorted_folders(self.path / "images"):
            yield from _images(self.path, layout.folders(study))
            for volume in self.all_volumes(study.name):
                mixed.add(study.name)
                yield volume
        for study in layout.unsorted_folders(self.path / "volumes"):
            if study.name not in mixed:
                yield from self.all_volumes(study.name)

    def volume(self, study_uid: str, sop_uid: str) -> ArchiveVolume:
        """Return the volume that begins with an object.

        Raises
        ------
        ArchiveError
            When the archive does not have it.

        """
        for volume in self.all_volumes(study_uid):
            if isinstance(volume, ArchiveVolume) and volume.record.sop_uid == sop_uid:
                return volume
        raise ArchiveError(f"the archive has no volume {sop_uid} in study {study_uid}")

    def studies(self) -> dict[str, list[ArchiveImage]]:
        """Return the images of every study, by Study Instance UID."""
        studies: dict[str, list[ArchiveImage]] = {}
        for image in self.images():
            studies.setdefault(image.record.study_uid, []).append(image)
        return studies

    def image(self, study_uid: str, sop_uid: str) -> ArchiveImage:
        """Return one image.

        Raises
        ------
        ArchiveError
            When the archive does not have it.

        """
        return open_image(self.path, image_folder(self.path, study_uid, sop_uid))

    def skipped(self) -> Iterator[SkippedRecord]:
        """Yield every file that was looked at and is not kept, by key; then what has a damaged record."""
        yield from self.not_kept()
        yield from (image for image in self.all_images() if isinstance(image, SkippedRecord))
        yield from (volume for volume in self.all_volumes() if isinstance(volume, SkippedRecord))

    def duplicates(self) -> Iterator[tuple[str, Duplicate]]:
        """Yield the hash of every file that is another copy of an image, and of which."""
        for folder in layout.folders(self.path / "duplicates"):
            # A damaged one is no loss: it only saves looking at the file again.
            with contextlib.suppress(ArchiveError, OSError, TypeError):
                yield folder.name, Duplicate(**layout.read_group(folder))

    def not_kept(self) -> Iterator[SkippedRecord]:
        """Yield every file that was looked at and is not kept, by key."""
        for folder in layout.folders(self.path / "skipped"):
            try:
                yield SkippedRecord.from_dict(layout.read_group(folder), key=folder.name)
            except (ArchiveError, OSError):
                if folder.is_dir():  # else the file has been read since
                    reason = f"{Reason.READ}: the archive's record of a file that it does not keep is damaged"
                    yield SkippedRecord("failed", reason, key=folder.name)


# What can be screened.
Unit = ArchiveImage | ArchiveVolume


def open_archive(path: str | Path) -> Archive:
    """Open an archive for reading.

    Raises
    ------
    ArchiveError
        When there is none, or one of another format.

    """
    folder = place(path)
    try:
        attributes = layout.read_group(folder)
        found, archive_id = attributes["format"], str(attributes["archive_id"])
    except (FileNotFoundError, NotADirectoryError):
        raise ArchiveError("there is no archive at that path; make one with `mammofast ingest`") from None
    except KeyError:
        raise ArchiveError("the Zarr group at that path is not a mammofast archive") from None
    if found != layout.FORMAT:
        raise ArchiveError(f"the archive has format {found}, this version reads {layout.FORMAT}")
    return Archive(folder, archive_id)


def image_folder(archive: Path, study_uid: str, sop_uid: str) -> Path:
    """Return where an image is, or would be."""
    return archive / "images" / study_uid / sop_uid


def image_folders(archive: Path, in_order: bool = True) -> Iterator[Path]:
    """Yield where images are, by study and SOP Instance UID; or study by study, in no other order."""
    studies = layout.folders if in_order else layout.unsorted_folders
    for study in studies(archive / "images"):
        yield from layout.folders(study)


def _images(archive: Path, folders: Iterable[Path]) -> Iterator[ArchiveImage | SkippedRecord]:
    for folder in folders:
        try:
            yield open_image(archive, folder)
        except (ArchiveError, OSError):
            if folder.is_dir():  # else it has just been removed
                reason = f"{Reason.READ}: the image's record in the archive is damaged"
                study_uid, sop_uid = folder.parent.name, folder.name
                key = hashlib.sha256(f"image\0{study_uid}\0{sop_uid}".encode()).hexdigest()
                yield SkippedRecord("failed", reason, study_uid=study_uid, sop_uid=sop_uid, key=key)


def open_image(archive: Path, folder: Path) -> ArchiveImage:
    """Return the image in an archive's folder; ArchiveError where there is none, or another than its name says."""
    try:
        record = ImageRecord.from_dict(layout.read_group(folder))
    except (FileNotFoundError, NotADirectoryError):
        raise ArchiveError(f"the archive has no image {folder.name} in study {folder.parent.name}") from None
    if (record.study_uid, record.sop_uid) != (folder.parent.name, folder.name):
        raise ArchiveError(f"the record of image {folder.name} names another image or study")
    return ArchiveImage(archive, record)
