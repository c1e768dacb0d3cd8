"""The modules that all objects share: patient, study, series, equipment and SOP common (PS3.3 C.7, C.12.1).

What the source says of patient and study is taken over as it is, so that a PACS files the object with the images.
Values that the attribute does not allow are left empty where the attribute may be (type 2), except for what identifies:
a patient's number is never changed.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from pydicom import Dataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from mammofast.report.dicom.identity import TIME, WRITER, is_day, moment, series_uid
from mammofast.report.dicom.study import StudyImage, StudyResults, StudyVolume

MANUFACTURER = "mammofast"
_IMPLEMENTATION = "2.25.190741267183560217404812398176321087211"
_UTF_8 = "ISO_IR 192"
# Series numbers of their own, one for each kind of object, high enough to stay clear of a modality's.
SERIES = {
    "cad-sr": (9101, "Mammography CAD SR"),
    "tid1500": (9102, "CAD measurements"),
    "dicom-seg": (9103, "CAD segmentation"),
    "gsps": (9104, "CAD marks"),
    "picture": (9105, "CAD pictures"),
}

_Allowed = Callable[[str], object]
_as_it_is: _Allowed = re.compile(r"[^\x00-\x1f]*").fullmatch
# Type 2 attributes of patient and study, and what their value may look like.
_TYPE_2: Mapping[str, _Allowed] = {
    "PatientName": _as_it_is,
    "PatientID": _as_it_is,
    "PatientBirthDate": is_day,
    "PatientSex": re.compile(r"[MFO]").fullmatch,
    "StudyDate": is_day,
    "StudyTime": TIME.fullmatch,
    "ReferringPhysicianName": _as_it_is,
    "StudyID": re.compile(r"[^\x00-\x1f]{0,16}").fullmatch,
    "AccessionNumber": _as_it_is,
}
# Type 3, taken over where they are.
_TYPE_3: Mapping[str, _Allowed] = {
    "IssuerOfPatientID": _as_it_is,
    "StudyDescription": re.compile(r"[^\x00-\x1f]{0,64}").fullmatch,
    "PatientIdentityRemoved": re.compile(r"YES|NO").fullmatch,
    "TimezoneOffsetFromUTC": re.compile(r"[+-]\d{4}").fullmatch,
}


# What libraries fill in by the clock.
_DATED = (
    *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "SeriesDate", "SeriesTime"),
    *("PresentationCreationDate", "PresentationCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)


def put_context(
    dataset: Dataset, study: StudyResults, kind: str, sop_uid: str, *, images: Sequence[StudyImage | StudyVolume]
) -> None:
    """Put the shared modules into an object, over whatever stands there; SOP class and modality stay as they are.

    kind: a key of ``SERIES``. images: what the object was made from, which dates it.
    """
    date, time = moment(image.header for image in images)
    with config.disable_value_validation():
        dataset.SpecificCharacterSet = _UTF_8
        _put_patient_and_study(dataset, study.header)
        dataset.StudyInstanceUID = study.study_uid
        dataset.SeriesInstanceUID = series_uid(study, kind)
        dataset.SeriesNumber, dataset.SeriesDescription = SERIES[kind]
        dataset.SOPInstanceUID, dataset.InstanceNumber = sop_uid, 1
        dataset.Manufacturer = MANUFACTURER
        dataset.ManufacturerModelName = study.algorithm.name[:64] or MANUFACTURER
        dataset.SoftwareVersions = [f"writer {WRITER}", study.algorithm.version]
        dataset.DeviceSerialNumber = study.algorithm.run.bundle_id[:16]
        for keyword in _DATED:
            if keyword in dataset:
                setattr(dataset, keyword, date if "Date" in keyword else time)
    # highdicom names itself there, with the moment it ran.
    if "ContributingEquipmentSequence" in dataset:
        del dataset.ContributingEquipmentSequence
    dataset.preamble = b"\0" * 128
    dataset.file_meta = _file_meta(dataset)


def text_of(header: Dataset, keyword: str) -> str:
    """Return an attribute's value as text without padding; empty where it is not there or cannot be read."""
    try:
        with config.disable_value_validation():
            value = header.get(keyword)
            values = value if isinstance(value, list | tuple) else getattr(value, "_list", [value])
            return "\\".join("" if part is None else str(part) for part in values).strip(" \0")
    except Exception:  # pydicom decodes when asked, and fails in many ways
        return ""


def _put_patient_and_study(dataset: Dataset, header: Dataset) -> None:
    for keyword, allowed in _TYPE_2.items():
        value = text_of(header, keyword)
        setattr(dataset, keyword, value if allowed(value) else "")
    for keyword, allowed in _TYPE_3.items():
        value = text_of(header, keyword)
        if value and allowed(value):
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            del dataset[keyword]
    if "PatientIdentityRemoved" in dataset and dataset.PatientIdentityRemoved == "YES":
        dataset.DeidentificationMethod = text_of(header, "DeidentificationMethod")[:64] or "as the images say"


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    meta.ImplementationVersionName = f"MAMMOFAST_{WRITER}"
    return meta
