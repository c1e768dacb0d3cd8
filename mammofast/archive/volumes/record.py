"""What is known of MR objects and of the volume that they make."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from mammofast.errors import ArchiveError

Point = tuple[float, float, float]
Orientation = tuple[float, float, float, float, float, float]
Rescale = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice of one phase, as its object describes it.

    number: of the frame in a multi-frame object, from 1; None of a single-frame one.
    position, orientation: Image Position and Image Orientation (Patient). spacing: mm between rows and between columns.
    rescale: slope, intercept.
    temporal, acquisition, trigger, time: what may tell its phase, see :mod:`mammofast.archive.volumes.assembly`;
    trigger in ms; time in s, from any beginning that is the same for all.
    """

    number: int | None
    position: Point
    orientation: Orientation
    spacing: tuple[float, float]
    rescale: Rescale = (1.0, 0.0)
    temporal: int | None = None
    acquisition: int | None = None
    trigger: float | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class MrObject:
    """An MR object that may be a part of a dynamic series, without its pixels.

    protocol: Repetition Time, Echo Time and Flip Angle, which all phases share.
    expected_phases, expected_images: Number of Temporal Positions and Images in Acquisition, where stated.
    part: of an enhanced object that was divided (PS3.3 C.7.6.16.2.2.4), Concatenation UID, which part it is, and of how
    many, so far as is known.
    content_sha256: of its stored values. source_sha256: of the file.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    frame_of_reference_uid: str
    rows: int
    cols: int
    dtype: str
    bits_stored: int
    photometric: str
    transfer_syntax_uid: str
    frames: tuple[Frame, ...]
    protocol: tuple[float | None, ...] = ()
    expected_phases: int | None = None
    expected_images: int | None = None
    part: tuple[str, int, int] | None = None
    content_sha256: str = ""
    source_sha256: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the object as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MrObject":
        """Return the object that ``as_dict`` wrote."""
        frames = tuple(Frame(**_frozen(frame)) for frame in values["frames"])
        return cls(**_frozen(values) | {"frames": frames})


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """One dynamic series of the archive, without its pixels.

    sop_uid, series_uid: of the first slice of the first phase, which name the volume. series_uids: of all phases, in
    their order, each once. sop_class_uid: of all objects. transfer_syntax_uids: of the objects, sorted.
    spacing: mm between slices (of their positions, not Slice Thickness), rows and columns.
    image_orientation: Image Orientation (Patient), of all slices. positions: Image Position (Patient) of every slice;
    they rise along row x column. times: s since the first phase; None where not known.
    rescale: (slope, intercept) of all frames, or one for each frame, phase by phase.
    content_sha256: of stored values, rescale and geometry, see :class:`mammofast.archive.volumes.store.ContentHash`.
    replaces: (sop_uid, content_sha256) of the volumes that this one took the place of as more of its series came.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    series_uids: tuple[str, ...]
    sop_class_uid: str
    frame_of_reference_uid: str
    phases: int
    slices: int
    rows: int
    cols: int
    dtype: str
    bits_stored: int
    photometric: str
    spacing: Point
    image_orientation: Orientation
    positions: tuple[Point, ...]
    times: tuple[float | None, ...]
    rescale: tuple[Rescale, ...]
    transfer_syntax_uids: tuple[str, ...]
    content_sha256: str = ""
    replaces: tuple[tuple[str, str], ...] = ()

    @property
    def nbytes(self) -> int:
        """How much all stored values take."""
        return self.phases * self.slices * self.rows * self.cols * np.dtype(self.dtype).itemsize

    @property
    def time_units(self) -> int:
        """How many images' time screening may take: one for every ten slices."""
        return -(-self.slices // 10)

    @property
    def pixel_spacing(self) -> tuple[float, float]:
        """Millimetres between rows and between columns."""
        return self.spacing[1:]

    @property
    def laterality(self) -> None:
        """None: both breasts."""

    @property
    def view(self) -> None:
        """None: a volume is no view."""

    def rescale_of(self, phase: int, index: int) -> Rescale:
        """Return slope and intercept of a slice of a phase."""
        return self.rescale[phase * self.slices + index if len(self.rescale) > 1 else 0]

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "VolumeRecord":
        """Return the record that ``as_dict`` wrote; ArchiveError where it is another one."""
        try:
            record = cls(**_frozen(values))
            for field in fields(record):
                if field.type in (int, str) and type(getattr(record, field.name)) is not field.type:
                    raise TypeError(field.name)
            shape = (record.phases, record.slices, record.rows, record.cols)
            counts = (len(record.times), len(record.positions))
            if min(shape) < 1 or counts != shape[:2] or len(record.rescale) not in (1, shape[0] * shape[1]):
                raise ValueError("counts do not agree")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ArchiveError(f"a volume's record is not what this version writes ({type(error).__name__})") from None
        return record


def _frozen(value: Any) -> Any:
    """Return JSON values with tuples for lists."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {name: _frozen(entry) for name, entry in value.items()} if isinstance(value, dict) else value
