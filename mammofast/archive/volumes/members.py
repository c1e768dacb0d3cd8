"""MR objects as files and as parts of volumes: what a volume is put together from."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from mammofast.archive import layout
from mammofast.archive.codecs import FrameFormat
from mammofast.archive.decoded import check_range
from mammofast.archive.reading import header_bytes, read_dicom, read_frames
from mammofast.archive.volumes.record import MrObject
from mammofast.archive.volumes.store import ArchiveVolume, open_volume, volume_folders
from mammofast.archive.volumes.triage import triage
from mammofast.errors import MammofastError


@dataclass(frozen=True, slots=True)
class Member:
    """An object of a study, and where its pixels are: in a file, or in a volume that it is a part of, at ``index``."""

    object: MrObject
    path: Path | None = None
    volume: ArchiveVolume | None = None
    index: int = 0


def check(dataset: Dataset, source_sha256: str) -> MrObject:
    """Decode an MR object whole, and return what is known of it; raises as ``triage`` and decoding."""
    found = triage(dataset)
    digest = hashlib.sha256(f"{found.frame}\n".encode())
    for pixels in read_frames(dataset, found.frame, len(found.object.frames)):
        check_range(pixels, found.frame)
        digest.update(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
    header_bytes(dataset)  # to be written with the volume's
    return replace(found.object, content_sha256=digest.hexdigest(), source_sha256=source_sha256)


def of_file(path: Path, checked: MrObject | None = None) -> Member:
    """Return the object in a file; raises as ``check``, and OSError.

    checked: what the same run found in it; the file is decoded again only where it is not that any more.
    """
    with path.open("rb") as stream:
        source = hashlib.file_digest(stream, "sha256").hexdigest()
        if checked is not None and checked.source_sha256 == source:
            return Member(checked, path)
        stream.seek(0)
        return Member(check(read_dicom(stream), source), path)


def of_volume(volume: ArchiveVolume) -> Iterator[Member]:
    """Yield the objects that a volume was made of."""
    for index, each in enumerate(volume.objects.objects):
        yield Member(each, volume=volume, index=index)


def held(archive: Path, study_uid: str) -> set[str]:
    """Return the SOP Instance UIDs of a study's MR objects that an archive has, in volumes and waiting."""
    found: set[str] = set()
    for folder in volume_folders(archive, study_uid):
        with contextlib.suppress(MammofastError, OSError):  # a damaged one: told elsewhere
            found.update(each.sop_uid for each in open_volume(folder).objects.objects)
    for path in (archive / "waiting" / study_uid).glob("*.dcm"):
        with contextlib.suppress(Exception):  # pydicom fails in many ways
            found.add(str(dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID))
    return found


class Reader:
    """Reads members' frames and headers; keeps the last that it read, as the next frame is mostly beside it."""

    def __init__(self) -> None:
        self._last: tuple[object, layout.Pixels] | None = None
        self._headers: tuple[Path, list[bytes]] | None = None
        self._places: dict[Path, dict[tuple[int, int], tuple[int, int]]] = {}

    def frame(self, member: Member, frame: int) -> layout.Pixels:
        """Return a frame's stored values (rows, cols). frame: its index in the object."""
        if member.volume is None:
            assert member.path is not None
            alone: layout.Pixels = self._block(member.path, member)[frame]
            return alone
        phase, index = self._place(member.volume, member.index, frame)
        pixels: layout.Pixels = self._block((member.volume.folder, phase), member, phase)[index]
        return pixels

    def header(self, member: Member) -> bytes:
        """Return a member's data set without its pixels, as a DICOM Part 10 file."""
        if member.volume is None:
            assert member.path is not None
            with member.path.open("rb") as stream:
                return header_bytes(read_dicom(stream))
        if self._headers is None or self._headers[0] != member.volume.folder:
            self._headers = (member.volume.folder, list(member.volume.headers_bytes()))
        return self._headers[1][member.index]

    def _block(self, key: object, member: Member, phase: int = 0) -> layout.Pixels:
        """Return all frames of a file, or a phase of a volume."""
        if self._last is None or self._last[0] != key:
            self._last = None  # not two at a time
            if member.volume is not None:
                pixels = member.volume.read(phase)
            else:
                assert member.path is not None
                with member.path.open("rb") as stream:
                    dataset = read_dicom(stream)
                first = member.object
                stored = FrameFormat(first.rows, first.cols, *_bits(first))
                pixels = np.stack(list(read_frames(dataset, stored, len(first.frames))))
            self._last = key, pixels
        return self._last[1]

    def _place(self, volume: ArchiveVolume, number: int, frame: int) -> tuple[int, int]:
        """Return which phase and slice of a volume a frame of an object is."""
        if volume.folder not in self._places:
            of = volume.objects.of
            self._places[volume.folder] = {
                at: (phase, index) for phase, row in enumerate(of) for index, at in enumerate(row)
            }
        return self._places[volume.folder][number, frame]


def _bits(each: MrObject) -> tuple[int, int, bool]:
    dtype = np.dtype(each.dtype)
    return 8 * dtype.itemsize, each.bits_stored, dtype.kind == "i"
