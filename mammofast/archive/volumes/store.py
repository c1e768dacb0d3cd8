"""A volume of an archive: written once, read by phase and slice."""

import hashlib
import io
import json
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread

from mammofast.archive import layout
from mammofast.archive.quiet import quiet
from mammofast.archive.volumes.record import Frame, MrObject, VolumeRecord
from mammofast.errors import ArchiveError, BrokenImage, Reason


@dataclass(frozen=True, slots=True)
class Objects:
    """What a volume is made of. of: the index of each slice's object and of its frame there, ``of[phase][slice]``.

    header_sizes: bytes of each object's header, in the array of all headers.
    """

    objects: tuple[MrObject, ...]
    of: tuple[tuple[tuple[int, int], ...], ...]
    header_sizes: tuple[int, ...]

    def frame(self, phase: int, index: int) -> tuple[MrObject, Frame]:
        """Return a slice's object and frame."""
        number, frame = self.of[phase][index]
        return self.objects[number], self.objects[number].frames[frame]

    def to_bytes(self) -> bytes:
        """Return them as JSON."""
        objects = [
            each.as_dict() | {"header_bytes": n} for each, n in zip(self.objects, self.header_sizes, strict=True)
        ]
        return json.dumps({"objects": objects, "frames": self.of}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Objects":
        """Return what ``to_bytes`` wrote; KeyError, TypeError, ValueError where it is something else."""
        values = json.loads(content)
        sizes = tuple(each.pop("header_bytes") for each in values["objects"])
        of = tuple(tuple((number, frame) for number, frame in phase) for phase in values["frames"])
        return cls(tuple(map(MrObject.from_dict, values["objects"])), of, sizes)


@dataclass(frozen=True, slots=True)
class ArchiveVolume:
    """One volume, a :class:`~mammofast.records.VolumeSource`. Holds no open file and can be sent to other processes."""

    folder: Path
    record: VolumeRecord

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return (self.record.slices, self.record.rows, self.record.cols)

    @property
    def phases(self) -> int:
        """How many phases there are, the baseline included."""
        return self.record.phases

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between slices, rows and columns."""
        return self.record.spacing

    @property
    def times(self) -> tuple[float | None, ...]:
        """Seconds since the first phase, where known."""
        return self.record.times

    @property
    def header(self) -> Dataset:
        """The whole data set of the first phase's first slice, without its pixels."""
        with quiet():
            return dcmread(io.BytesIO(self.header_bytes))

    @property
    def header_bytes(self) -> bytes:
        """The same as a DICOM Part 10 file."""
        return self._bytes("header")

    @property
    def objects(self) -> Objects:
        """The objects that the volume is made of, and which of their frames is which slice."""
        try:
            return Objects.from_bytes(self._bytes("frames"))
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenImage(Reason.READ, f"array frames cannot be read ({type(error).__name__})") from None

    def frames(self, phase: int) -> list[tuple[str, int | None]]:
        """Return of every slice the SOP Instance UID, and the frame's number in it; None of a single-frame object."""
        objects = self.objects
        found = (objects.frame(self._phase(phase), index) for index in range(self.record.slices))
        return [(each.sop_uid, frame.number) for each, frame in found]

    def headers(self) -> Iterator[Dataset]:
        """Yield every object's data set without its pixels, in the order of ``objects``."""
        for content in self.headers_bytes():
            with quiet():
                yield dcmread(io.BytesIO(content))

    def headers_bytes(self) -> Iterator[bytes]:
        """Yield the same as DICOM Part 10 files."""
        sizes, content, start = self.objects.header_sizes, self._bytes("headers"), 0
        for size in sizes:
            yield content[start : start + size]
            start += size

    def read(self, phase: int, slices: tuple[int, int] | None = None) -> layout.Pixels:
        """Return stored values of a phase; only these slices are read.

        Parameters
        ----------
        phase: 0 is the baseline; negative counts from the last one.
        slices: (first, last), half-open; all by default.

        Returns
        -------
        (slices, rows, cols) of the record's dtype.

        Raises
        ------
        ValueError
            When there is no such phase, or no such slices.
        BrokenImage
            READ, when what is stored cannot be read.

        """
        record = self.record
        first, last = _span(slices, record.slices)
        phase = self._phase(phase)
        shape = [record.phases, record.slices, record.rows, record.cols]
        try:
            return layout.read_slices(
                self.folder / "0", phase, first, last, {"shape": shape, "data_type": record.dtype}
            )
        except (OSError, ValueError) as error:
            raise BrokenImage(Reason.READ, f"array 0 cannot be read ({type(error).__name__})") from None

    def values(self, phase: int, slices: tuple[int, int] | None = None) -> npt.NDArray[np.float32]:
        """Return the same after Rescale Slope and Intercept, float32."""
        first, last = _span(slices, self.record.slices)
        phase = self._phase(phase)
        stored = self.read(phase, (first, last)).astype(np.float64)
        rescale = np.array([self.record.rescale_of(phase, index) for index in range(first, last)])
        stored *= rescale[:, 0, None, None]
        stored += rescale[:, 1, None, None]
        return stored.astype(np.float32)

    def _phase(self, phase: int) -> int:
        index = operator.index(phase)
        if not -self.record.phases <= index < self.record.phases:
            raise ValueError(f"phase: got {phase}, the volume has {self.record.phases}")
        return index % self.record.phases

    def _bytes(self, name: str) -> bytes:
        try:
            return layout.read(self.folder / name).tobytes()
        except (OSError, ValueError) as error:
            raise BrokenImage(Reason.READ, f"array {name} cannot be read ({type(error).__name__})") from None


def _span(slices: tuple[int, int] | None, count: int) -> tuple[int, int]:
    first, last = (0, count) if slices is None else map(operator.index, slices)
    if not 0 <= first <= last <= count:
        raise ValueError(f"slices: got {slices}, expected (first, last) within 0..{count}")
    return first, last


class ContentHash:
    r"""SHA-256 of a volume's content.

    It is over one line of ASCII, ``mammofast-volume-1 DTYPE PHASES SLICES ROWS COLS BITS_STORED PHOTOMETRIC\n``; one of
    JSON, the record's rescale, spacing, image_orientation and positions; then the stored values, phase by phase, slice
    by slice, row by row, little-endian. Which objects and files they came in is no part of it.
    """

    def __init__(self, record: VolumeRecord) -> None:
        r = record
        line = f"mammofast-volume-1 {r.dtype} {r.phases} {r.slices} {r.rows} {r.cols} {r.bits_stored} {r.photometric}\n"
        geometry = json.dumps([r.rescale, r.spacing, r.image_orientation, r.positions], separators=(",", ":"))
        self._digest = hashlib.sha256(f"{line}{geometry}\n".encode("ascii"))

    def update(self, pixels: layout.Pixels) -> None:
        """Add the next phase's stored values (slices, rows, cols)."""
        self._digest.update(np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).data)

    def hexdigest(self) -> str:
        """Return the hash in hex."""
        return self._digest.hexdigest()


