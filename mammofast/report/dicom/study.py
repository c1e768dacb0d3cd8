"""A study's images and volumes with what came out of them: what every DICOM object is written from."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from mammofast.archive import Archive, ArchiveImage, ArchiveVolume
from mammofast.errors import ImageError, Reason, ResultsError
from mammofast.records import Finding, VolumeFinding
from mammofast.report.phases import subtraction
from mammofast.screening import Results
from mammofast.screening.entry import FAILED, Entry, ImageInfo, Run
from mammofast.screening.summaries import in_words

# An image that the run has not come to yet; the ledger has no word for it because it has no entry.
PENDING = "pending"
_OTHER_OBJECTS = frozenset(
    {
        *(Reason.NOT_A_MAMMOGRAM, Reason.NOT_DICOM, Reason.NOT_DCE, Reason.ONE_PHASE, Reason.MISSING_PHASES),
        *(Reason.PHASE_ORDER, Reason.MISSING_SLICES, Reason.DUPLICATE_SLICES, Reason.UNEVEN_SLICES),
        *(Reason.MIXED_ORIENTATION, Reason.MIXED_GEOMETRY),
    }
)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What made the results.

    notice: what must be said wherever they are shown, may be empty.
    operating_points: confidences, falling; see :class:`mammofast.bundles.Bundle`.
    phase: of a volume's phases the one that candidates are looked for in, counted from 0, which is the baseline.
    """

    run: Run
    name: str
    method: str
    notice: str
    operating_points: tuple[float, ...] = ()
    phase: int = 1

    @property
    def version(self) -> str:
        """The bundle's and the settings' id, shortened to what still tells two apart."""
        return f"{self.run.bundle_id[:16]}-{self.run.settings_id[:16]}"


