"""A DICOMweb server as a source of ingest: what is new there, each instance fetched when it is its turn."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset

from mammofast.archive.mammogram import triage
from mammofast.archive.sources import SourceFile, refusal
from mammofast.errors import BrokenImage, PacsError, Reason, UnusableImage
from mammofast.pacs.dicomweb.address import parse_url
from mammofast.pacs.dicomweb.retrieve import retrieve
from mammofast.pacs.dicomweb.search import Instance, Study, find_instances, find_studies
from mammofast.pacs.dicomweb.server import WAITS, Server, Unreachable
from mammofast.pacs.dicomweb.watermark import Watermark


class DicomWeb:
    """A source for :func:`mammofast.archive.ingest`; a context manager.

    Parameters
    ----------
    url: the server's DICOMweb root; behind it ``/studies/UID`` or QIDO-RS filters, say
        ``https://pacs:8443/dicom-web?StudyDate=20261101-``.
    ca, waits: as for :class:`mammofast.pacs.dicomweb.server.Server`, where credentials come from, too.

    Raises
    ------
    ValueError
        When the URL is none, or holds a user or password.
    PacsError
        As for ``Server``.

    """

    def __init__(self, url: str, ca: Path | None = None, waits: Iterable[float] = WAITS) -> None:
        address = parse_url(url)
        self.server = Server(address.root, ca, waits)
        self._filters = address.filters
        self.studies = 0  # that matched
        self.new_studies = 0  # that had to be looked into

    def __enter__(self) -> "DicomWeb":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def files(self, archive: Path, opened: Callable[[str], None]) -> Iterator[SourceFile]:
        """Yield the instances that the archive has not seen, study by study.

        Raises
        ------
        PacsError
            When the server cannot be asked for studies, or no longer answers; what was fetched before is safe.

        """
        watermark = Watermark(archive, self.server.root)
        for study in find_studies(self.server, self._filters):
            self.studies += 1
            if watermark.is_done(study):
                continue
            self.new_studies += 1
            place = _place(self.server.root, study.uid)
            try:
                instances = list(find_instances(self.server, study.uid))
            except Unreachable:
                raise
            except PacsError as error:
                detail = f"the study's instances cannot be listed: {error}"
                yield SourceFile(place, 0, refusal(Reason.READ, detail), study_uid=study.uid)
                continue
            opened(place)
            yield from self._new(study, instances, archive, watermark)

    def _new(
        self, study: Study, instances: list[Instance], archive: Path, watermark: Watermark
    ) -> Iterator[SourceFile]:
        folder = archive / "images" / study.uid
        known = watermark.not_kept(study.uid)
        new = [each for each in instances if each.sop_uid not in known and not (folder / each.sop_uid).is_dir()]
        unsettled = {each.sop_uid for each in new}

        def settled(instance: Instance, final: bool) -> None:
            if final:
                unsettled.discard(instance.sop_uid)
            if not unsettled:
                watermark.done(study, {i.sop_uid for i in instances if not (folder / i.sop_uid).is_dir()})

        for instance in new:
            yield SourceFile(
                _place(self.server.root, study.uid, instance.sop_uid),
                0,  # which nobody says before it is there
                _opener(self.server, instance),
                study_uid=instance.study_uid,
                series_uid=instance.series_uid,
                sop_uid=instance.sop_uid,
                settled=partial(settled, instance),
            )
        if not new:
            watermark.done(study, known)


def _opener(server: Server, instance: Instance) -> Callable[[], BinaryIO]:
    """Return what fetches an instance; or says why not, where its class alone says that ingest would not keep it."""
    if instance.sop_class_uid is not None:
        header = Dataset()
        header.SOPClassUID, header.Modality = instance.sop_class_uid, "MG"
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
