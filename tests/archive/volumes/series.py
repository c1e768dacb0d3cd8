"""Small DCE-MRI series as real MR objects, classic and enhanced, well-formed or not."""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
# Half-way between axial and coronal, with a rotation in plane: no axis of the patient lies along one of the array.
_C = float(np.sqrt(0.5))
OBLIQUE = (0.6, 0.8 * _C, 0.8 * _C, -0.8, 0.6 * _C, 0.6 * _C)
ROOT = "1.2.826.0.1.3680043.8.498.77"


def uid(*numbers):
    return ".".join([ROOT, *map(str, numbers)])


@dataclass
class Series:
    """A dynamic series: ``values[phase, slice]`` stored, slices rising along row x column."""

    values: np.ndarray
    study: int = 1
    orientation: tuple = AXIAL
    origin: tuple = (-20.0, -30.0, 12.5)
    step: float = 2.5
    spacing: tuple = (0.75, 0.5)
    seconds: float = 60.0
    rescale: tuple = (1.0, 0.0)
    series_per_phase: bool = False
    attributes: dict = field(default_factory=dict)

    @classmethod
    def draw(cls, phases=3, slices=4, rows=10, cols=12, seed=0, dtype="u2", **options):
        """A blob that takes up contrast, over noise; no two slices alike."""
        rng = np.random.default_rng(seed)
        z, y, x = np.mgrid[:slices, :rows, :cols]
        inside = ((z - slices / 2) / slices) ** 2 + ((y - 5) / 4) ** 2 + ((x - 6) / 4) ** 2 < 1
        values = rng.integers(20, 300, (phases, slices, rows, cols))
        values[1:, inside] += 900
        return cls(values.astype(dtype), **options)

    @property
    def normal(self):
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, index):
        return tuple(float(round(v, 6)) for v in np.asarray(self.origin) + index * self.step * self.normal)

    def base(self, sop_class, *numbers):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid(self.study, 9, *numbers)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(self.study), uid(self.study, 5, 1)
        ds.FrameOfReferenceUID = uid(self.study, 7)
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = sop_class, ds.SOPInstanceUID
        ds.Modality, ds.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M", "ND"]
        ds.PatientName, ds.PatientID = "SECRET^NAME", "SECRETID"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = self.values.shape[2:]
        ds.BitsAllocated = 8 * self.values.dtype.itemsize
        ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
        ds.PixelRepresentation = int(self.values.dtype.kind == "i")
        return ds

    def time(self, phase):
        total = 9 * 3600 + phase * self.seconds
        return f"{int(total // 3600):02}{int(total % 3600 // 60):02}{total % 60:09.6f}"

    def classic(self):
        """Yield (phase, slice, data set), instance numbers shuffled."""
        phases, slices = self.values.shape[:2]
        numbers = np.random.default_rng(3).permutation(phases * slices)
        for phase in range(phases):
            for index in range(slices):
                ds = self.base(MR, phase, index)
                if self.series_per_phase:
                    ds.SeriesInstanceUID = uid(self.study, 5, 1 + phase)
                else:
                    ds.TemporalPositionIdentifier, ds.NumberOfTemporalPositions = str(phase + 1), str(phases)
                ds.InstanceNumber = str(numbers[phase * slices + index])
                ds.AcquisitionDate, ds.AcquisitionTime = "20260101", self.time(phase)
                ds.ImagePositionPatient = list(self.position(index))
                ds.ImageOrientationPatient = list(self.orientation)
                ds.PixelSpacing = list(self.spacing)
                ds.SliceThickness = "9"
                ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = "3.9", "1.7", "5"
                if self.rescale != (1.0, 0.0):
                    ds.RescaleSlope, ds.RescaleIntercept = self.rescale
                ds.PixelData = self.values[phase, index].tobytes()
                ds["PixelData"].VR = "OW"
                for keyword, value in self.attributes.items():
                    setattr(ds, keyword, value)
                yield phase, index, ds

    def enhanced(self, encode=None):
        """Return one object with all frames, in an order of its own; ``encode`` makes a frame's bytes of its pixels."""
        phases, slices = self.values.shape[:2]
        ds = self.base(ENHANCED, "0")
        ds.ImageType = ["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"]
        order = np.random.default_rng(4).permutation(phases * slices)
        ds.NumberOfFrames = str(len(order))
        shared, timing, echo, measures, plane = (Dataset() for _ in range(5))
        timing.RepetitionTime, timing.FlipAngle, echo.EffectiveEchoTime = 3.9, 5.0, 1.7
        measures.PixelSpacing, plane.ImageOrientationPatient = list(self.spacing), list(self.orientation)
        shared.MRTimingAndRelatedParametersSequence = Sequence([timing])
        shared.MREchoSequence, shared.PixelMeasuresSequence = Sequence([echo]), Sequence([measures])
        shared.PlaneOrientationSequence = Sequence([plane])
        ds.SharedFunctionalGroupsSequence = Sequence([shared])
        groups, frames = [], []
        for number in order:
            phase, index = divmod(int(number), slices)
            group, content, place, kind = (Dataset() for _ in range(4))
            content.TemporalPositionIndex = phase + 1
            content.FrameAcquisitionDateTime = f"20260101{self.time(phase)}"
            place.ImagePositionPatient = list(self.position(index))
            kind.FrameType = ["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"]
            group.FrameContentSequence, group.PlanePositionSequence = Sequence([content]), Sequence([place])
            group.MRImageFrameTypeSequence = Sequence([kind])
            if self.rescale != (1.0, 0.0):
                values = Dataset()
                values.RescaleSlope, values.RescaleIntercept, values.RescaleType = *self.rescale, "US"
                group.PixelValueTransformationSequence = Sequence([values])
            groups.append(group)
            frames.append(self.values[phase, index])
        ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
        if encode is None:
            ds.PixelData = np.stack(frames).tobytes()
            ds["PixelData"].VR = "OW"
        else:
            syntax, frame_bytes = encode
            ds.file_meta.TransferSyntaxUID = syntax
            ds.PixelData = encapsulate([frame_bytes(frame) for frame in frames])
            ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        return ds

    def write(self, folder, change=None):
        """Write classic objects; ``change(phase, slice, data set)`` changes one, or leaves it out: False."""
        for phase, index, ds in self.classic():
            if change is None or change(phase, index, ds) is not False:
                save(ds, Path(folder) / f"{phase}-{index}.dcm")
        return folder

    def but(self, **changes):
        return replace(self, **changes)


def save(ds, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
