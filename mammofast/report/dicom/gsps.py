"""Grayscale Softcopy Presentation State: outlines and labels that any PACS lays over the image (PS3.3 A.33.1)."""

from collections.abc import Iterator

import highdicom as hd
from highdicom import pr
from pydicom import Dataset
from pydicom.valuerep import DS

from mammofast.records import Finding
from mammofast.report.dicom.context import put_context
from mammofast.report.dicom.contour import contour
from mammofast.report.dicom.greys import is_inverse, modality_and_voi
from mammofast.report.dicom.identity import image_object_uid, series_uid, tracking_id, tracking_uid
from mammofast.report.dicom.source import source_of, spacing_of
from mammofast.report.dicom.study import StudyImage, StudyResults

KIND = "gsps"
# Where the notice stands, in parts of the displayed area: along the lower edge.
_NOTICE_BOX = (0.02, 0.95, 0.98, 0.99)


def presentation_state(study: StudyResults, image: StudyImage) -> Dataset | None:
    """Return one image's findings as marks on it, with the greys it is shown with now; None where there is none."""
    if not image.findings:
        return None
    source = source_of(image)
    layer = pr.GraphicLayer("CAD", order=1, description="Findings of computer-aided detection")
    modality, voi = modality_and_voi(image)
    shape = "INVERSE" if is_inverse(image) else "IDENTITY"
    dataset = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[source],
        series_instance_uid=series_uid(study, KIND),
        series_number=1,
        sop_instance_uid=image_object_uid(image, KIND),
        instance_number=1,
        manufacturer="",
        manufacturer_model_name="",
        software_versions="",
        device_serial_number="",
        content_label="CAD MARKS",
        content_description="Findings of computer-aided detection",
        graphic_layers=[layer],
        graphic_annotations=[
            pr.GraphicAnnotation(
                referenced_images=[source],
                graphic_layer=layer,
                graphic_objects=[
                    _outline(image, number, finding) for number, finding in enumerate(image.findings, start=1)
                ],
                text_objects=[*_labels(image), *_notice(study)],
            )
        ],
        modality_lut_transformation=modality,
        voi_lut_transformations=None if voi is None else [voi],
        presentation_lut_transformation=hd.PresentationLUTTransformation(presentation_lut_shape=shape),
    )
    (area,) = dataset.DisplayedAreaSelectionSequence
    _put_spacing(area, spacing_of(image))
    # Both breasts are in the series, which has to say one side or none.
    dataset.Laterality = ""
    put_context(dataset, study, KIND, str(dataset.SOPInstanceUID), images=[image])
    return dataset


def _outline(image: StudyImage, number: int, finding: Finding) -> pr.GraphicObject:
    return pr.GraphicObject(
        graphic_type=pr.GraphicTypeValues.POLYLINE,
        graphic_data=contour(finding),
        units=pr.AnnotationUnitsValues.PIXEL,
        tracking_id=tracking_id(image, number),
        tracking_uid=tracking_uid(image, number),
    )


def _labels(image: StudyImage) -> Iterator[pr.TextObject]:
    for number, finding in enumerate(image.findings, start=1):
        _, y_min, x_max, _ = finding.box
        yield pr.TextObject(
            f"{number}: {finding.confidence:.2f}",
            units=pr.AnnotationUnitsValues.PIXEL,
            anchor_point=(float(x_max), float(y_min)),
            anchor_point_visible=False,
        )


def _notice(study: StudyResults) -> Iterator[pr.TextObject]:
    if study.algorithm.notice:
        yield pr.TextObject(
            study.algorithm.notice[:1024], units=pr.AnnotationUnitsValues.DISPLAY, bounding_box=_NOTICE_BOX
        )


def _put_spacing(area: Dataset, spacing: tuple[float, float] | None) -> None:
    """State the pixels' size, or that they are square: a viewer draws them as this says (PS3.3 C.10.4)."""
    for keyword in ("PresentationPixelSpacing", "PresentationPixelAspectRatio", "PixelOriginInterpretation"):
        if keyword in area:
            del area[keyword]
    if spacing is None:
        area.PresentationPixelAspectRatio = [1, 1]
    else:
        area.PresentationPixelSpacing = [DS(value, auto_format=True) for value in spacing]
