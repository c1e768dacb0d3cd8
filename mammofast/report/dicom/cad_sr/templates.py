"""The tree of a Mammography CAD SR: PS3.16 TID 4000 and the templates it includes, a function for each.

Every content item stands behind the row of the template that it comes from. What is left out are optional rows that a
search for masses in single images has nothing to say to: composite features (TID 4004), assessments and follow-up
(TID 4002 rows 1 to 4 and 6 to 10), breast composition, calcifications and image quality (TID 4007 to 4014), analyses
(TID 4016, 4018), and other reports' findings (TID 4022).
"""

from collections.abc import Iterable, Iterator

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.records import Finding
from mammofast.report.dicom.cad_sr import content
from mammofast.report.dicom.cad_sr.content import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    HAS_PROPERTIES,
    INFERRED_FROM,
    SELECTED_FROM,
    Position,
)
from mammofast.report.dicom.cad_sr.image_library import image_library_entry
from mammofast.report.dicom.cad_sr.operating_points import ONE_TO_N, operating_point, operating_points
from mammofast.report.dicom.cad_sr.outcome import StudyOutcome, outcome_of
from mammofast.report.dicom.context import MANUFACTURER
from mammofast.report.dicom.contour import centre, contour
from mammofast.report.dicom.identity import tracking_id, tracking_uid
from mammofast.report.dicom.study import Algorithm, StudyImage, StudyResults
from mammofast.screening.columns import area_mm2

# pydicom's has a zero-width space in its meaning.
INDIVIDUAL_IMPRESSION = Code("111034", "DCM", "Individual Impression/Recommendation")
# CID 6014: a mass is a Composite Feature (CID 6017), seen in two views; in a single image it is a density.
DENSITY = Code("129793001", "SCT", "Mammography breast density")
AREA = Code("42798000", "SCT", "Area")
ENGLISH = Code("en", "RFC5646", "English")
PERCENT, SQUARE_MILLIMETRE = Code("%", "UCUM", "Percent"), Code("mm2", "UCUM", "square millimeter")

_REQUIRED = codes.DCM.PresentationRequiredRenderingDeviceIsExpectedToPresent
_OPTIONAL = codes.DCM.PresentationOptionalRenderingDeviceMayPresent


def document_root(study: StudyResults) -> Dataset:
    """TID 4000 Mammography CAD Document Root."""
    outcome = outcome_of(study)
    return content.container(  # TID 4000 row 1
        None,
        codes.DCM.MammographyCADReport,
        [
            # TID 4000 row 2, TID 1204 row 1
            content.code(HAS_CONCEPT_MOD, codes.DCM.LanguageOfContentItemAndDescendants, ENGLISH),
            # TID 4000 rows 3, 4; the second item of the root, on which _in_library relies
            content.container(CONTAINS, codes.DCM.ImageLibrary, map(image_library_entry, study.images)),
            overall_impression(study, outcome),  # TID 4000 row 5
            content.code(  # TID 4000 rows 6, 7
                CONTAINS,
                codes.DCM.SummaryOfDetections,
                _status(outcome),
                detections_performed(study.algorithm, outcome),
            ),
            # TID 4000 row 8: correlating views or earlier studies is not attempted, so row 9 is absent
            content.code(CONTAINS, codes.DCM.SummaryOfAnalyses, codes.DCM.NotAttempted),
        ],
        template="4000",
    )


def overall_impression(study: StudyResults, outcome: StudyOutcome) -> Dataset:
    """TID 4001 Mammography CAD Overall Impression/Recommendation."""
    return content.code(  # TID 4001 row 1
        CONTAINS,
        codes.DCM.CADProcessingAndFindingsSummary,
        _summary(outcome),
        [
            *impression_body(study.algorithm, outcome),  # TID 4001 row 2
            *individual_impressions(study),  # TID 4001 row 3
        ],
    )


def impression_body(algorithm: Algorithm, outcome: StudyOutcome) -> Iterator[Dataset]:
    """TID 4002 Mammography CAD Impression/Recommendation Body: which images have no result and why, and the notice."""
    yield content.text(HAS_PROPERTIES, codes.DCM.ImpressionDescription, outcome.description)  # TID 4002 row 5
    yield from algorithm_identification(algorithm)  # TID 4002 row 11


def individual_impressions(study: StudyResults) -> Iterator[Dataset]:
    """TID 4003 Mammography CAD Individual Impression/Recommendation: one a finding, so that each has its own intent."""
    for position, image in enumerate(study.images, 1):
        for number, finding in enumerate(image.findings, 1):
            point = operating_point(study.algorithm, finding)
            yield content.container(  # TID 4003 row 1
                INFERRED_FROM,
                INDIVIDUAL_IMPRESSION,
                [
                    # TID 4003 row 2
                    content.code(HAS_CONCEPT_MOD, codes.DCM.RenderingIntent, _OPTIONAL if point else _REQUIRED),
                    single_image_finding(study.algorithm, image, _in_library(position), number, point),  # row 5
                ],
            )


