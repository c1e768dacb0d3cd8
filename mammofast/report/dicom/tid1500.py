"""Measurement report (PS3.16 TID 1500): what OHIF reads.

It has a planar region for every finding of an image (TID 1410), and a volumetric one for every segment of a volume
(TID 1411).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.records import Finding
from mammofast.report.dicom.context import put_context, text_of
from mammofast.report.dicom.contour import contour
from mammofast.report.dicom.identity import series_uid, study_object_uid, tracking_id, tracking_uid
from mammofast.report.dicom.observer import algorithm_of, observer
from mammofast.report.dicom.references import Reference, evidence
from mammofast.report.dicom.source import no_patient
from mammofast.report.dicom.study import Algorithm, StudyImage, StudyResults, StudyVolume
from mammofast.report.dicom.vocabulary import ABNORMAL, BREAST, MASS, SIDES
from mammofast.report.dicom.volumes.frames import source_instances
from mammofast.report.dicom.volumes.regions import regions
from mammofast.screening.columns import area_mm2

KIND = "tid1500"
_NO_UNITS, _PIXELS = Code("1", "UCUM", "no units"), Code("{pixels}", "UCUM", "pixels")
# CID 100 has no code for mammography alone.
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_SCORE = Code("score", "99MAMMOFAST", "Score relative to the image's strongest")


def measurement_report(study: StudyResults, references: Sequence[Reference] = ()) -> Dataset | None:
    """Return a study's findings as a Comprehensive SR; None where there is none: the template has no word for that.

    references: objects of the same results that the report is filed with; volumes' segmentations have to be among them:
    its regions are their segments. Other references give it another UID.
    """
    images, volumes = study.with_findings, study.with_segments
    measured: tuple[StudyImage | StudyVolume, ...] = (*images, *volumes)
    if not measured:
        return None
    groups = [_group(study.algorithm, image, *one) for image in images for one in _numbered(image)]
    groups += [group for volume in volumes for group in regions(study.algorithm, volume)]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer(study.algorithm)),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    sources = [Reference.to_image(image) for image in images]
    sources += [instance for volume in volumes for instance in source_instances(volume)]
    dataset = sr.ComprehensiveSR(
        evidence=[_known(study, instance) for instance in (*sources, *references)],
        content=report[0],
        series_instance_uid=series_uid(study, KIND),
        series_number=1,
        sop_instance_uid=study_object_uid(study, KIND, *(reference.sop_uid for reference in references)),
        instance_number=1,
        manufacturer="",
        is_complete=True,
        is_final=True,
    )
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence(study.study_uid, [*sources, *references])
    put_context(dataset, study, KIND, str(dataset.SOPInstanceUID), images=measured)
    return dataset


def _known(study: StudyResults, instance: Reference) -> Dataset:
    """Return an instance as highdicom is to know it, which wants to see all that a report names."""
    dataset = no_patient()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study.study_uid, instance.series_uid
    dataset.SOPClassUID, dataset.SOPInstanceUID = instance.sop_class_uid, instance.sop_uid
    return dataset


def _numbered(image: StudyImage) -> Iterator[tuple[int, Finding]]:
    return enumerate(image.findings, start=1)


def _group(
    algorithm: Algorithm, image: StudyImage, number: int, finding: Finding
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return TID 1410 for one finding; its region is the outline of the largest part of the mask."""
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(tracking_uid(image, number), tracking_id(image, number)),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=contour(finding).astype(np.float32),
            source_image=sr.SourceImageForRegion(text_of(image.header, "SOPClassUID"), image.sop_uid),
        ),
        finding_category=ABNORMAL,
        finding_type=MASS,
        finding_sites=[sr.FindingSite(BREAST, laterality=SIDES.get(image.info.laterality))],
        algorithm_id=algorithm_of(algorithm),
        measurements=list(_measurements(image, finding)),
    )


def _measurements(image: StudyImage, finding: Finding) -> Iterator[sr.Measurement]:
    area = area_mm2(finding.area_px, image.info)
    if area is None:
        yield sr.Measurement(codes.SCT.Area, finding.area_px, _PIXELS)
    else:
        yield sr.Measurement(codes.SCT.Area, area, codes.UCUM.SquareMillimeter)
    # An absolute value that may pass 1, so it is no percentage.
    yield sr.Measurement(codes.DCM.CertaintyOfFinding, finding.confidence, _NO_UNITS)
    yield sr.Measurement(_SCORE, finding.score, _NO_UNITS)
