"""Phantom views as Digital Mammography X-Ray Images for presentation (PS3.3 A.27)."""

import hashlib
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from mammofast import __version__
from mammofast.phantom.display import Display
from mammofast.phantom.encode import Syntax, pixel_data
from mammofast.phantom.plan import PlannedView

# SNOMED CT codes of PS3.16's context groups 4014 (view), 4 (region) and 244 (laterality is an attribute of its own).
_VIEWS = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
IMPLEMENTATION = "2.25.190741267183560217404812398176321087211"
# Phantoms were never acquired; a fixed day keeps the bytes the same.
_DATE, _TIME = "20260101", "080000"


def derived_uid(*words: object) -> str:
    """Return a UID under 2.25 (PS3.5 B.2) that follows from the words alone."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def study_uid(planned: PlannedView) -> str:
    """Return the UID of the study a view belongs to."""
    return derived_uid("study", *planned.of.words(), planned.study)


def sop_uid(planned: PlannedView) -> str:
    """Return the view's SOP Instance UID."""
    return derived_uid("image", *planned.of.words(), planned.study, planned.side, planned.view)


def write_image(
    path: Path, planned: PlannedView, pixels: npt.NDArray[np.uint16], display: Display, syntax: Syntax
) -> None:
    """Write one image file."""
    bits = 16 if syntax.whole_words else display.bits
    image = Dataset()
    image.file_meta = _file_meta(planned, syntax)
    _who_and_when(image, planned)
    _equipment(image, planned)
    _anatomy(image, planned)
    _acquisition(image, planned)
    _display(image, display)
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = display.photometric
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, bits, bits - 1
    image.PixelRepresentation = 0
    image.PixelData = pixel_data(syntax, pixels, display.bits)
    image["PixelData"].VR = "OW" if syntax.encode is None else "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


def _patient(planned: PlannedView) -> str:
    """Return who it is: a set of another size gives the same breasts other masses, so it has other patients."""
    return f"{planned.of.seed}-{planned.of.studies}-{planned.study}"


def _file_meta(planned: PlannedView, syntax: Syntax) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = sop_uid(planned)
    meta.TransferSyntaxUID = syntax.uid
    meta.ImplementationClassUID = IMPLEMENTATION
    meta.ImplementationVersionName = f"MAMMOFAST {__version__}"
    return meta


def _who_and_when(image: Dataset, planned: PlannedView) -> None:
    number = 2 * ("L", "R").index(planned.side) + ("CC", "MLO").index(planned.view) + 1
    image.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    image.SOPInstanceUID = sop_uid(planned)
    image.PatientName = f"Phantom^{_patient(planned)}"
    image.PatientID = f"PHANTOM-{_patient(planned)}"
    image.PatientBirthDate, image.PatientSex = "", "O"
    image.StudyInstanceUID = study_uid(planned)
    image.StudyDate = image.ContentDate = image.AcquisitionDate = _DATE
    image.StudyTime = image.ContentTime = image.AcquisitionTime = _TIME
    image.ReferringPhysicianName, image.AccessionNumber, image.StudyID = "", "", str(planned.study)
    image.StudyDescription = "Phantom mammography"
    image.Modality, image.PresentationIntentType = "MG", "FOR PRESENTATION"
    image.SeriesInstanceUID = derived_uid("series", *planned.of.words(), planned.study, number)
    image.SeriesNumber = str(number)
    image.InstanceNumber = "1"
    image.ImageType = ["DERIVED", "PRIMARY"]
    image.DerivationDescription = "Computed phantom"
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"


def _equipment(image: Dataset, planned: PlannedView) -> None:
    image.Manufacturer = "mammofast"
    image.ManufacturerModelName = "phantom"
    image.SoftwareVersions = __version__
    image.DeviceSerialNumber = "0"
    spacing = planned.detector.spacing
    image.ImagerPixelSpacing = [spacing, spacing]
    image.DetectorType = "DIRECT"
    image.DetectorConfiguration = "AREA"
    image.DetectorID = ""
    image.DetectorConditionsNominalFlag = "YES"


def _anatomy(image: Dataset, planned: PlannedView) -> None:
    image.ImageLaterality = planned.side
    image.BodyPartExamined = "BREAST"
    image.OrganExposed = "BREAST"
    image.AnatomicRegionSequence = Sequence([code("76752008", "Breast")])
    image.ViewPosition = planned.view
    image.ViewCodeSequence = Sequence([code(*_VIEWS[planned.view])])
    image.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence()
    # Chest wall at the left edge: columns run to the front, away from it; rows run down (CC: outwards or inwards).
    front = {"L": "A", "R": "P"}[planned.side]
    down = "FR" if planned.view == "MLO" and planned.side == "L" else "FL" if planned.view == "MLO" else None
    image.PatientOrientation = [front, down or {"L": "R", "R": "L"}[planned.side]]


def _acquisition(image: Dataset, planned: PlannedView) -> None:
    image.PositionerType = "MAMMOGRAPHIC"
    image.PositionerPrimaryAngle = "0" if planned.view == "CC" else {"L": "45", "R": "-45"}[planned.side]
    image.KVP = "28"
    image.AnodeTargetMaterial = "TUNGSTEN"
    image.BodyPartThickness = "55"
    image.CompressionForce = "100"
    image.AcquisitionContextSequence = Sequence()


def _display(image: Dataset, display: Display) -> None:
    image.PixelIntensityRelationship = "LOG"
    # -1: brighter pixels had fewer photons; MONOCHROME1 stores the reverse.
    image.PixelIntensityRelationshipSign = 1 if display.photometric == "MONOCHROME1" else -1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "US"
    image.PresentationLUTShape = "INVERSE" if display.photometric == "MONOCHROME1" else "IDENTITY"
    centre, width = display.window
    if display.voi == "LUT":
        lut = display.lut()
        item = Dataset()
        item.LUTDescriptor = [len(lut), 0, 12]
        item["LUTDescriptor"].VR = "US"
        item.LUTExplanation = "Phantom"
        item.LUTData = lut.astype("<u2").tobytes()
        item["LUTData"].VR = "OW"
        image.VOILUTSequence = Sequence([item])
    elif display.voi == "NONE":
        # The IOD demands a window or a table; one over all stored values changes nothing.
        image.WindowCenter, image.WindowWidth = str((display.top + 1) / 2), str(display.top + 1)
    else:
        image.WindowCenter, image.WindowWidth = [str(centre), str(centre)], [str(width), str(round(1.3 * width, 1))]
        image.WindowCenterWidthExplanation = ["NORMAL", "SOFTER"]
        image.VOILUTFunction = display.voi


def code(value: str, meaning: str) -> Dataset:
    """Return a SNOMED CT code's item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item