def single_image_finding(
    algorithm: Algorithm, image: StudyImage, image_position: Position, number: int, point: int
) -> Dataset:
    """TID 4006 Mammography CAD Single Image Finding.

    Certainty of Finding is the method's confidence: how likely it is the kind of finding that was searched for, by the
    method's own measure, which nobody has calibrated. So there is no Probability of cancer (row 7).
    """
    finding = image.findings[number - 1]
    certainty = round(100 * min(finding.confidence, 1.0), 2)
    # TID 4006 rows 2, 3; row 9 of TID 4017 is always there
    if point:
        shown = [content.num(HAS_PROPERTIES, codes.DCM.CADOperatingPoint, point, ONE_TO_N)]
        intent = content.code(HAS_CONCEPT_MOD, codes.DCM.RenderingIntent, _OPTIONAL, shown)
    else:
        intent = content.code(HAS_CONCEPT_MOD, codes.DCM.RenderingIntent, _REQUIRED)
    return content.code(  # TID 4006 row 1
        CONTAINS,
        codes.DCM.SingleImageFinding,
        DENSITY,
        [
            intent,
            # TID 4006 row 4, TID 4108 rows 1, 2: the same in the other objects
            content.text(HAS_OBS_CONTEXT, codes.DCM.TrackingIdentifier, tracking_id(image, number)),
            content.uidref(HAS_OBS_CONTEXT, codes.DCM.TrackingUniqueIdentifier, tracking_uid(image, number)),
            *algorithm_identification(algorithm),  # TID 4006 row 5
            content.num(HAS_PROPERTIES, codes.DCM.CertaintyOfFinding, certainty, PERCENT),  # TID 4006 row 6
            *geometry(finding, image_position),  # TID 4006 row 8
            *density(finding, image),  # TID 4006 row 14
        ],
    )


def geometry(finding: Finding, image_position: Position) -> Iterator[Dataset]:
    """TID 4021 Mammography CAD Geometry: the mask's outer border, the candidate's box where the mask is empty."""
    for name, kind, points in (
        (codes.DCM.Center, "POINT", np.array([centre(finding)])),  # TID 4021 row 1
        (codes.DCM.Outline, "POLYLINE", contour(finding)),  # TID 4021 row 3
    ):
        selected = [content.reference(SELECTED_FROM, image_position)]  # TID 4021 rows 2, 4
        yield content.scoord(HAS_PROPERTIES, name, kind, points, selected)


def density(finding: Finding, image: StudyImage) -> Iterator[Dataset]:
    """TID 4011 Mammography CAD Density: the mask's area, where the pixel spacing is known.

    Area, not Area of Defined Region, which would have to equal the outline's: a mask may have holes and parts.
    """
    area = area_mm2(finding.area_px, image.info)
    if area is not None:  # TID 4011 row 5, TID 1401 row 1
        yield content.num(HAS_PROPERTIES, AREA, float(area), SQUARE_MILLIMETRE)


def detections_performed(algorithm: Algorithm, outcome: StudyOutcome) -> Iterator[Dataset]:
    """TID 4015 CAD Detections Performed."""
    if outcome.attempted and outcome.searched:  # TID 4015 rows 1, 2
        found = detection_performed(algorithm, outcome.searched, (), operating_points(algorithm))
        yield content.container(INFERRED_FROM, codes.DCM.SuccessfulDetections, [found])
    if outcome.attempted and not outcome.succeeded:  # TID 4015 rows 3, 4
        failed = detection_performed(algorithm, outcome.missing, outcome.missing_series, ())
        yield content.container(INFERRED_FROM, codes.DCM.FailedDetections, [failed])


def detection_performed(
    algorithm: Algorithm, images: Iterable[int], series: Iterable[str], points: Iterable[Dataset]
) -> Dataset:
    """TID 4017 CAD Detection Performed. A file that the archive does not keep is told by its series, all there is."""
    return content.code(  # TID 4017 row 1
        CONTAINS,
        codes.DCM.DetectionPerformed,
        DENSITY,
        [
            *algorithm_identification(algorithm, with_parameters=True),  # TID 4017 row 2
            *(content.reference(HAS_PROPERTIES, _in_library(number)) for number in images),  # TID 4017 row 4
            *(content.uidref(HAS_PROPERTIES, codes.DCM.SeriesInstanceUID, uid) for uid in series),  # TID 4017 row 5
            *points,  # TID 4017 row 9
        ],
    )


def algorithm_identification(algorithm: Algorithm, with_parameters: bool = False) -> Iterator[Dataset]:
    """TID 4019 Algorithm Identification."""
    yield content.text(HAS_PROPERTIES, codes.DCM.AlgorithmName, algorithm.name or MANUFACTURER)  # TID 4019 row 1
    yield content.text(HAS_PROPERTIES, codes.DCM.AlgorithmVersion, algorithm.version)  # TID 4019 row 2
    if with_parameters:  # TID 4019 row 3
        for name, value in (
            ("method", algorithm.method),
            ("bundle_id", algorithm.run.bundle_id),
            ("settings_id", algorithm.run.settings_id),
        ):
            yield content.text(HAS_PROPERTIES, codes.DCM.AlgorithmParameters, f"{name} {value}")


def _in_library(number: int) -> Position:
    """Return where the image of that number stands: in the root's second item."""
    return (1, 2, number)


def _status(outcome: StudyOutcome) -> Code:
    """CID 6042 Status of Results."""
    if not outcome.attempted:
        return codes.DCM.NotAttempted
    if outcome.succeeded:
        return codes.DCM.Succeeded
    return codes.DCM.PartiallySucceeded if outcome.searched else codes.DCM.Failed


def _summary(outcome: StudyOutcome) -> Code:
    """CID 6047 CAD Processing and Findings Summary; it has no code for what was not attempted."""
    if not outcome.searched:
        return codes.DCM.NoAlgorithmsSucceededWithoutFindings
    if outcome.succeeded:
        return (
            codes.DCM.AllAlgorithmsSucceededWithFindings
            if outcome.n_findings
            else codes.DCM.AllAlgorithmsSucceededWithoutFindings
        )
    return (
        codes.DCM.NotAllAlgorithmsSucceededWithFindings
        if outcome.n_findings
        else codes.DCM.NotAllAlgorithmsSucceededWithoutFindings
    )
