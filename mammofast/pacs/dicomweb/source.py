"""A DICOMweb server as a source of ingest: what is new there, each instance fetched when it is its turn."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset

from mammofast.archive import layout
from mammofast.archive.mammogram import triage
from mammofast.archive.sources import SourceFile, refusal
from mammofast.archive.volumes.members import held
from mammofast.archive.volumes.triage import is_mr, may_be_breast
from mammofast.errors import BrokenImage, PacsError, Reason, UnusableImage
from mammofast.pacs.dicomweb.address import parse_url
from mammofast.pacs.dicomweb.failures import Unreachable
from mammofast.pacs.dicomweb.retrieve import retrieve
from mammofast.pacs.dicomweb.search import Instance, Study, find_instances, find_series, find_studies
from mammofast.pacs.dicomweb.server import Server
from mammofast.pacs.dicomweb.watermark import Watermark
from mammofast.pacs.waiting import Tell


class DicomWeb:
    """A source for :func:`mammofast.archive.ingest`; a context manager.

    Parameters
    ----------
    url: the server's DICOMweb root; behind it ``/studies/UID`` or QIDO-RS filters, say
        ``https://pacs:8443/dicom-web?StudyDate=20261101-``.
    ca, waits, tell: as for :class:`mammofast.pacs.dicomweb.server.Server`, where credentials come from, too.
    modalities: which series are fetched: "MG", "MR". Of an MR series whose Body Part Examined rules out the breast
        nothing is; it is yielded as one file that says so.

    Raises
    ------
    ValueError
        When the URL is none, or holds a user or password; or a modality is another one.
    PacsError
        As for ``Server``.

    """

    def __init__(
        self,
        url: str,
        ca: Path | None = None,
        waits: Iterable[float] | None = None,
        modalities: Iterable[str] = ("MG",),
        tell: Tell | None = None,
    ) -> None:
        self._modalities = tuple(dict.fromkeys(modalities))
        if not set(self._modalities) <= {"MG", "MR"}:
            raise ValueError(f'modalities: got {", ".join(self._modalities)}, expected "MG" or "MR" or both')
        address = parse_url(url)
        self.server = Server(address.root, ca, waits, tell)
        self._filters = address.filters
        # UIDs: a study may have both modalities.
        self._matched: set[str] = set()
        self._looked_into: set[str] = set()

    def __enter__(self) -> "DicomWeb":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    @property
    def studies(self) -> int:
        """How many studies matched."""
        return len(self._matched)

    @property
    def new_studies(self) -> int:
        """How many of these had to be looked into."""
        return len(self._looked_into)

    def files(self, archive: Path, opened: Callable[[str], None]) -> Iterator[SourceFile]:
        """Yield the instances that the archive has not seen, study by study.

        Raises
        ------
        PacsError
            When the server cannot be asked for studies, or no longer answers; what was fetched before is safe.

        """
        try:
            for modality in self._modalities:
                yield from self._files_of(modality, archive, opened)
        except (GeneratorExit, KeyboardInterrupt):
            self.server.end()
            raise

    def _files_of(self, modality: str, archive: Path, opened: Callable[[str], None]) -> Iterator[SourceFile]:
        watermark = Watermark(archive, self.server.root, modality)
        for study in find_studies(self.server, self._filters, modality):
            self._matched.add(study.uid)
            if watermark.is_done(study):
                continue
            self._looked_into.add(study.uid)
            place = _place(self.server.root, study.uid)
            try:
                listed = list(self._listed(study, modality, opened))
            except Unreachable:
                raise
            except PacsError as error:
                detail = f"the study's instances cannot be listed: {error}"
                yield SourceFile(place, 0, refusal(Reason.READ, detail), study_uid=study.uid)
                continue
            opened(place)
            yield from self._new(study, listed, archive, watermark, modality)

    def _listed(self, study: Study, modality: str, opened: Callable[[str], None]) -> Iterator["_Listed"]:
        """Yield a study's instances; in place of those of a series that is another part of the body, the series."""
        for series in find_series(self.server, study.uid, modality):
            if modality == "MR" and not may_be_breast(series.body_part):
                yield _Listed(series.uid, series.uid, None, _unusable(_OTHER_PART))
            else:
                opened(_place(self.server.root, study.uid, series.uid))  # its Body Part Examined may have been another
                for each in find_instances(self.server, series):
                    yield _Listed(each.sop_uid, series.uid, each.sop_uid, _opener(self.server, each, modality))

    def _new(
        self, study: Study, listed: list["_Listed"], archive: Path, watermark: Watermark, modality: str
    ) -> Iterator[SourceFile]:
        known = watermark.not_kept(study.uid)
        seen = known | _kept(archive, study.uid)
        new = [each for each in listed if each.uid not in seen]
        unsettled = {each.uid for each in new}

        def settled(uid: str, final: bool) -> None:
            if final:
                unsettled.discard(uid)
            if not unsettled:
                watermark.done(study, {each.uid for each in listed} - _kept(archive, study.uid))

        for each in new:
            self.server.patience.check()
            yield SourceFile(
                _place(self.server.root, study.uid, each.uid),
                0,  # which nobody says before it is there
                each.open,
                study_uid=study.uid,
                series_uid=each.series_uid,
                sop_uid=each.sop_uid,
                settled=partial(settled, each.uid),
            )
        if not new:
            watermark.done(study, known)


_OTHER_PART = UnusableImage(
    Reason.NOT_DCE, "Body Part Examined is another one than the breast; nothing of the series was fetched"
)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a study is listed with: an instance, or a series of which none is asked for. uid: its own."""

    uid: str
    series_uid: str
    sop_uid: str | None
    open: Callable[[], BinaryIO]


def _kept(archive: Path, study_uid: str) -> set[str]:
    """Return the instances of a study that an archive has."""
    return {folder.name for folder in layout.folders(archive / "images" / study_uid)} | held(archive, study_uid)


def _opener(server: Server, instance: Instance, modality: str) -> Callable[[], BinaryIO]:
    """Return what fetches an instance; or says why not, where its class alone says that ingest would not keep it."""
    header = Dataset()
    header.SOPClassUID, header.Modality = instance.sop_class_uid or "", modality
    if instance.sop_class_uid is not None and not (modality == "MR" and is_mr(header)):
        try:
            triage(header)
        except UnusableImage as error:
            # Tomosynthesis has a gigabyte.
            return _unusable(error)
        except BrokenImage:
            pass  # all that a class can say of it is well
    return partial(retrieve, server, instance)


def _unusable(error: UnusableImage) -> Callable[[], BinaryIO]:
    def refuse() -> BinaryIO:
        raise UnusableImage(error.reason, error.detail)

    return refuse


def _place(*parts: str) -> str:
    return hashlib.sha256("\0".join(("dicomweb", *parts)).encode()).hexdigest()
