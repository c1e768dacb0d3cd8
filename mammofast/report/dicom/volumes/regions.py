"""A volume's segments as regions of a measurement report (PS3.16 TID 1411)."""

from collections.abc import Iterator
from math import prod

from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.report.dicom.observer import algorithm_of
from mammofast.report.dicom.study import Algorithm, StudyVolume
from mammofast.report.dicom.vocabulary import ABNORMAL, ANATOMICAL, BREAST, MASS
from mammofast.report.dicom.volumes.frames import source_instances
from mammofast.report.dicom.volumes.seg import SOP_CLASS, segmentation_uid
from mammofast.report.dicom.volumes.segments import Segment, segments
from mammofast.screening.geometry import center_mm, size_mm

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
        box, z, record = finding.box, (finding.z_min, finding.z_max), volume.source.record
        width, length, depth = size_mm(box, z, record.spacing)
        for name, extent in ((_DEPTH, depth), (_LENGTH, length), (_WIDTH, width)):
            yield sr.Measurement(name, extent, _MM)
        center = center_mm(box, z, record.spacing, record.image_orientation, record.positions)
        for name, coordinate in zip(_CENTRE, center, strict=True):
            yield sr.Measurement(name, coordinate, _MM)
        yield sr.Measurement(codes.DCM.CertaintyOfFinding, finding.confidence, _NO_UNITS)
        yield sr.Measurement(_SCORE, finding.score, _NO_UNITS)
