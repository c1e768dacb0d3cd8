"""How an image is shown, for a presentation state, which takes the place of all the image says of it (PS3.4 N.2).

A window and a rescale are taken over, so that the reader can go on adjusting them. Where the image brings a table, its
whole way from stored values to greys is one table. Where it brings neither, it gets the window of our own pictures.
"""

import highdicom as hd
import numpy as np
from highdicom import pr

from mammofast.archive.grey import voi_used
from mammofast.errors import ImageError
from mammofast.records import GreyPipeline
from mammofast.report.dicom.context import text_of
from mammofast.report.dicom.study import StudyImage
from mammofast.report.pictures import picture_level, shown_range

Modality = hd.ModalityLUTTransformation | None
# Defined Terms of PS3.3 C.11.1.1.2.
_RESCALE_TYPES = frozenset({"OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"})
Voi = pr.SoftcopyVOILUTTransformation | None

_VIEWABLE = 1024
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def modality_and_voi(image: StudyImage) -> tuple[Modality, Voi]:
    """Return Modality LUT and Softcopy VOI LUT; nothing where the header, or the pixels, cannot be understood."""
    try:
        image.source.grey_table(GreyPipeline())
        if image.header.get("ModalityLUTSequence") or image.header.get("VOILUTSequence"):
            return None, _table(image)
        return _rescale(image), _window(image) if voi_used(image.header) else _shown(image)
    except ImageError:
        return None, None


def is_inverse(image: StudyImage) -> bool:
    """Say whether the lowest value is shown white; a presentation state says so itself, whatever the image says."""
    header = image.header
    return image.source.record.photometric == "MONOCHROME1" or text_of(header, "PresentationLUTShape") == "INVERSE"


def _rescale(image: StudyImage) -> Modality:
    slope, intercept = _numbers(image, "RescaleSlope"), _numbers(image, "RescaleIntercept")
    if not slope and not intercept:
        return None
    said = text_of(image.header, "RescaleType")
    kind = said if said in _RESCALE_TYPES else "US"  # what else stands there may be anything
    return hd.ModalityLUTTransformation((intercept or [0.0])[0], (slope or [1.0])[0], kind)


def _window(image: StudyImage) -> Voi:
    """Take over the first window, which the maker shows by default."""
    centre, width = _numbers(image, "WindowCenter")[0], _numbers(image, "WindowWidth")[0]
    function = text_of(image.header, "VOILUTFunction")
    return pr.SoftcopyVOILUTTransformation(
        window_center=centre, window_width=width, voi_lut_function=function if function in _FUNCTIONS else None
    )


def _table(image: StudyImage) -> Voi:
    table = image.source.grey_table(GreyPipeline(invert=False))
    if table.first < 0:  # highdicom's tables start at 0 or above
        return None
    low, high = (0.0, 1.0) if voi_used(image.header) else (float(table.values.min()), float(table.values.max()))
    greys = np.rint((table.values - low) / max(high - low, 1e-6) * 0xFFFF).astype(np.uint16)
    return pr.SoftcopyVOILUTTransformation(voi_luts=[hd.VOILUT(table.first, greys)])


def _shown(image: StudyImage) -> Voi:
    low, high = shown_range(image.source, picture_level(image.shape, _VIEWABLE))
    if is_inverse(image):
        # The range is one of values turned over within what the table holds.
        values = image.source.grey_table(GreyPipeline()).values
        turned = float(values.min()) + float(values.max())
        low, high = turned - high, turned - low
    # LINEAR counts from the lowest value's centre to the highest's (PS3.3 C.11.2.1.2).
    return pr.SoftcopyVOILUTTransformation(window_center=(low + high + 1) / 2, window_width=high - low + 1)


def _numbers(image: StudyImage, keyword: str) -> list[float]:
    text = text_of(image.header, keyword)
    return [float(value) for value in text.split("\\")] if text else []
