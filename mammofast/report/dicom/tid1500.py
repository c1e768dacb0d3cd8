"""Measurement report (PS3.16 TID 1500) with a planar region for every finding (TID 1410): what OHIF reads."""

from collections.abc import Iterator, Sequence

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.records import Finding
from mammofast.report.dicom.context import MANUFACTURER, put_context, text_of
from mammofast.report.dicom.contour import contour
from mammofast.report.dicom.identity import derived_uid, series_uid, study_object_uid, tracking_id, tracking_uid
from mammofast.report.dicom.references import Reference, evidence
from mammofast.report.dicom.source import source_of
from mammofast.report.dicom.study import Algorithm, StudyImage, StudyResults
from mammofast.report.dicom.vocabulary import ABNORMAL, BREAST, MASS, SIDES
from mammofast.screening.columns import area_mm2

KIND = "tid1500"
_NO_UNITS, _PIXELS = Code("1", "UCUM", "no units"), Code("{pixels}", "UCUM", "pixels")
# CID 100 has no code for mammography alone.
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_SCORE = Code("score", "99MAMMOFAST", "Score relative to the image's strongest")


def measurement_report(study: StudyResults, references: Sequence[Reference] = ()) -> Dataset | None:
    """Return a study's findings as a Comprehensive SR; None where there is none: the template has no word for that.

    references: objects of the same results that the report is filed with. Other references give it another UID.
    """
    images = study.with_findings
    if not images:
        return None
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(study.algorithm)),
        procedure_reported=_PROCEDURE,
        imaging_measurements=[_group(study.algorithm, image, *one) for image in images for one in _numbered(image)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    dataset = sr.ComprehensiveSR(
        evidence=[source_of(image) for image in images],
        content=report[0],
        series_instance_uid=series_uid(study, KIND),
        series_number=1,
        sop_instance_uid=study_object_uid(study, KIND, *(reference.sop_uid for reference in references)),
        instance_number=1,
        manufacturer="",
        is_complete=True,
        is_final=True,
    )
    sources = [Reference.to_image(image) for image in images]
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence(study.study_uid, [*sources, *references])
    put_context(dataset, study, KIND, str(dataset.SOPInstanceUID), images=images)
    return dataset


def _numbered(image: StudyImage) -> Iterator[tuple[int, Finding]]:
    return enumerate(image.findings, start=1)


def _observer(algorithm: Algorithm) -> sr.ObserverContext:
    run = algorithm.run
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", run.bundle_id, run.settings_id),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=algorithm.name[:64] or MANUFACTURER,
            serial_number=run.bundle_id[:16],
        ),
    )


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
        algorithm_id=_algorithm(algorithm),
        measurements=list(_measurements(image, finding)),
    )


def _algorithm(algorithm: Algorithm) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=algorithm.name or MANUFACTURER,
        version=algorithm.version,
        parameters=[algorithm.notice] if algorithm.notice else None,
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