def open_volume(folder: Path) -> ArchiveVolume:
    """Return the volume in a folder; ArchiveError where there is none, or another than the folder's name says."""
    try:
        record = VolumeRecord.from_dict(layout.read_group(folder))
    except (FileNotFoundError, NotADirectoryError):
        raise ArchiveError(f"the archive has no volume {folder.name} in study {folder.parent.name}") from None
    if (record.study_uid, record.content_sha256) != (folder.parent.name, folder.name):
        raise ArchiveError(f"the record of volume {folder.name} names another volume or study")
    return ArchiveVolume(folder, record)


def volume_folders(archive: Path, study_uid: str | None = None) -> Iterator[Path]:
    """Yield where volumes are, by study and content; of one study or of all."""
    studies = layout.folders(archive / "volumes") if study_uid is None else [archive / "volumes" / study_uid]
    for study in studies:
        yield from layout.folders(study)


def write_volume(
    folder: Path,
    record: VolumeRecord,
    objects: Objects,
    headers: Sequence[bytes],
    phase: Callable[[int], layout.Pixels],
) -> VolumeRecord:
    """Write a volume where nobody looks; return its record with its content's hash.

    phase: returns a phase's stored values (slices, rows, cols).

    Raises
    ------
    BrokenImage
        CONSTANT_PIXELS, when all of it is one value.
    OSError, ValueError
        When it cannot be written.

    """
    digest = ContentHash(record)
    extremes: set[Any] = set()

    def phases() -> Iterator[layout.Pixels]:
        for number in range(record.phases):
            pixels = phase(number)
            digest.update(pixels)
            extremes.update((pixels.min(), pixels.max()))
            yield pixels

    shape = (record.phases, record.slices, record.rows, record.cols)
    layout.write_volume(folder / "0", shape, np.dtype(record.dtype), phases())
    if len(extremes) == 1:
        raise BrokenImage(Reason.CONSTANT_PIXELS, f"all pixels are {extremes.pop()}")
    layout.write_bytes(folder / "header", headers[objects.of[0][0][0]])
    layout.write_bytes(folder / "headers", b"".join(headers))
    layout.write_bytes(folder / "frames", objects.to_bytes())
    values = record.as_dict() | {"content_sha256": digest.hexdigest()}
    layout.write_group(folder, values)
    return VolumeRecord.from_dict(json.loads(json.dumps(values)))
