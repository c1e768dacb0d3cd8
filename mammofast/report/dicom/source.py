"""A source image as highdicom is given it: what has been checked, and nothing else.

highdicom copies what it finds, refuses some of what it does not expect and quotes names in warnings. So it sees neither
the patient, whom :func:`mammofast.report.dicom.context.put_context` puts in afterwards, nor a value that may be wrong.
"""

import math
import re
from collections.abc import Sequence

from pydicom import Dataset

from mammofast.report.dicom.context import text_of
from mammofast.report.dicom.study import StudyImage

# PS3.3 C.7.6.1.1.1: up to three letters, each direction's opposite left out.
_DIRECTION = re.compile(r"[APLRHF]{1,3}")
_WITH_PATIENT = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def no_patient() -> Dataset:
    """Return a data set of which patient and study are not known."""
    source = Dataset()
    for keyword in _WITH_PATIENT:
        setattr(source, keyword, None)
    source.SpecificCharacterSet = "ISO_IR 192"
    return source


def source_of(image: StudyImage) -> Dataset:
    """Return what highdicom may know of an image: its identity, size and pixels' format; no patient."""
    source = no_patient()
    source.Modality = "MG"
    source.SOPClassUID = text_of(image.header, "SOPClassUID")
    source.SOPInstanceUID = image.sop_uid
    source.StudyInstanceUID, source.SeriesInstanceUID = image.source.record.study_uid, image.source.record.series_uid
    source.Rows, source.Columns = image.shape
    source.SamplesPerPixel, source.PhotometricInterpretation = 1, image.source.record.photometric
    source.BitsAllocated, source.BitsStored = 16, image.source.record.bits_stored
    return source


def spacing_of(image: StudyImage) -> tuple[float, float] | None:
    """Return millimetres between rows and between columns: of the image, else at the detector; None where unknown."""
    try:
        rows, cols = (float(value) for value in text_of(image.header, "PixelSpacing").split("\\"))
        if all(math.isfinite(value) and value > 0 for value in (rows, cols)):
            return rows, cols
    except ValueError:
        pass
    return image.info.pixel_spacing


def orientation_of(image: StudyImage) -> Sequence[str]:
    """Return Patient Orientation, the directions of rows and columns; empty where it is not told."""
    directions = text_of(image.header, "PatientOrientation").split("\\")
    return directions if len(directions) == 2 and all(map(_DIRECTION.fullmatch, directions)) else ()
