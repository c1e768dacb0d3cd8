"""Which UID an object has, and which moment it bears: both follow from what is on record, never from the clock.

An object of one image follows from that image's outcome alone, an object of the study from all its outcomes. So an
export after more images were screened writes new reports, and the objects of the other images once more as they were.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime

from pydicom import Dataset

from mammofast.report.dicom.study import StudyImage, StudyResults, StudyVolume

# Of the code that writes objects: raise it with every change that gives the same results other bytes.
WRITER = 1

TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
# What was dated, the closest to the object first (PS3.3 C.7.3.1, C.7.6.1).
_DATED = ("Acquisition", "Content", "Series", "Study")
_UNDATED = ("19000101", "000000")


def derived_uid(*words: object) -> str:
    """Return a UID under 2.25 (PS3.5 B.2) that follows from the words alone: 128 bits of their SHA-256."""
    digest = hashlib.sha256("\0".join(map(str, ("mammofast", WRITER, *words))).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def series_uid(study: StudyResults, kind: str) -> str:
    """Return the UID of the one series that holds all objects of a kind that a run gives a study."""
    run = study.algorithm.run
    return derived_uid("series", kind, study.study_uid, run.bundle_id, run.settings_id)


def study_object_uid(study: StudyResults, kind: str, *references: str) -> str:
    """Return the SOP Instance UID of the object of a kind that stands for the whole study.

    references: SOP Instance UIDs of the results' other objects that it names.
    """
    return derived_uid("object", kind, study.study_uid, study.identity, *references)


def image_object_uid(image: StudyImage | StudyVolume, kind: str) -> str:
    """Return the SOP Instance UID of the object of a kind that stands for one image or volume."""
    return derived_uid("object", kind, image.sop_uid, image.identity)


def tracking_uid(image: StudyImage | StudyVolume, number: int) -> str:
    """Return the Tracking Unique Identifier of an image's finding, 1-based: the same in every object."""
    return derived_uid("finding", number, image.sop_uid, image.identity)


def tracking_id(image: StudyImage | StudyVolume, number: int) -> str:
    """Return the Tracking Identifier of an image's finding, 1-based: "L MLO 1"; of a volume's "MR 1"."""
    words = ("MR",) if isinstance(image, StudyVolume) else (image.info.laterality, image.info.view)
    return " ".join([*filter(None, words), str(number)])


def moment(headers: Iterable[Dataset]) -> tuple[str, str]:
    """Return the latest date and time at which these images were acquired, as DA and TM.

    A result has no moment of its own that two machines would agree on.
    """
    return max(map(_acquired, headers), default=_UNDATED)


def _acquired(header: Dataset) -> tuple[str, str]:
    for what in _DATED:
        date, time = (str(header.get(f"{what}{part}") or "").strip() for part in ("Date", "Time"))
        if is_day(date):
            return date, time if TIME.fullmatch(time) else "000000"
    return _UNDATED


def is_day(date: str) -> bool:
    """Say whether this is a day of the calendar as DA writes it."""
    try:
        return datetime.strptime(date, "%Y%m%d").strftime("%Y%m%d") == date
    except ValueError:
        return False
