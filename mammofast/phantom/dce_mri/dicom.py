"""DCE-MRI phantoms as DICOM: what classic and enhanced MR objects share, and classic ones (PS3.3 A.4)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from mammofast import __version__
from mammofast.phantom.dce_mri.plan import PlannedCase
from mammofast.phantom.dce_mri.volume import Grid
from mammofast.phantom.dicom import IMPLEMENTATION, code, derived_uid

# Phantoms were never acquired; a fixed day keeps the bytes the same. The baseline begins at 08:00.
DATE, _HOUR = "20260101", 8
# Head first, prone: the breasts hang. Slices are shown the usual way: to the patient's left, then to her back.
POSITION, ORIENTATION = "HFP", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# P5's, but for the matrix: GE VIBRANT-FLEX at 3 T, 0.1 mmol/kg gadopentetate dimeglumine at 3 mL/s.
REPETITION_TIME, ECHO_TIME, FLIP_ANGLE, FIELD_STRENGTH = 3.9, 1.7, 5.0, 3.0
AGENT, DOSE_ML, FLOW = "Gadopentetate dimeglumine", 14.0, 3.0
ANATOMY = ("76752008", "Breast")
BITS = 12
_SHUFFLE = 2


@dataclass(frozen=True, slots=True)
class Written:
    """A case's identity: its study and the first slice of its first phase, whose names truth bears."""

    study_uid: str
    series_uid: str
    sop_uid: str


def identify(planned: PlannedCase) -> Written:
    """Return what a case's truth is called by."""
    first = (planned, 0) if planned.protocol.enhanced else (planned, 0, 0)
    return Written(study_uid(planned), series_uid(planned, 0), sop_uid(*first))


def study_uid(planned: PlannedCase) -> str:
    """Return the UID of a case's study."""
    return derived_uid("study", *planned.of.words(), planned.study)


def series_uid(planned: PlannedCase, phase: int) -> str:
    """Return the UID of the series that a phase lies in."""
    return derived_uid("series", *planned.of.words(), planned.study, phase * planned.protocol.series_per_phase)


def sop_uid(planned: PlannedCase, phase: int, *place: int) -> str:
    """Return the UID of a slice of a phase, or of the enhanced object that holds all of them."""
    return derived_uid("image", *planned.of.words(), planned.study, phase, *place)


