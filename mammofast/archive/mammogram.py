"""Triage: from an object's header to what the archive keeps of it, or the reason why it keeps nothing."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from mammofast.archive.codecs import FrameFormat
from mammofast.archive.grey import voi_used
from mammofast.archive.views import (
    IMPLANT_DISPLACED,
    MAGNIFICATION,
    SPOT_COMPRESSION,
    SYNTHETIC,
    contradictions_of,
    image_type,
    laterality_of,
    modifiers_of,
    view_of,
)
from mammofast.errors import BrokenImage, ImageError, Reason, UnusableImage

_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
_COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
# Breast Tomosynthesis, and Breast Projection for presentation and for processing: slices, and what they are made from.
_TOMOSYNTHESIS = tuple(f"1.2.840.10008.5.1.4.1.1.13.1.{number}" for number in (3, 4, 5))
# What makers hid slices in before PACS took those: Secondary Capture, its multi-frame classes, CT.
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SECONDARY_CAPTURE = (_CAPTURE, *(f"{_CAPTURE}.{number}" for number in range(1, 5)))
_CT = "1.2.840.10008.5.1.4.1.1.2"
_HOLOGIC_SLICES = 0x7E01  # the group that Hologic's Secondary Capture Objects keep them in
# A capture is kept only where a public data set states that it is a mammogram: a film as it was scanned.
_INTENT = {_FOR_PRESENTATION: "FOR PRESENTATION", _FOR_PROCESSING: "FOR PROCESSING", _CAPTURE: "FOR PRESENTATION"}
# SOP classes of which an archive keeps objects.
KEPT_CLASSES = (_FOR_PRESENTATION, _FOR_PROCESSING, _COMPUTED_RADIOGRAPHY)

# In contact, the breast's middle is some 5 % larger on the detector; the least magnification table makes it 50 %.
_MOST_IN_CONTACT = 1.3
# Ten times the largest detector; what a hostile header can make us allocate.
MAX_PIXELS = 1 << 27
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)


@dataclass(frozen=True, slots=True)
class Stated:
    """What a public data set says of an image: that it is a mammogram, and what its header leaves out.

    laterality: "L", "R" or None. view: DICOM's abbreviation, or None.
    """

    laterality: str | None
    view: str | None


@dataclass(frozen=True, slots=True)
class Mammogram:
    """What the header says of a usable 2-D mammogram."""

    study_uid: str
    series_uid: str
    sop_uid: str
    laterality: str | None
    view: str | None
    frame: FrameFormat
    photometric: str
    presentation_intent: str | None
    pixel_spacing: tuple[float, float] | None
    spacing_from: str | None
    modifiers: tuple[str, ...]
    contradictions: tuple[str, ...]
    voi: str | None


def known(header: Dataset) -> dict[str, Any]:
    """Return what can be said of an object that is not kept: SkippedRecord's fields, None where there is nothing."""
    return {
        "study_uid": _or_none(lambda h: uid(h, "StudyInstanceUID"), header),
        "series_uid": _or_none(lambda h: uid(h, "SeriesInstanceUID"), header),
        "sop_uid": _or_none(lambda h: uid(h, "SOPInstanceUID"), header),
        "laterality": _or_none(laterality_of, header),
        "view": _or_none(view_of, header),
        "rows": _or_none(lambda h: _size(h, "Rows"), header),
        "cols": _or_none(lambda h: _size(h, "Columns"), header),
    }


def triage(header: Dataset, pixels_read: bool = True, stated: Stated | None = None) -> Mammogram:
    """Decide from the header whether an object is a usable 2-D mammogram.

    Kept are Digital Mammography X-Ray images for presentation and for processing, and Computed Radiography of modality
    MG: one frame, one sample per pixel. An unknown view is kept as such. ``pixels_read`` is false where only the header
    was read, so that pixels are not missed. With ``stated``, a Secondary Capture of modality MG is kept too, as a film
    that was scanned, and is for presentation, as captures are; what the header does say of the view counts first.

    Raises
    ------
    UnusableImage
        When it is something else: tomosynthesis, another modality, several frames, colour, a magnification view.
    BrokenImage
        When what it says of itself is missing or impossible.

    """
    try:
        return _triage(header, pixels_read, stated)
    except ImageError:
        raise
    except Exception as error:
        # pydicom reads values when they are asked for, and fails in many ways. Its message may quote them.
        raise BrokenImage(Reason.BAD_HEADER, f"the header cannot be read ({type(error).__name__})") from None


