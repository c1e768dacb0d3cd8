"""One study's MR objects, of a run and of the archive, put together into volumes.

What makes a volume is written as one, whole or not at all; what does not, waits in the archive as it came, and what it
lacks is on record. A volume that is made anew, of more, takes the old one's place.
"""

import contextlib
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import dcmread

from mammofast.archive import layout
from mammofast.archive.patients import patient_of
from mammofast.archive.record import SkippedRecord
from mammofast.archive.volumes import members
from mammofast.archive.volumes.assembly import Group, Plan, assemble
from mammofast.archive.volumes.members import Member, Reader
from mammofast.archive.volumes.record import MrObject, VolumeRecord
from mammofast.archive.volumes.store import ArchiveVolume, Objects, open_volume, volume_folders, write_volume
from mammofast.archive.writer import Writer
from mammofast.errors import ArchiveError, BrokenImage, ImageError, Reason, UnusableImage

# What became of a file whose copy in the archive the disk has damaged.
LOST = "failed", f"{Reason.READ}: the archive's copy was damaged and is gone; ingest the file again"

Settled = Callable[[str, str | None], None]


@dataclass(slots=True)
class Arrival:
    """A file of this run. settle: told what became of it, "added", "known", "skipped" or "failed", and why.

    object, path: what it holds, and its copy in the run's folder; None where the archive has it waiting already.
    """

    object: MrObject | None
    source_sha256: str
    path: Path | None
    settle: Settled


class Study:
    """One study, while nobody else puts it together."""

    def __init__(
        self, writer: Writer, uid: str, waiting: dict[str, str], lost: set[str], checked: dict[str, MrObject]
    ) -> None:
        self._writer, self._uid, self._waiting, self._lost = writer, uid, waiting, lost
        self._checked = checked  # what waits, and was decoded in this run: more of a series may come a thousand times
        self._members: dict[str, Member] = {}
        self._fates: list[tuple[Arrival, tuple[str, str | None] | None]] = []
        for volume in self._open_volumes():
            self._members.update((each.object.sop_uid, each) for each in members.of_volume(volume))
        for path in sorted((writer.archive.path / "waiting" / uid).glob("*.dcm")):
            self._take_waiting(path)

    def put_together(self, arrivals: Sequence[Arrival]) -> int:
        """Make volumes; return how many."""
        for arrival in arrivals:
            self._take(arrival)
        made = 0
        left: dict[str, str] = {}
        rows: set[str] = set()
        for group in assemble(each.object for each in self._members.values()):
            error = group.error
            if group.plan is not None:
                try:
                    made += self._make(group.plan)
                except ImageError as failed:
                    error = failed
            if error is not None:
                left.update(self._leave_out(group, error, rows))
        with contextlib.suppress(OSError):  # some wait
            (self._writer.archive.path / "waiting" / self._uid).rmdir()
        # What this or another run said of a series that is whole by now.
        for series_uid in {each.object.series_uid for each in self._members.values()}:
            if (key := series_key(self._uid, series_uid)) not in rows:
                self._writer.forget(key)
        for arrival, fate in self._fates:
            arrival.settle(*(fate or (left.get(arrival.source_sha256, "added"), None)))
        return made

    def _take(self, arrival: Arrival) -> None:
        """Take a file in; what it holds may be here already."""
        fate: tuple[str, str | None] | None = None
        if arrival.object is not None and arrival.path is not None:
            present = self._members.get(arrival.object.sop_uid)
            if present is None:
                self._members[arrival.object.sop_uid] = Member(arrival.object, arrival.path)
            elif present.object.content_sha256 == arrival.object.content_sha256:
                fate = "known", None
            else:
                fate = "skipped", f"{Reason.CONFLICTING_UID}: the archive has that SOP Instance UID, with other pixels"
        elif arrival.source_sha256 in self._lost:
            fate = LOST
        self._fates.append((arrival, fate))

    def _leave_out(self, group: Group, error: ImageError, rows: set[str]) -> dict[str, str]:
        """Let what is new in a group wait, and say why; return what that is, by the file's hash.

        What makes a volume without it stays one.
        """
        new = [part for each in group.objects if (part := self._members[each.sop_uid]).volume is None]
        for part in new:
            source, path = part.object.source_sha256, part.path
            if path is not None and source not in self._waiting:
                self._members[part.object.sop_uid] = replace(part, path=self._writer.let_wait(path, self._uid, source))
                self._waiting[source] = self._uid
                self._checked[source] = part.object
        if new:
            first = new[0].object
            record = SkippedRecord(
                error.status,
                str(error),
                study_uid=self._uid,
                series_uid=first.series_uid,
                sop_uid=first.sop_uid,
                rows=first.rows,
                cols=first.cols,
            )
            key = series_key(self._uid, first.series_uid)
            rows.add(key)
            self._writer.skip(key, record)
        return {part.object.source_sha256: error.status for part in new}

    def _open_volumes(self) -> list[ArchiveVolume]:
        """Return the study's volumes; of two that share an object, the larger: a run ended before it removed one."""
        found: list[tuple[ArchiveVolume, set[str]]] = []
        for folder in volume_folders(self._writer.archive.path, self._uid):
            with contextlib.suppress(ArchiveError, ImageError, OSError):
                volume = open_volume(folder)
                found.append((volume, {each.sop_uid for each in volume.objects.objects}))
        found.sort(key=lambda each: (-len(each[1]), each[0].folder.name))
        kept: list[tuple[ArchiveVolume, set[str]]] = []
        for volume, parts in found:
            if any(parts & others for _, others in kept):
                self._writer.remove(volume.folder)
            else:
                kept.append((volume, parts))
        return [volume for volume, _ in kept]

    def _take_waiting(self, path: Path) -> None:
        try:
            part = members.of_file(path, self._checked.get(path.stem))
            is_whole = part.object.source_sha256 == path.stem
        except (ImageError, OSError):
            is_whole = False
        # One that the disk has damaged may be sent again; one that is in a volume was left by a run that was killed.
        if not is_whole or part.object.sop_uid in self._members:
            if not is_whole:
                self._lost.add(path.stem)
            self._writer.remove(path)
            self._waiting.pop(path.stem, None)
        else:
            self._members[part.object.sop_uid] = part
            self._checked[path.stem] = part.object

    def _make(self, plan: Plan) -> int:
        """Write a volume, unless the archive has it; return how many were written."""
        objects = tuple({s.object.sop_uid: s.object for row in plan.slices for s in row}.values())
        number = {each.sop_uid: index for index, each in enumerate(objects)}
        of = tuple(tuple((number[s.object.sop_uid], (s.frame.number or 1) - 1) for s in row) for row in plan.slices)
        parts = [self._members[each.sop_uid] for each in objects]
        old = list({part.volume.folder: part.volume for part in parts if part.volume is not None}.values())
        had = [{each.sop_uid for each in volume.objects.objects} for volume in old]
        if had == [set(number)]:
            return 0
        if any(uids - set(number) for uids in had):  # what is left of it would be in no volume
            detail = "the series overlap in time now: the archive's volume of them would be taken apart, it stays"
            raise BrokenImage(Reason.DUPLICATE_SLICES, detail)
        reader = Reader()
        headers = [reader.header(part) for part in parts]
        _check_patient(headers)
        record = _record(plan, old)
        staged = self._writer.scratch()

        def phase(at: int) -> layout.Pixels:
            return np.stack([reader.frame(parts[n], frame) for n, frame in of[at]])

        try:
            written = write_volume(staged, record, Objects(objects, of, tuple(map(len, headers))), headers, phase)
        except (OSError, ValueError) as error:
            words = error.strerror if isinstance(error, OSError) else "is the disk full, or not writable?"
            raise ArchiveError(f"volume {record.sop_uid} cannot be written ({words})") from None
        if not self._writer.publish_volume(staged, self._uid, written.content_sha256):
            raise _taken(self._writer.archive.path / "volumes" / self._uid / written.content_sha256)
        for volume in old:
            if volume.folder.name != written.content_sha256:
                self._writer.remove(volume.folder)
        for part in parts:
            if part.path is not None:
                self._writer.remove(part.path)
                self._waiting.pop(part.object.source_sha256, None)
                self._checked.pop(part.object.source_sha256, None)
        return 1