@dataclass(frozen=True, slots=True, eq=False)
class StudyImage:
    """One image of the archive and its outcome.

    source: the image in the archive. header: its data set without pixels.
    status: "done", "skipped", "failed" or "pending". reason: "<Reason>: detail" unless done or pending.
    findings: in the ledger's order; number k of its tables is ``findings[k - 1]``.
    identity: 64 hex digits that follow from the header, the pixels, the bundle, the settings and the outcome.
    """

    info: ImageInfo
    source: ArchiveImage
    header: Dataset
    status: str
    reason: str | None
    findings: tuple[Finding, ...]
    identity: str

    @property
    def sop_uid(self) -> str:
        """SOP Instance UID."""
        return self.source.record.sop_uid

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the native image."""
        return self.source.shape


@dataclass(frozen=True, slots=True, eq=False)
class StudyVolume:
    """One volume of the archive and its outcome.

    source: the volume in the archive. header: the data set, without pixels, of its first slice in its first phase.
    status, reason, findings, identity: as of :class:`StudyImage`.
    region: the breast as found, bool (slices, rows, cols); empty unless done.
    phase: the one, from 0, whose frames objects lie on.
    """

    info: ImageInfo
    source: ArchiveVolume
    header: Dataset
    status: str
    reason: str | None
    findings: tuple[VolumeFinding, ...]
    region: npt.NDArray[np.bool_]
    phase: int
    identity: str

    @property
    def sop_uid(self) -> str:
        """SOP Instance UID of its first slice in its first phase, which stands for the volume."""
        return self.source.record.sop_uid


@dataclass(frozen=True, slots=True, eq=False)
class StudyResults:
    """One study of one run.

    images, volumes: all whose header is there, by SOP Instance UID; at least one of either.
    left_out: outcomes of files of this study that cannot be referred to: the archive does not keep them, or no longer.
        What is no mammogram at all is not among them.
    """

    study_uid: str
    algorithm: Algorithm
    images: tuple[StudyImage, ...]
    volumes: tuple[StudyVolume, ...]
    left_out: tuple[Entry, ...]

    @property
    def header(self) -> Dataset:
        """The header that patient and study are taken from: the first image's, or volume's."""
        first, *_ = self.outcomes
        return first.header

    @property
    def outcomes(self) -> tuple[StudyImage | StudyVolume, ...]:
        """All images, then all volumes."""
        return (*self.images, *self.volumes)

    @property
    def with_findings(self) -> tuple[StudyImage, ...]:
        """Images in which something was found."""
        return tuple(image for image in self.images if image.findings)

    @property
    def with_segments(self) -> tuple[StudyVolume, ...]:
        """Volumes in which a breast, or a candidate, was found."""
        return tuple(volume for volume in self.volumes if volume.findings or volume.region.any())

    @property
    def identity(self) -> str:
        """64 hex digits that follow from the identities of all images and volumes and from what was left out."""
        parts = [outcome.identity for outcome in self.outcomes]
        parts += [hashlib.sha256(entry.to_bytes()).hexdigest() for entry in self.left_out]
        return _hash(self.study_uid, *parts)


def studies(results: Results, archive: Archive, run: Run | None = None) -> Iterator[StudyResults]:
    """Yield every study of the archive that has an outcome in a run, by Study Instance UID.

    A study of which no image can be read has nobody to be written for and is not among them.

    Parameters
    ----------
    results: the ledger. archive: the one it is of.
    run: which run; needed where there are several.

    Raises
    ------
    ResultsError
        When the results are not of this archive, or there are several runs and none is named.

    """
    if results.archive_id != archive.archive_id:
        raise ResultsError(f"the results are of archive {results.archive_id}, got archive {archive.archive_id}")
    algorithm = _algorithm(results, choose_run(results) if run is None else run)
    files: dict[str, list[Entry]] = defaultdict(list)
    for entry in results.files(algorithm.run):
        if not _is_other_object(entry):
            files[entry.image.study_uid or ""].append(entry)
    images = archive.studies()
    volumes: dict[str, list[ArchiveVolume]] = defaultdict(list)
    for volume in archive.volumes():
        volumes[volume.record.study_uid].append(volume)
    for study_uid in sorted({*images, *volumes}):
        outcomes = [
            *(_image(results, algorithm.run, source) for source in images.get(study_uid, ())),
            *(_volume(results, algorithm, source) for source in volumes.get(study_uid, ())),
        ]
        study = StudyResults(
            study_uid,
            algorithm,
            tuple(outcome for outcome in outcomes if isinstance(outcome, StudyImage)),
            tuple(outcome for outcome in outcomes if isinstance(outcome, StudyVolume)),
            (*(outcome for outcome in outcomes if isinstance(outcome, Entry)), *files[study_uid]),
        )
        if any(outcome.status != PENDING for outcome in study.outcomes):
            yield study


def choose_run(results: Results, bundle_id: str | None = None, settings_id: str | None = None) -> Run:
    """Return the one run that has these ids; each may be shortened or left out.

    Raises
    ------
    ResultsError
        When there is none, or more than one.

    """
    summaries = results.runs()
    runs = [Run(summary["bundle_id"], summary["settings_id"]) for summary in summaries]
    found = [run for run in runs if run.has_ids(bundle_id, settings_id)]
    if len(found) != 1:
        listed = in_words(found or runs, summaries) or "nothing was screened yet"
        raise ResultsError(f"{len(found)} runs have these ids, say which: {listed}")
    return found[0]


def _algorithm(results: Results, run: Run) -> Algorithm:
    for summary in results.runs():
        if (summary["bundle_id"], summary["settings_id"]) == (run.bundle_id, run.settings_id):
            name, method, notice = (str(summary.get(key, "")) for key in ("name", "method", "notice"))
            points = tuple(map(float, summary.get("operating_points", ())))
            return Algorithm(run, name, method, notice, points, subtraction(summary)[0])
    raise ResultsError(f"there is no run of bundle_id {run.bundle_id}, settings_id {run.settings_id}")


def _image(results: Results, run: Run, source: ArchiveImage) -> StudyImage | Entry:
    """Return an image's outcome; without its header only what the ledger says of it."""
    info = ImageInfo.of(source.record)
    entry = results.entry(info, run) or Entry(info, run, PENDING)
    try:
        header_bytes, header = source.header_bytes, source.header
    except ImageError as error:
        return Entry(info, run, FAILED, str(error))
    findings = tuple(stored.finding() for stored in entry.findings)
    outcome = source.record.content_sha256 if entry.status == PENDING else entry.to_bytes()
    identity = _hash(run.bundle_id, run.settings_id, header_bytes, outcome)
    return StudyImage(info, source, header, entry.status, entry.reason, findings, identity)


def _volume(results: Results, algorithm: Algorithm, source: ArchiveVolume) -> StudyVolume | Entry:
    """Return a volume's outcome; without its header only what the ledger says of it."""
    info, run = ImageInfo.of(source.record), algorithm.run
    entry = results.entry(info, run) or Entry(info, run, PENDING)
    try:
        header_bytes, header = source.header_bytes, source.header
    except ImageError as error:
        return Entry(info, run, FAILED, str(error))
    outcome = source.record.content_sha256 if entry.status == PENDING else entry.to_bytes()
    identity = _hash(run.bundle_id, run.settings_id, header_bytes, outcome)
    findings = tuple(stored.volume_finding() for stored in entry.findings)
    region = entry.region_mask()
    return StudyVolume(
        info,
        source,
        header,
        entry.status,
        entry.reason,
        findings,
        np.zeros(source.shape, dtype=bool) if region is None else region,
        algorithm.phase % source.phases,
        identity,
    )


def _is_other_object(entry: Entry) -> bool:
    """Say whether a file was no mammogram anyway: our own reports, come back from the PACS, must not change a study.

    Nor must MR objects that make no volume: nothing that is written says anything of them.
    """
    return (entry.reason or "").partition(":")[0] in _OTHER_OBJECTS


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
