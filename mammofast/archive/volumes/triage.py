"""From an MR object's header to its frames, or the reason why it is no part of a breast DCE-MRI series."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pydicom import Dataset

from mammofast.archive.codecs import FrameFormat
from mammofast.archive.mammogram import frame_format, integer, required_uid, uid
from mammofast.archive.reading import transfer_syntax
from mammofast.archive.views import image_type
from mammofast.archive.volumes.record import Frame, MrObject
from mammofast.errors import BrokenImage, ImageError, Reason, UnusableImage

MR_IMAGE, ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
KEPT_CLASSES = (MR_IMAGE, ENHANCED_MR_IMAGE)
# Half a gibibyte of stored values: nine phases of 160 slices of 430 x 430.
MAX_VOXELS = 1 << 28
# Image Type's third value and further (PS3.3 C.8.3.1.1.1, C.8.13.1.1.1), and makers' words, of what is no phase.
_NO_PHASE = frozenset(
    {
        *("LOCALIZER", "SCOUT", "SUBTRACTION", "SUBTRACT", "SUB", "MIP", "MINIP", "MPR", "PROJECTION_IMAGE"),
        *("DIFFUSION", "DIFFUSION_ANISO", "ADC", "FA", "TRACEW", "PHASE_MAP", "P", "T1_MAP", "T2_MAP", "CBV", "CBF"),
        *("MTT", "TTP", "PERFUSION_MAP", "FAT", "IN_PHASE", "OUT_PHASE", "VELOCITY", "FIELD_MAP"),
    }
)
# Of Dixon's images, which are all derived, the water image is what a fat-suppressed series is made of.
_WATER = frozenset({"WATER", "W"})
_BODY_PARTS = frozenset({"", "BREAST", "CHEST", "THORAX"})
_UNIT = 1e-3


@dataclass(frozen=True, slots=True)
class Found:
    """An object, and how its frames are stored."""

    object: MrObject
    frame: FrameFormat


def is_mr(header: Dataset) -> bool:
    """Say whether an object is of one of the MR classes that volumes are made of."""
    try:
        return str(header.get("SOPClassUID", "")) in KEPT_CLASSES
    except Exception:  # what cannot be read is said by whoever reads all of it
        return False


def may_be_breast(body_part: str) -> bool:
    """Say whether a Body Part Examined leaves it open that a series is of the breast; none does."""
    return body_part.strip().upper() in _BODY_PARTS


def triage(header: Dataset) -> Found:
    """Read what the header of an MR object says of its frames.

    Raises
    ------
    UnusableImage
        NOT_DCE: a localizer, a derived image, diffusion, another part of the body. COLOUR, MULTI_FRAME.
    BrokenImage
        When what it says of itself is missing or impossible.

    """
    try:
        return _triage(header)
    except ImageError:
        raise
    except Exception as error:
        raise BrokenImage(Reason.BAD_HEADER, f"the header cannot be read ({type(error).__name__})") from None


def _triage(header: Dataset) -> Found:
    _check_is_phase(header, image_type(header))
    if not may_be_breast(str(header.get("BodyPartExamined", "") or "")):
        raise UnusableImage(Reason.NOT_DCE, "Body Part Examined is another one than the breast")
    photometric = str(header.get("PhotometricInterpretation", "")).strip()
    if integer(header, "SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnusableImage(Reason.COLOUR, "expected one sample per pixel, MONOCHROME1 or MONOCHROME2")
    enhanced = str(header.SOPClassUID) == ENHANCED_MR_IMAGE
    count = integer(header, "NumberOfFrames", 1)
    if count != 1 and not enhanced:
        raise UnusableImage(Reason.MULTI_FRAME, f"{count} frames in a single-frame MR object")
    stored = frame_format(header)
    if not 1 <= count * stored.rows * stored.cols <= MAX_VOXELS:
        raise BrokenImage(Reason.TOO_LARGE, f"{count} frames of {stored.rows} x {stored.cols}, in all <= {MAX_VOXELS}")
    frames = tuple(_enhanced_frames(header, count)) if enhanced else (_frame(None, [header]),)
    first = [header] if not enhanced else next(_groups(header, count))
    found = MrObject(
        study_uid=required_uid(header, "StudyInstanceUID"),
        series_uid=required_uid(header, "SeriesInstanceUID"),
        sop_uid=required_uid(header, "SOPInstanceUID"),
        sop_class_uid=str(header.SOPClassUID),
        frame_of_reference_uid=required_uid(header, "FrameOfReferenceUID"),
        rows=stored.rows,
        cols=stored.cols,
        dtype=stored.dtype.name,
        bits_stored=stored.bits_stored,
        photometric=photometric,
        transfer_syntax_uid=transfer_syntax(header),
        frames=frames,
        protocol=tuple(_number(first, *names) for names in _PROTOCOL),
        expected_phases=_whole([header], "NumberOfTemporalPositions"),
        expected_images=_whole([header], "ImagesInAcquisition"),
        part=_part(header),
    )
    return Found(found, stored)


_PROTOCOL = (("RepetitionTime",), ("EchoTime", "EffectiveEchoTime"), ("FlipAngle",))


def _check_is_phase(header: Dataset, kinds: tuple[str, ...]) -> None:
    """Refuse what is no image as acquired."""
    if str(header.get("Modality", "") or "").strip() not in ("", "MR"):
        raise UnusableImage(Reason.NOT_DCE, "an MR object of another modality")
    words = {kind.replace(" ", "_") for kind in kinds}
    if wrong := sorted(words & _NO_PHASE):
        raise UnusableImage(Reason.NOT_DCE, f"Image Type says {wrong[0]}")
    is_water = bool(words & _WATER)
    if kinds[:1] != ("ORIGINAL",) and not (kinds[:1] == ("DERIVED",) and is_water):
        raise UnusableImage(Reason.NOT_DCE, "Image Type does not say ORIGINAL: derived from other images")
    if kinds[1:2] != ("PRIMARY",):
        raise UnusableImage(Reason.NOT_DCE, "Image Type does not say PRIMARY")


def _part(header: Dataset) -> tuple[str, int, int] | None:
    """Return the Concatenation UID, which part of the concatenation an object is, and of how many at least."""
    whole, number = uid(header, "ConcatenationUID"), _whole([header], "InConcatenationNumber")
    if whole is None or number is None:
        return None
    return whole, number, max(_whole([header], "InConcatenationTotalNumber") or 0, number)


def _enhanced_frames(header: Dataset, count: int) -> Iterator[Frame]:
    for number, places in enumerate(_groups(header, count), start=1):
        _check_is_phase(header, _frame_type(places) or image_type(header))
        yield _frame(number, places)


def _groups(header: Dataset, count: int) -> Iterator[list[Dataset]]:
    """Yield where each frame's attributes may stand: its own functional groups, then those that frames share."""
    shared = [item for group in header.get("SharedFunctionalGroupsSequence") or () for item in _items(group)]
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    if len(own) != count:
        raise BrokenImage(Reason.BAD_HEADER, f"{len(own)} Per-Frame Functional Groups for {count} frames")
    for group in own:
        yield [*_items(group), *shared]