def _record(plan: Plan, old: Sequence[ArchiveVolume]) -> VolumeRecord:
    """Return what is known of a volume, but for its content's hash. old: the volumes that it takes the place of."""
    slices = [each for row in plan.slices for each in row]
    first, frame = slices[0].object, slices[0].frame
    rescale = tuple(each.frame.rescale for each in slices)
    replaced = {(volume.record.sop_uid, volume.record.content_sha256) for volume in old}
    return VolumeRecord(
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        sop_uid=first.sop_uid,
        series_uids=tuple(dict.fromkeys(each.object.series_uid for each in slices)),
        sop_class_uid=first.sop_class_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        phases=len(plan.slices),
        slices=len(plan.slices[0]),
        rows=first.rows,
        cols=first.cols,
        dtype=first.dtype,
        bits_stored=first.bits_stored,
        photometric=first.photometric,
        spacing=(plan.step, *frame.spacing),
        image_orientation=frame.orientation,
        positions=tuple(each.frame.position for each in plan.slices[0]),
        times=plan.times,
        rescale=rescale[:1] if len(set(rescale)) == 1 else rescale,
        transfer_syntax_uids=tuple(sorted({each.object.transfer_syntax_uid for each in slices})),
        replaces=tuple(sorted(replaced.union(*(volume.record.replaces for volume in old)))),
    )


def _taken(folder: Path) -> ImageError:
    """Return why a volume cannot be put where one of the same content is, made of none of its objects."""
    try:
        open_volume(folder).objects  # noqa: B018 - whether they can be read
    except (ArchiveError, ImageError, OSError):
        # Nothing is written over what may be the only copy: that is for people to do.
        return BrokenImage(Reason.READ, "the archive's volume of the same content is damaged")
    return UnusableImage(Reason.CONFLICTING_UID, "the archive has a volume of the same content, of other objects")


def _check_patient(headers: Sequence[bytes]) -> None:
    """Refuse slices of several patients: nothing says which of them is right."""
    if len({patient_of(dcmread(io.BytesIO(header), specific_tags=["PatientID"])) for header in headers}) > 1:
        raise UnusableImage(Reason.CONFLICTING_UID, "the slices of one volume name several patients")


def series_key(study_uid: str, series_uid: str) -> str:
    """Return the name of the record of a series that makes no volume."""
    return hashlib.sha256(f"series\0{study_uid}\0{series_uid}".encode()).hexdigest()
