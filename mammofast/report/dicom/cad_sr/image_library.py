"""TID 4020 CAD Image Library Entry: what is said of every image that the report is about.

A workstation that has another copy of an image (For Presentation beside For Processing) tells by it whether marks must
be moved (PS3.17 E.5).
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mammofast.archive.views import modifiers_of
from mammofast.report.dicom.cad_sr import content
from mammofast.report.dicom.cad_sr.content import HAS_ACQ_CONTEXT, HAS_CONCEPT_MOD
from mammofast.report.dicom.context import text_of
from mammofast.report.dicom.identity import TIME, is_day
from mammofast.report.dicom.source import orientation_of
from mammofast.report.dicom.study import StudyImage

MILLIMETRE, PIXELS = Code("mm", "UCUM", "millimeter"), Code("{pixels}", "UCUM", "pixels")

# CID 6022 Side.
_SIDES: Mapping[str, Code] = MappingProxyType(
    {
        "L": Code("80248007", "SCT", "Left breast"),
        "R": Code("73056007", "SCT", "Right breast"),
        "B": Code("63762007", "SCT", "Both breasts"),
    }
)
# CID 4014 View for Mammography, by the abbreviation that the archive keeps.
_VIEWS: Mapping[str, Code] = MappingProxyType(
    {
        "ML": Code("399260004", "SCT", "medio-lateral"),
        "MLO": Code("399368009", "SCT", "medio-lateral oblique"),
        "LM": Code("399352003", "SCT", "latero-medial"),
        "LMO": Code("399099002", "SCT", "latero-medial oblique"),
        "CC": Code("399162004", "SCT", "cranio-caudal"),
        "FB": Code("399196006", "SCT", "caudo-cranial (from below)"),
        "SIO": Code("399188001", "SCT", "superolateral to inferomedial oblique"),
        "ISO": Code("441555000", "SCT", "inferomedial to superolateral oblique"),
        "XCCL": Code("399192008", "SCT", "cranio-caudal exaggerated laterally"),
        "XCCM": Code("399101009", "SCT", "cranio-caudal exaggerated medially"),
        "SPECIMEN": Code("127457009", "SCT", "tissue specimen from breast"),
    }
)
# CID 4015 View Modifier for Mammography, by the words that the archive keeps.
_MODIFIERS: Mapping[str, Code] = MappingProxyType(
    {
        "cleavage": Code("399161006", "SCT", "Cleavage"),
        "axillary tail": Code("399011000", "SCT", "Axillary Tail"),
        "rolled lateral": Code("399197002", "SCT", "Rolled Lateral"),
        "rolled medial": Code("399226006", "SCT", "Rolled Medial"),
        "rolled inferior": Code("414493004", "SCT", "Rolled Inferior"),
        "rolled superior": Code("415670009", "SCT", "Rolled Superior"),
        "implant displaced": Code("399209000", "SCT", "Implant Displaced"),
        "magnification": Code("399163009", "SCT", "Magnification"),
        "spot compression": Code("399055006", "SCT", "Spot Compression"),
        "tangential": Code("399110001", "SCT", "Tangential"),
        "nipple in profile": Code("442581004", "SCT", "Nipple in profile"),
        "anterior compression": Code("441752004", "SCT", "Anterior compression"),
        "infra-mammary fold": Code("442593008", "SCT", "Infra-mammary fold"),
        "axillary tissue": Code("442580003", "SCT", "Axillary tissue"),
    }
)

_DATES = (  # rows 7 to 10
    (codes.DCM.StudyDate, codes.DCM.StudyTime, "Study"),
    (codes.DCM.ContentDate, codes.DCM.ContentTime, "Content"),
)


def image_library_entry(image: StudyImage) -> Dataset:
    """Return TID 4020 for one image. A condition "is in the image" holds where its value can be read."""
    # TID 4020 row 1
    return content.image(content.CONTAINS, text_of(image.header, "SOPClassUID"), image.sop_uid, _context(image))


def _context(image: StudyImage) -> Iterator[Dataset]:
    header, info = image.header, image.info
    side = _SIDES.get(info.laterality or text_of(header, "ImageLaterality"))
    if side is not None:  # TID 4020 row 2
        yield content.code(HAS_ACQ_CONTEXT, codes.DCM.ImageLaterality, side)
    view = _VIEWS.get(info.view or "")
    if view is not None:  # TID 4020 rows 3, 4
        named = (_MODIFIERS[word] for word in modifiers_of(header) if word in _MODIFIERS)
        modifiers = (content.code(HAS_CONCEPT_MOD, codes.DCM.ImageViewModifier, modifier) for modifier in named)
        yield content.code(HAS_ACQ_CONTEXT, codes.DCM.ImageView, view, modifiers)
    orientation = orientation_of(image)
    if orientation:  # TID 4020 rows 5, 6
        yield content.text(HAS_ACQ_CONTEXT, codes.DCM.PatientOrientationRow, orientation[0])
        yield content.text(HAS_ACQ_CONTEXT, codes.DCM.PatientOrientationColumn, orientation[1])
    for date_name, time_name, what in _DATES:  # TID 4020 rows 7 to 10
        date, time = text_of(header, f"{what}Date"), text_of(header, f"{what}Time")
        if is_day(date):
            yield content.date(HAS_ACQ_CONTEXT, date_name, date)
        if TIME.fullmatch(time):
            yield content.time(HAS_ACQ_CONTEXT, time_name, time)
    spacing = info.pixel_spacing
    if spacing is not None:  # TID 4020 rows 11, 12: between columns, then between rows
        yield content.num(HAS_ACQ_CONTEXT, codes.DCM.HorizontalPixelSpacing, spacing[1], MILLIMETRE)
        yield content.num(HAS_ACQ_CONTEXT, codes.DCM.VerticalPixelSpacing, spacing[0], MILLIMETRE)
    rows, cols = image.shape  # TID 4020 rows 27, 28: what the marks' coordinates are within
    yield content.num(HAS_ACQ_CONTEXT, codes.DCM.PixelDataRows, rows, PIXELS)
    yield content.num(HAS_ACQ_CONTEXT, codes.DCM.PixelDataColumns, cols, PIXELS)