def _items(group: Dataset) -> list[Dataset]:
    """Return the items of a functional group's sequences, Frame Type's and Diffusion's own ones included."""
    return [item for element in group if element.VR == "SQ" for item in element.value]


def _frame_type(places: list[Dataset]) -> tuple[str, ...]:
    value = _first(places, "FrameType")
    return () if value is None else tuple(str(part).strip().upper() for part in value)


def _frame(number: int | None, places: list[Dataset]) -> Frame:
    if (_number(places, "DiffusionBValue") or 0) > 0:
        raise UnusableImage(Reason.NOT_DCE, "a Diffusion b-Value above 0")
    position = _numbers(places, "ImagePositionPatient", 3)
    orientation = _numbers(places, "ImageOrientationPatient", 6)
    row, col = np.array(orientation[:3]), np.array(orientation[3:])
    if max(abs(row @ row - 1), abs(col @ col - 1), abs(row @ col)) > _UNIT:
        raise BrokenImage(Reason.BAD_HEADER, "Image Orientation (Patient) is not of two perpendicular unit vectors")
    spacing = _numbers(places, "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise BrokenImage(Reason.BAD_HEADER, "Pixel Spacing is not of two positive numbers")
    slope, intercept = _number(places, "RescaleSlope"), _number(places, "RescaleIntercept")
    if slope == 0:
        raise BrokenImage(Reason.BAD_HEADER, "Rescale Slope is 0")
    trigger = _number(places, "TriggerTime", "NominalCardiacTriggerDelayTime")
    offset = _number(places, "TemporalPositionTimeOffset")
    return Frame(
        number=number,
        position=position,  # type: ignore[arg-type]
        orientation=orientation,  # type: ignore[arg-type]
        spacing=spacing,  # type: ignore[arg-type]
        rescale=(1.0 if slope is None else slope, intercept or 0.0),
        temporal=_whole(places, "TemporalPositionIdentifier", "TemporalPositionIndex"),
        acquisition=_whole(places, "AcquisitionNumber", "FrameAcquisitionNumber"),
        trigger=trigger if offset is None else 1000 * offset,
        time=_time(places),
    )


def _time(places: list[Dataset]) -> float | None:
    """Return when a frame was acquired, in seconds from some midnight; None where it does not say."""
    moment = _first(places, "AcquisitionDateTime", "FrameAcquisitionDateTime")
    if moment is None:
        day, time = _first(places, "AcquisitionDate"), _first(places, "AcquisitionTime")
        if time is None:
            return None
        moment = f"{day or '19700101'}{time}"
    # What stands behind + or - is the zone's offset, the same for all frames of a series.
    text = str(moment).strip().replace("+", "-").partition("-")[0]
    whole, _, part = text.partition(".")
    if not whole.isdigit() or len(whole) not in (10, 12, 14):
        return None
    try:
        parsed = datetime.strptime(whole.ljust(14, "0"), "%Y%m%d%H%M%S")  # minutes and seconds may be left out
        return (parsed - datetime(1970, 1, 1)).total_seconds() + float(f"0.{part or 0}")
    except ValueError:
        return None


def _first(places: list[Dataset], *keywords: str) -> Any:
    """Return the first of some attributes that has a value, in the first place that has it."""
    for place in places:
        for keyword in keywords:
            value = place.get(keyword)
            if value is not None and value != "":
                return value
    return None


def _number(places: list[Dataset], *keywords: str) -> float | None:
    value = _first(places, *keywords)
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError):
        raise BrokenImage(Reason.BAD_HEADER, f"{keywords[0]} is not one number") from None
    if number is not None and not math.isfinite(number):
        raise BrokenImage(Reason.BAD_HEADER, f"{keywords[0]} is not finite")
    return number


def _whole(places: list[Dataset], *keywords: str) -> int | None:
    number = _number(places, *keywords)
    return None if number is None else int(number)


def _numbers(places: list[Dataset], keyword: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in _first(places, keyword) or ())
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise BrokenImage(Reason.BAD_HEADER, f"{keyword} is missing, or not of {count} numbers")
    return numbers
