"""What the archive remembers of an image it keeps, and of a file it does not."""

from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from mammofast.errors import ArchiveError

# Tuples, which are lists in JSON and are made into tuples again.
_CONVERTED = frozenset({"pixel_spacing", "levels", "modifiers", "contradictions"})


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of the archive, without its pixels.

    laterality: "L", "R" or None. view: DICOM's abbreviation ("CC", "MLO", ...) or None where the object names none.
    photometric: Photometric Interpretation. presentation_intent: "FOR PRESENTATION", "FOR PROCESSING" or None.
    pixel_spacing: mm, (between rows, between columns).
    spacing_from: the attribute it is from, "ImagerPixelSpacing", which is at the detector, or "PixelSpacing".
    background: the stored value that the array's empty chunks stand for.
    levels: which pyramid levels are stored; the others are computed from level 0.
    modifiers: the view's modifiers and the like, see ``views.modifiers_of``. contradictions: which of "laterality" and
    "view" the header answers in two ways. voi: which VOI window or LUT of the header is used, see ``grey.voi_used``.
    content_sha256: of the decoded stored values, see ``layout.content_sha256``. source_sha256: of the DICOM file.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    laterality: str | None
    view: str | None
    rows: int
    cols: int
    dtype: str
    bits_stored: int
    photometric: str
    presentation_intent: str | None
    pixel_spacing: tuple[float, float] | None
    background: int
    levels: tuple[int, ...]
    content_sha256: str
    source_sha256: str
    transfer_syntax_uid: str
    spacing_from: str | None = None
    modifiers: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    voi: str | None = None

    @property
    def nbytes(self) -> int:
        """How much the native stored values take."""
        return self.rows * self.cols * _itemsize(self.dtype)

    @property
    def time_units(self) -> int:
        """How many images' time screening may take."""
        return 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Every task carries many records: a dataclass's own way takes three times as long.
        return ImageRecord, _values_of(self)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        values = asdict(self)
        values["pixel_spacing"] = None if self.pixel_spacing is None else list(self.pixel_spacing)
        for name in ("levels", "modifiers", "contradictions"):
            values[name] = list(values[name])
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ImageRecord":
        """Return the record that ``as_dict`` wrote."""
        spacing = values.get("pixel_spacing")
        try:
            return _checked(
                cls(
                    **values
                    | {
                        "pixel_spacing": None if spacing is None else (float(spacing[0]), float(spacing[1])),
                        "levels": tuple(map(int, values["levels"])),
                        "modifiers": tuple(map(str, values.get("modifiers", ()))),
                        "contradictions": tuple(map(str, values.get("contradictions", ()))),
                    }
                )
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ArchiveError(f"an image's record is not what this version writes ({type(error).__name__})") from None


_itemsize = lru_cache(lambda dtype: np.dtype(dtype).itemsize)
_values_of = attrgetter(*(field.name for field in fields(ImageRecord)))


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Which image a file is another copy of: the same in all of it, but not in every byte."""

    study_uid: str
    sop_uid: str
    content_sha256: str

    @classmethod
    def of(cls, record: ImageRecord) -> "Duplicate":
        """Return what a copy of an image is recorded as."""
        return cls(record.study_uid, record.sop_uid, record.content_sha256)


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """One file that the archive does not keep, or an image of it whose own record is damaged; and why.

    status: "skipped" for sound objects that are not usable mammograms, "failed" for damaged ones.
    reason: "<Reason>: detail". source_sha256: None where the file could not be read.
    key: 64 hex digits, the record's own name in the archive, given when it is read from there; never part of what is
    written. Unlike everything else in a record, no two have the same.
    """

    status: str
    reason: str
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    laterality: str | None = None
    view: str | None = None
    rows: int | None = None
    cols: int | None = None
    source_sha256: str | None = None
    key: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        values = asdict(self)
        del values["key"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], key: str = "") -> "SkippedRecord":
        """Return the record that ``as_dict`` wrote."""
        try:
            return _checked(cls(**values, key=key))
        except TypeError as error:
            detail = f"a skipped file's record is not what this version writes ({type(error).__name__})"
            raise ArchiveError(detail) from None


_Record = TypeVar("_Record", ImageRecord, SkippedRecord)


def _checked(record: _Record) -> _Record:
    """Return a record whose strings are strings and whose numbers are numbers."""
    for field in fields(record):
        kind: Any = field.type
        if field.name not in _CONVERTED and not isinstance(getattr(record, field.name), kind):
            raise TypeError(f"{field.name} is of another type")
    return record