def write_classic(folder: Path, planned: PlannedCase, grid: Grid, phases: npt.NDArray[np.uint16]) -> None:
    """Write one file for each slice of each phase."""
    protocol = planned.protocol
    slices = grid.shape[0]
    numbers = np.arange(1, phases.size // phases[0, 0].size + 1).reshape(len(phases), slices)
    if protocol.shuffled:
        numbers = planned.stream(_SHUFFLE).permutation(numbers.ravel()).reshape(numbers.shape)
    for phase, volume in enumerate(phases):
        for z, pixels in enumerate(volume):
            image = common(planned, MRImageStorage, sop_uid(planned, phase, z), phase)
            _place(image, grid, z)
            _phase(image, planned, phase, slices)
            _acquisition(image, grid)
            image.InstanceNumber = str(numbers[phase, z])
            image.WindowCenter, image.WindowWidth = "600", "1200"
            pixel_module(image, pixels, pixels.shape)
            save(image, folder)


def common(planned: PlannedCase, sop_class: str, uid: str, phase: int) -> Dataset:
    """Return a data set of the modules that classic and enhanced objects share."""
    image = Dataset()
    meta = image.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION
    meta.ImplementationVersionName = f"MAMMOFAST {__version__}"
    image.SOPClassUID, image.SOPInstanceUID = sop_class, uid
    who = f"{planned.of.seed}-{planned.of.studies}-{planned.study}"
    image.PatientName, image.PatientID = f"Phantom^MR {who}", f"PHANTOM-MR-{who}"
    image.PatientBirthDate, image.PatientSex, image.PatientWeight = "", "F", "70"
    image.StudyInstanceUID = study_uid(planned)
    image.StudyDate, image.StudyTime = DATE, clock(0)
    image.ReferringPhysicianName, image.AccessionNumber, image.StudyID = "", "", str(planned.study)
    image.StudyDescription = "Phantom breast DCE-MRI"
    image.Modality, image.BodyPartExamined, image.PatientPosition = "MR", "BREAST", POSITION
    image.SeriesInstanceUID = series_uid(planned, phase)
    image.SeriesNumber = str(1 + phase * planned.protocol.series_per_phase)
    image.SeriesDescription = "Phantom axial DCE"
    image.SeriesDate, image.SeriesTime = DATE, clock(planned.protocol.times[phase * planned.protocol.series_per_phase])
    image.FrameOfReferenceUID = derived_uid("frame of reference", *planned.of.words(), planned.study)
    image.PositionReferenceIndicator = ""
    image.Manufacturer, image.ManufacturerModelName = "mammofast", "phantom"
    image.DeviceSerialNumber, image.SoftwareVersions = "0", __version__
    image.ContentDate, image.ContentTime = DATE, clock(planned.protocol.times[phase])
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"
    return image


def clock(seconds: float) -> str:
    """Return the time of day (TM), so many seconds after the baseline began."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{_HOUR + whole // 3600:02}{whole // 60 % 60:02}{whole % 60:02}.{thousandths:03}"


def position(grid: Grid, z: int) -> list[float]:
    """Return Image Position (Patient) of a slice: the centre of its first voxel, x, y, z in mm."""
    (corner_z, corner_y, corner_x), (step_z, step_y, step_x) = grid.corner, grid.spacing
    return [round(v, 4) for v in (corner_x + step_x / 2, corner_y + step_y / 2, corner_z + (z + 0.5) * step_z)]


def pixel_module(image: Dataset, pixels: npt.NDArray[np.uint16], shape: tuple[int, ...]) -> None:
    """Set the pixels and what says how to read them; the last two sides of ``shape`` are rows and columns."""
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = shape[-2:]
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, BITS, BITS - 1, 0
    image.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    image["PixelData"].VR = "OW"


def save(image: Dataset, folder: Path) -> None:
    """Write an object into its study's folder."""
    path = folder / image.StudyInstanceUID / f"{image.SOPInstanceUID}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


def _place(image: Dataset, grid: Grid, z: int) -> None:
    image.ImagePositionPatient = position(grid, z)
    image.ImageOrientationPatient = list(ORIENTATION)
    image.PixelSpacing = list(grid.spacing[1:])
    image.SliceThickness = image.SpacingBetweenSlices = str(grid.spacing[0])
    image.SliceLocation = str(image.ImagePositionPatient[2])


def _phase(image: Dataset, planned: PlannedCase, phase: int, slices: int) -> None:
    times = planned.protocol.times
    image.AcquisitionNumber = str(phase + 1)
    image.AcquisitionDate, image.AcquisitionTime = DATE, clock(times[phase])
    image.TemporalPositionIdentifier, image.NumberOfTemporalPositions = str(phase + 1), str(len(times))
    image.TemporalResolution = str(1000 * (times[2] - times[1]))
    image.ImagesInAcquisition = str(slices)
    image.ContrastBolusAgent = AGENT
    image.ContrastBolusRoute, image.ContrastBolusVolume = "IV", str(DOSE_ML)
    image.ContrastFlowRate = str(FLOW)


def _acquisition(image: Dataset, grid: Grid) -> None:
    image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", ["SP", "SK"], "FS"
    image.MRAcquisitionType, image.SequenceName = "3D", "phantom_spgr"
    image.RepetitionTime, image.EchoTime, image.FlipAngle = str(REPETITION_TIME), str(ECHO_TIME), str(FLIP_ANGLE)
    image.EchoTrainLength, image.NumberOfAverages = "1", "1"
    image.MagneticFieldStrength, image.ImagedNucleus, image.ImagingFrequency = str(FIELD_STRENGTH), "1H", "127.7"
    image.InPlanePhaseEncodingDirection = "ROW"
    image.AcquisitionMatrix = [0, grid.shape[1], grid.shape[2], 0]
    image.AnatomicRegionSequence, image.ImageLaterality = Sequence([code(*ANATOMY)]), "B"