def _triage(header: Dataset, pixels_read: bool, stated: Stated | None) -> Mammogram:
    _check_class(header, KEPT_CLASSES if stated is None else (*KEPT_CLASSES, _CAPTURE))
    if header.get("NumberOfFrames") not in (None, "") and integer(header, "NumberOfFrames") > 1:
        raise UnusableImage(Reason.MULTI_FRAME, f"{integer(header, 'NumberOfFrames')} frames, expected 1")
    photometric = str(header.get("PhotometricInterpretation", "")).strip()
    if integer(header, "SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        if "MONOCHROME1".startswith(photometric) and photometric != "MONOCHROME1":
            raise BrokenImage(Reason.BAD_HEADER, "Photometric Interpretation is missing or cut off")
        raise UnusableImage(Reason.COLOUR, "expected one sample per pixel, MONOCHROME1 or MONOCHROME2")
    side, view, modifiers = laterality_of(header), view_of(header), modifiers_of(header)
    if stated is not None:
        side, view = side or stated.laterality, view or stated.view
    _check_view(header, view, modifiers)
    if pixels_read and not any(tag in header for tag in _PIXELS):
        raise BrokenImage(Reason.NO_PIXELS, "there is no Pixel Data, or the file is cut off within it")
    spacing, spacing_from = pixel_spacing(header)
    return Mammogram(
        study_uid=required_uid(header, "StudyInstanceUID"),
        series_uid=required_uid(header, "SeriesInstanceUID"),
        sop_uid=required_uid(header, "SOPInstanceUID"),
        laterality=side,
        view=view,
        frame=frame_format(header),
        photometric=photometric,
        presentation_intent=_intent(header),
        pixel_spacing=spacing,
        spacing_from=spacing_from,
        modifiers=modifiers,
        contradictions=contradictions_of(header),
        voi=voi_used(header),
    )


def uid(header: Dataset, keyword: str) -> str | None:
    """Return a UID if it is one: digits and dots, at most 64 characters. It becomes a folder's name."""
    value = str(header.get(keyword, "") or "").strip(" \0")
    return value if len(value) <= 64 and _UID.fullmatch(value) else None


def _check_class(header: Dataset, kept: Sequence[str]) -> None:
    sop_class = str(header.get("SOPClassUID", ""))
    modality = str(header.get("Modality", "") or "").strip()
    announced = str(getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID", ""))
    if announced in KEPT_CLASSES and announced != sop_class and announced.startswith(sop_class):
        raise BrokenImage(Reason.BAD_HEADER, "SOP Class UID is missing or cut off, and the file says it is a mammogram")
    if sop_class in _TOMOSYNTHESIS:
        raise UnusableImage(Reason.TOMOSYNTHESIS, "a tomosynthesis object")
    if _is_hidden_tomosynthesis(header, sop_class, modality):
        raise UnusableImage(Reason.TOMOSYNTHESIS, "tomosynthesis in an object of another class")
    if sop_class not in kept:
        films = "; films of a public data set are taken with --layout" if sop_class == _CAPTURE else ""
        raise UnusableImage(
            Reason.NOT_A_MAMMOGRAM, f"SOP class {uid(header, 'SOPClassUID') or 'none'} is not 2-D mammography{films}"
        )
    # Computed radiography serves every part of the body; the mammography classes serve one, but may hold anything.
    if modality != "MG" and not (modality in ("", "M") and sop_class in (_FOR_PRESENTATION, _FOR_PROCESSING)):
        # Whatever is longer may be a name that stands in the wrong place.
        shown = modality if re.fullmatch(r"[A-Z]{2}", modality) else "none that is known"
        raise UnusableImage(Reason.NOT_A_MAMMOGRAM, f"modality {shown}, expected MG")


def _is_hidden_tomosynthesis(header: Dataset, sop_class: str, modality: str) -> bool:
    kinds = image_type(header)
    if "TOMOSYNTHESIS" in kinds:
        return SYNTHETIC not in modifiers_of(header)
    if sop_class in _SECONDARY_CAPTURE:
        several = header.get("NumberOfFrames") not in (None, "", 1, "1")
        return any(tag >> 16 == _HOLOGIC_SLICES for tag in header.keys()) or (modality == "MG" and several)  # noqa: SIM118
    of_breast = str(header.get("BodyPartExamined", "") or "").strip() == "BREAST"
    return sop_class == _CT and (modality == "MG" or (of_breast and view_of(header) is not None))


def _check_view(header: Dataset, view: str | None, modifiers: tuple[str, ...]) -> None:
    """Refuse what a network for screening views has not been trained on."""
    if view == "SPECIMEN":
        raise UnusableImage(Reason.SPECIMEN, "the view is of a tissue specimen")
    if MAGNIFICATION in modifiers:
        raise UnusableImage(Reason.MAGNIFICATION_VIEW, "the view's modifier is Magnification")
    factor = _positive(header.get("EstimatedRadiographicMagnificationFactor"))
    if factor is not None and factor > _MOST_IN_CONTACT:
        detail = f"Estimated Radiographic Magnification Factor {factor:g}, in contact at most {_MOST_IN_CONTACT}"
        raise UnusableImage(Reason.MAGNIFICATION_VIEW, detail)
    if SPOT_COMPRESSION in modifiers:
        raise UnusableImage(Reason.SPOT_COMPRESSION_VIEW, "the view's modifier is Spot Compression")
    implant = str(header.get("BreastImplantPresent", "") or "").strip()
    if implant == "YES" and IMPLANT_DISPLACED not in modifiers:
        raise UnusableImage(Reason.IMPLANT, "Breast Implant Present is YES, and it is not displaced from the view")


def frame_format(header: Dataset) -> FrameFormat:
    """Return what the header says of its pixels.

    Raises
    ------
    BrokenImage
        BAD_HEADER, when what it says is missing or impossible; TOO_LARGE.

    """
    frame = FrameFormat(
        rows=integer(header, "Rows"),
        cols=integer(header, "Columns"),
        bits_allocated=integer(header, "BitsAllocated"),
        bits_stored=integer(header, "BitsStored"),
        signed=bool(integer(header, "PixelRepresentation", 0)),
    )
    if frame.rows < 1 or frame.cols < 1:
        raise BrokenImage(Reason.BAD_HEADER, f"Rows {frame.rows}, Columns {frame.cols}; expected both >= 1")
    if frame.rows * frame.cols > MAX_PIXELS:
        raise BrokenImage(Reason.TOO_LARGE, f"{frame.rows} x {frame.cols} pixels, at most {MAX_PIXELS} are read")
    if frame.bits_allocated not in (8, 16) or not 1 <= frame.bits_stored <= frame.bits_allocated:
        raise BrokenImage(
            Reason.BAD_HEADER,
            f"Bits Allocated {frame.bits_allocated}, Bits Stored {frame.bits_stored}; expected 8 or 16, and no more",
        )
    high_bit = integer(header, "HighBit", frame.bits_stored - 1)
    if high_bit != frame.bits_stored - 1:
        # PS3.5 8.1.1 allows nothing else any more, and guessing would shift every grey value.
        raise BrokenImage(Reason.BAD_HEADER, f"High Bit {high_bit}, expected Bits Stored - 1 = {frame.bits_stored - 1}")
    return frame


def _intent(header: Dataset) -> str | None:
    """Return the intent; None where class and attribute contradict each other, so that nobody guesses."""
    by_class = _INTENT.get(str(header.get("SOPClassUID", "")))
    said = str(header.get("PresentationIntentType", "") or "").strip()
    by_attribute = said if said in _INTENT.values() else None
    if by_class and by_attribute and by_class != by_attribute:
        return None
    return by_class or by_attribute


def pixel_spacing(header: Dataset) -> tuple[tuple[float, float] | None, str | None]:
    """Return mm between rows and columns, and the attribute they are from.

    Imager Pixel Spacing is at the detector, on all machines, and never adjusted; the mammography classes require it.
    Pixel Spacing, which may be calibrated to any depth, is for Computed Radiography that has nothing else.
    """
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        try:
            between_rows, between_cols = (_positive(value) for value in header.get(keyword) or ())
        except (TypeError, ValueError):
            continue
        if between_rows is not None and between_cols is not None:
            return (between_rows, between_cols), keyword
    return None, None


def _positive(value: Any) -> float | None:
    """Return a finite number above 0, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def integer(header: Dataset, keyword: str, default: int | None = None) -> int:
    """Return an attribute that is one integer; BAD_HEADER where it is not, ``default`` where there is none."""
    value = header.get(keyword)
    if value in (None, "") and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise BrokenImage(
            Reason.BAD_HEADER, f"{keyword} is {'missing' if value is None else 'not one integer'}"
        ) from None


def _size(header: Dataset, keyword: str) -> int | None:
    """Return Rows or Columns where it is what two bytes can hold, whatever a wrong VR made of it."""
    value = integer(header, keyword)
    return value if 0 <= value < 1 << 16 else None


def required_uid(header: Dataset, keyword: str) -> str:
    """Return a UID; BAD_HEADER where there is none."""
    value = uid(header, keyword)
    if value is None:
        raise BrokenImage(Reason.BAD_HEADER, f"{keyword} is missing or not a UID")
    return value


def _or_none(read: Any, header: Dataset) -> Any:
    try:
        return read(header)
    except Exception:
        return None
