"""Telling patients apart without naming them."""

import contextlib
import hashlib
from collections.abc import Iterable

from pydicom import Dataset

from mammofast.archive.record import ImageRecord
from mammofast.archive.store import Archive


def patient_of(header: Dataset) -> bytes:
    """Return a hash of the patient's number."""
    try:
        number = str(header.get("PatientID", "") or "").strip()
    except Exception:  # pydicom decodes when asked
        number = ""
    return hashlib.sha256(number.encode("utf-8", "surrogatepass")).digest()


class MixedStudies:
    """Watches an archive grow for studies whose images name several patients: nothing says which of them is right."""

    def __init__(self, archive: Archive, images: Iterable[ImageRecord]) -> None:
        self._archive = archive
        self._one_image = {record.study_uid: record.sop_uid for record in images}
        self._patients: dict[str, bytes] = {}
        self._mixed: set[str] = set()

    def add(self, study: str, patient: bytes) -> bool:
        """Take note of one more image's ``patient_of``; say whether its study has just become mixed."""
        before = self._patients.get(study)
        if before is None and study in self._one_image:
            with contextlib.suppress(Exception):  # a damaged one says nothing
                before = patient_of(self._archive.image(study, self._one_image[study]).header)
        self._patients[study] = patient
        if before in (None, patient) or study in self._mixed:
            return False
        self._mixed.add(study)
        return True
