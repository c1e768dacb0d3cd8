"""Dynamic MR series as makers write them: classic and enhanced, in any direction, in any order of files."""

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SHAPE, SPACING, PHASES = (7, 22, 27), (2.5, 1.25, 0.75), 3


def rotation(degrees, axis):
    """Rodrigues' rotation."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


# Directions of rows and of columns (PS3.3 C.7.6.2.1.1).
DIRECTIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "oblique": tuple(rotation(33, (1, 2, -3))[:, :2].T),
}


def series(direction="axial", enhanced=False, seed=0, shape=SHAPE, spacing=SPACING, phases=PHASES, **attributes):
    """Return the objects of one series, in no order. The same arguments give the same objects."""
    row, col = np.array(DIRECTIONS[direction], dtype=float)
    normal = np.cross(row, col)
    origin = np.array([-40.5, -31.25, 12.75])
    words = ["mammofast tests", "mr", direction, str(enhanced), str(seed)]
    rng = np.random.default_rng(seed)
    stored = rng.integers(1, 4000, (phases, *shape))
    frames = [
        (phase, z, origin + z * spacing[0] * normal, stored[phase, z])
        for phase in range(phases)
        for z in range(shape[0])
    ]
    frames = [frames[i] for i in rng.permutation(len(frames))]
    directions = [number(value) for value in (*row, *col)]
    if enhanced:
        return [_enhanced(words, frames, directions, shape, spacing, attributes)]
    return [_classic(words, *frame, k, directions, shape, spacing, attributes) for k, frame in enumerate(frames, 1)]


def number(value):
    """Return a number as DS holds it, 16 characters at most."""
    return f"{value:.10f}"[:16]


def _common(words, shape):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.StudyInstanceUID = generate_uid(entropy_srcs=[*words, "study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=[*words, "series"])
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=[*words, "frame of reference"])
    ds.PositionReferenceIndicator = ""
    ds.Modality, ds.BodyPartExamined, ds.PatientPosition = "MR", "BREAST", "FFP"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260301"
    ds.StudyTime, ds.SeriesTime, ds.ContentTime = "101500", "101500.1", "101613"
    ds.AccessionNumber, ds.StudyID, ds.StudyDescription = "A-4712", "S2", "Breast MR"
    ds.Manufacturer, ds.InstitutionName = "Maker", "Hospital"
    ds.ReferringPhysicianName = "Référent^Zoë"
    ds.PatientName, ds.PatientID = "Müller-Søgård^Ängela", "PID 0815"
    ds.PatientBirthDate, ds.PatientSex = "19600229", "F"
    ds.SeriesNumber = "4"
    ds.Rows, ds.Columns = shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    return ds


def _finished(ds, pixels, attributes):
    ds.PixelData = np.asarray(pixels).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def _classic(words, phase, z, position, pixels, instance, directions, shape, spacing, attributes):
    ds = _common(words, shape)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[*words, str(phase), str(z)])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.InstanceNumber = str(instance)
    ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "GR", "SP", "3D"
    ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = "3.9", "1.7", "5"
    ds.TemporalPositionIdentifier = str(phase + 1)
    ds.AcquisitionTime = f"10{16 + phase:02d}12.25"
    ds.ImagePositionPatient = [number(value) for value in position]
    ds.ImageOrientationPatient = directions
    ds.PixelSpacing, ds.SliceThickness = list(spacing[1:]), spacing[0]
    return _finished(ds, pixels, attributes)


def _enhanced(words, frames, directions, shape, spacing, attributes):
    ds = _common(words, shape)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[*words, "enhanced"])
    ds.ImageType, ds.InstanceNumber = ["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"], "1"
    ds.NumberOfFrames = len(frames)
    shared, measures, orientation, timing = (Dataset() for _ in range(4))
    measures.PixelSpacing, measures.SliceThickness = list(spacing[1:]), spacing[0]
    orientation.ImageOrientationPatient = directions
    timing.RepetitionTime, timing.FlipAngle = "3.9", "5"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.MRTimingAndRelatedParametersSequence = [timing]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for phase, z, position, _ in frames:
        group, content, plane = Dataset(), Dataset(), Dataset()
        content.TemporalPositionIndex, content.StackID, content.InStackPositionNumber = phase + 1, "1", z + 1
        content.FrameAcquisitionDateTime = f"20260301{10:02d}{16 + phase:02d}12.25"
        plane.ImagePositionPatient = [number(value) for value in position]
        group.FrameContentSequence, group.PlanePositionSequence = [content], [plane]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    return _finished(ds, np.array([pixels for *_, pixels in frames]), attributes)
