"""A volume's segments as regions of a measurement report (PS3.16 TID 1411)."""

from collections.abc import Iterator
from math import prod

import numpy as np
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.records import VolumeFinding
from mammofast.report.dicom.observer import algorithm_of
from mammofast.report.dicom.study import Algorithm, StudyVolume
from mammofast.report.dicom.vocabulary import ABNORMAL, ANATOMICAL, BREAST, MASS
from mammofast.report.dicom.volumes.frames import source_instances
from mammofast.report.dicom.volumes.seg import SOP_CLASS, segmentation_uid
from mammofast.report.dicom.volumes.segments import Segment, segments

_NO_UNITS, _MM, _ML = Code("1", "UCUM", "no units"), Code("mm", "UCUM", "mm"), Code("mL", "UCUM", "mL")
# A candidate's box lies along the stack: how far it reaches along a row, along a column, and across the slices.
_WIDTH, _LENGTH, _DEPTH = (
    Code("103355008", "SCT", "Width"),
    Code("410668003", "SCT", "Length"),
    Code("131197000", "SCT", "Depth"),
)
# Where the box's centre is in the Frame of Reference.
_CENTRE = tuple(Code(f"center-{axis}", "99MAMMOFAST", f"{axis.upper()} of the box's center") for axis in "xyz")
_SCORE = Code("score", "99MAMMOFAST", "Score of the detector")


def regions(
    algorithm: Algorithm, volume: StudyVolume
) -> Iterator[sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """Yield TID 1411 for every segment of a volume's segmentation, which has to be filed with the report."""
    series = [instance.series_uid for instance in source_instances(volume)][:1]
    for segment in segments(volume):
        mass = segment.finding is not None
        yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(segment.tracking_uid, segment.tracking_id),
            referenced_segment=sr.ReferencedSegment(
                SOP_CLASS,
                segmentation_uid(volume),
                segment.number,
                source_series=sr.SourceSeriesForSegmentation(*series),
            ),
            finding_category=ABNORMAL if mass else ANATOMICAL,
            finding_type=MASS if mass else BREAST,
            finding_sites=[sr.FindingSite(BREAST)] if mass else None,
            algorithm_id=algorithm_of(algorithm),
            measurements=list(_measurements(volume, segment)),
        )


def _measurements(volume: StudyVolume, segment: Segment) -> Iterator[sr.Measurement]:
    millilitres = int(segment.voxels.sum()) * prod(volume.source.record.spacing) / 1000
    yield sr.Measurement(codes.SCT.Volume, millilitres, _ML)
    if segment.finding is not None:
        finding = volume.findings[segment.finding - 1]
        for name, extent in zip((_DEPTH, _LENGTH, _WIDTH), _extent(finding, volume), strict=True):
            yield sr.Measurement(name, extent, _MM)
        for name, coordinate in zip(_CENTRE, _centre(finding, volume), strict=True):
            yield sr.Measurement(name, coordinate, _MM)
        yield sr.Measurement(codes.DCM.CertaintyOfFinding, finding.confidence, _NO_UNITS)
        yield sr.Measurement(_SCORE, finding.score, _NO_UNITS)


def _extent(finding: VolumeFinding, volume: StudyVolume) -> tuple[float, float, float]:
    """Return a box's size in mm: across the slices, along a column, along a row."""
    x_min, y_min, x_max, y_max = finding.box
    depth, row, column = volume.source.record.spacing
    return (finding.z_max - finding.z_min) * depth, (y_max - y_min) * row, (x_max - x_min) * column


def _centre(finding: VolumeFinding, volume: StudyVolume) -> tuple[float, float, float]:
    """Return the box's centre in mm in the Frame of Reference (PS3.3 C.7.6.2.1.1)."""
    record = volume.source.record
    x_min, y_min, x_max, y_max = finding.box
    # Positions are of the first voxel's centre, boxes' edges are of voxels' outer sides.
    column, row, depth = ((x_min + x_max - 1) / 2, (y_min + y_max - 1) / 2, (finding.z_min + finding.z_max - 1) / 2)
    along_row, along_column = np.reshape(record.image_orientation, (2, 3))
    positions = np.array(record.positions, dtype=np.float64)
    origin = [float(np.interp(depth, np.arange(len(positions)), positions[:, axis])) for axis in range(3)]
    x, y, z = origin + column * record.spacing[2] * along_row + row * record.spacing[1] * along_column
    return float(x), float(y), float(z)
