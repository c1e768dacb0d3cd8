"""A file's way into an archive: looked at, on one of many threads; then settled, on one, in the sources' order."""

import contextlib
import hashlib
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom import Dataset

from mammofast import ops
from mammofast.archive import layout
from mammofast.archive.codecs import Stored
from mammofast.archive.counts import IngestReport
from mammofast.archive.decoded import background_of, check_decoded
from mammofast.archive.mammogram import Mammogram, known, triage
from mammofast.archive.patients import MixedStudies, patient_of
from mammofast.archive.reading import header_bytes, read_dicom, read_pixels, same_header, transfer_syntax
from mammofast.archive.record import Duplicate, ImageRecord, SkippedRecord
from mammofast.archive.sources import LARGE_BYTES, MAX_FILE_BYTES, SourceFile, missing_place
from mammofast.archive.store import ArchiveImage
from mammofast.archive.volumes.gathering import Gathering
from mammofast.archive.volumes.record import MrObject
from mammofast.archive.volumes.study import Arrival
from mammofast.archive.volumes.triage import is_mr
from mammofast.archive.writer import Staged, Writer
from mammofast.errors import ArchiveError, BrokenImage, ImageError, Reason

# Another try may go better; every other reason is the file's own, and for good.
_RETRIED = frozenset({Reason.READ, Reason.MISSING_FILE, Reason.INTERNAL})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: an image (staged, unless its UID is known), a known file, or neither and why.

    mr: an MR object, which is not settled before its series is, and its copy. waits: whether the archive has it so.
    """

    source_sha256: str | None
    record: ImageRecord | None = None
    header: bytes = b""
    patient: bytes = b""
    staged: Staged | None = None
    skipped: SkippedRecord | None = None
    known: bool = False
    mr: tuple[MrObject, Path] | None = None
    waits: bool = False


class Intake:
    """What a run knows of an archive's files, and what it makes of each that comes."""

    def __init__(self, writer: Writer) -> None:
        self.report = IngestReport()
        self._writer = writer
        self._one_large = threading.RLock()  # who works on what unfolds to more than LARGE_BYTES
        self._images: dict[str, ImageRecord] = {}
        self._damaged: dict[str | None, SkippedRecord] = {}
        for image in writer.archive.all_images():
            if isinstance(image, SkippedRecord):
                self._damaged[image.sop_uid] = image
            else:
                self._images[image.record.sop_uid] = image.record
        self._mixed = MixedStudies(writer.archive, self._images.values())
        self._sources = {record.source_sha256 for record in self._images.values()}
        for sha256, duplicate in writer.archive.duplicates():
            image_of = self._images.get(duplicate.sop_uid)
            if image_of is not None and Duplicate.of(image_of) == duplicate:  # else that image is gone
                self._sources.add(sha256)
        self._not_kept = {record.key: record for record in writer.archive.not_kept()}
        self._gathering = Gathering(writer)
        self._sources.update(self._gathering.start())

    def look_at(self, file: SourceFile) -> Outcome:
        """Read, decode, check and stage one file. Runs on many threads; changes nothing that others see."""
        sha256, header = None, None
        try:
            with contextlib.ExitStack() as held:
                with file.open() as stream:
                    sha256 = _sha256(stream)
                    if sha256 in self._sources:
                        return Outcome(sha256, known=True)
                    if self._gathering.waits(sha256):
                        return Outcome(sha256, waits=True)
                    before = self._not_kept.get(sha256)
                    if before is not None and not _is_retried(before) and file.stated is None:
                        return Outcome(sha256, skipped=before)
                    too_large = file.size > MAX_FILE_BYTES
                    header = read_dicom(stream, too_large, lambda: held.enter_context(self._one_large))
                    if is_mr(header) and not too_large:
                        return Outcome(sha256, mr=self._gathering.stage(stream, header, sha256))
                if too_large and is_mr(header):
                    raise BrokenImage(Reason.TOO_LARGE, f"{file.size} bytes, at most {MAX_FILE_BYTES} are read")
                found = triage(header, pixels_read=not too_large, stated=file.stated)
                if found.sop_uid in self._damaged:
                    # Nothing is written over what may be the only copy: that is for people to do.
                    return Outcome(sha256, skipped=self._damaged[found.sop_uid])
                if too_large:
                    raise BrokenImage(Reason.TOO_LARGE, f"{file.size} bytes, at most {MAX_FILE_BYTES} are read")
                if found.frame.nbytes > LARGE_BYTES:
                    held.enter_context(self._one_large)
                pixels = read_pixels(header, found.frame)
                check_decoded(pixels, found.frame)
                return self._stage(header, found, pixels, sha256)
        except ArchiveError:
            raise  # not this file's fault, and the next would fare no better
        except ImageError as error:
            status, reason = error.status, str(error)
        except OSError as error:
            status, reason = "failed", f"{Reason.READ}: the file cannot be read ({error.strerror})"
        except Exception as error:
            # One file never stops the others. The message may quote what was read.
            status, reason = "failed", f"{Reason.INTERNAL}: {type(error).__name__}"
        skipped = SkippedRecord(status, reason, source_sha256=sha256, **_identity(file, header))
        return Outcome(sha256, skipped=skipped)

    def opened(self, place: str) -> None:
        """Note that a folder or zip file can be read: what it could not be before is no longer so."""
        if place in self._not_kept:
            self._writer.forget(place)

    def settle(self, file: SourceFile, outcome: Outcome) -> None:
        """Make an outcome part of the archive. Runs on one thread, in the order of the sources."""
        if outcome.source_sha256 is not None and (outcome.mr is not None or outcome.waits):
            self._gather(file, outcome.source_sha256, outcome.mr)
            return
        if outcome.record is not None:
            outcome = self._settle_image(outcome, outcome.record)
        if outcome.source_sha256 is not None:
            self._writer.forget(file.place)
        if outcome.skipped is None:
            if outcome.source_sha256 is not None and outcome.source_sha256 in self._not_kept:  # tried again, and better
                self._writer.forget(outcome.source_sha256)
            self._count("known" if outcome.known else "added")
        else:
            if outcome.skipped is not self._damaged.get(outcome.skipped.sop_uid):  # which speaks for itself
                self._skip(outcome.source_sha256 or file.place, outcome.skipped)
            self._count(outcome.skipped.status)
        file.settled(outcome.skipped is None or not _is_retried(outcome.skipped))

    def _skip(self, key: str, record: SkippedRecord) -> None:
        """Record a file that is not kept; should this run be offered it again, it knows."""
        self._writer.skip(key, record)
        self._not_kept[key] = record

    def put_together(self) -> None:
        """Make volumes of the MR objects that came, and settle these."""
        self._gathering.put_together()
        self.report = replace(self.report, volumes=self._gathering.volumes)

    def _gather(self, file: SourceFile, sha256: str, mr: tuple[MrObject, Path] | None) -> None:
        def settle(status: str, words: str | None) -> None:
            self._writer.forget(file.place)
            record = None
            if words is not None:
                identity = {} if mr is None else {name: getattr(mr[0], name) for name in _MR_IDENTITY}
                record = SkippedRecord(status, words, source_sha256=sha256, **identity)
                self._skip(sha256, record)
            elif sha256 in self._not_kept:
                self._writer.forget(sha256)
            if status in ("added", "known"):
                self._sources.add(sha256)
            self._count(status)
            file.settled(record is None or not _is_retried(record))

        if mr is None:
            self._gathering.add_waiting(sha256, settle)
        else:
            self._gathering.add(Arrival(mr[0], sha256, mr[1], settle))

    def _settle_image(self, outcome: Outcome, record: ImageRecord) -> Outcome:
        header, staged = outcome.header, outcome.staged
        present = self._images.get(record.sop_uid)
        if present is None and staged is not None:
            present = self._publish(record, outcome.patient, staged)
        elif staged is not None:
            self._writer.discard(staged)
        if present is None:
            self._writer.forget(missing_place(record.sop_uid))
            return Outcome(record.source_sha256)
        try:
            other = self._difference(record, header, present)
            if other is None:
                return Outcome(record.source_sha256, known=True)
            status, reason = "skipped", f"{Reason.CONFLICTING_UID}: the archive has that SOP Instance UID, {other}"
        except ImageError as error:
            status, reason = error.status, str(error)
        conflict = SkippedRecord(
            status,
            reason,
            source_sha256=record.source_sha256,
            **{name: getattr(record, name) for name in _IDENTITY},
        )
        return Outcome(record.source_sha256, skipped=conflict)

    def _difference(self, record: ImageRecord, header: bytes, present: ImageRecord) -> str | None:
        """Say what tells a file from the image that the archive has under its UID; None where it is the same."""
        if present.study_uid != record.study_uid:
            return "of another study"
        if present.content_sha256 != record.content_sha256:
            return "with other pixels"
        if present.source_sha256 != record.source_sha256:
            if not same_header(header, ArchiveImage(self._writer.archive.path, present).header_bytes):
                return "the same pixels with another header"
            self._writer.remember(record.source_sha256, present)
            self._sources.add(record.source_sha256)
        return None

    def _publish(self, record: ImageRecord, patient: bytes, staged: Staged) -> ImageRecord | None:
        """Add an image; return the record of the one that another run has added meanwhile, if any."""
        present = None
        if not self._writer.publish(staged, record):
            present = self._writer.archive.image(record.study_uid, record.sop_uid).record
        elif self._mixed.add(record.study_uid, patient):
            self._count("mixed_studies")
        self._images[record.sop_uid] = present or record
        self._sources.add(self._images[record.sop_uid].source_sha256)
        return present

    def _stage(self, header: Dataset, found: Mammogram, pixels: Stored, sha256: str) -> Outcome:
        coarse = layout.coarse_levels(*pixels.shape)
        record = ImageRecord(
            study_uid=found.study_uid,
            series_uid=found.series_uid,
            sop_uid=found.sop_uid,
            laterality=found.laterality,
            view=found.view,
            rows=found.frame.rows,
            cols=found.frame.cols,
            dtype=pixels.dtype.name,
            bits_stored=found.frame.bits_stored,
            photometric=found.photometric,
            presentation_intent=found.presentation_intent,
            pixel_spacing=found.pixel_spacing,
            background=background_of(pixels),
            levels=(0, *coarse),
            content_sha256=layout.content_sha256(pixels, found.frame.bits_stored, found.photometric),
            source_sha256=sha256,
            transfer_syntax_uid=transfer_syntax(header),
            spacing_from=found.spacing_from,
            modifiers=found.modifiers,
            contradictions=found.contradictions,
            voi=found.voi,
        )
        header_file, patient = header_bytes(header), patient_of(header)
        if record.sop_uid in self._images:
            return Outcome(sha256, record, header_file, patient)
        levels = {0: pixels, **dict(zip(coarse, ops.pool(pixels, coarse), strict=True))}
        return Outcome(sha256, record, header_file, patient, self._writer.stage(record, levels, header_file))

    def _count(self, what: str) -> None:
        self.report = replace(self.report, **{what: getattr(self.report, what) + 1})


_MR_IDENTITY = ("study_uid", "series_uid", "sop_uid", "rows", "cols")
_IDENTITY = ("study_uid", "series_uid", "sop_uid", "laterality", "view", "rows", "cols")


def _identity(file: SourceFile, header: Dataset | None) -> dict[str, Any]:
    if header is not None:
        return known(header)
    return {"study_uid": file.study_uid, "series_uid": file.series_uid, "sop_uid": file.sop_uid}


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.file_digest(cast(Any, stream), "sha256").hexdigest()
    stream.seek(0)
    return digest


def _is_retried(record: SkippedRecord) -> bool:
    return record.reason.partition(":")[0] in _RETRIED
