"""DICOM's grey-scale pipeline (PS3.4 N.2) as one look-up table over stored values."""

import math

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from mammofast.errors import BrokenImage, Reason
from mammofast.records import GreyPipeline, GreyTable

Values = npt.NDArray[np.float64]
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def grey_table(header: Dataset, pipeline: GreyPipeline) -> GreyTable:
    """Return what an image's stored values mean after the steps of a pipeline.

    Parameters
    ----------
    header: the image's data set; pixels are not needed.
    pipeline: the steps to take.

    Returns
    -------
    A table over every value that Bits Stored and Pixel Representation allow. Its values are

    - after VOI: 0 to 1, the bounds of the window's or table's output;
    - without VOI, because the pipeline does not ask or the header has none: modality values (or stored values), in
      their own units.

    Inversion, once for MONOCHROME1 or a Presentation LUT Shape of INVERSE or both, is 1 - v after VOI. Without VOI it
    is lowest + highest - v over the whole table, which maps the units' range onto itself.

    Raises
    ------
    BrokenImage
        BAD_HEADER, when a step that was asked for is described impossibly. Guessing would change every grey.

    """
    try:
        bits, signed = int(header.BitsStored), bool(int(header.get("PixelRepresentation") or 0))
        first = -(1 << (bits - 1)) if signed else 0
        values: Values = np.arange(first, first + (1 << bits), dtype=np.float64)
        if pipeline.modality:
            values = _modality(values, header)
        windowed = _voi(values, header) if pipeline.voi else None
        if pipeline.invert and _inverse(header):
            values = values.min() + values.max() - values if windowed is None else 1 - windowed
        elif windowed is not None:
            values = windowed
    except BrokenImage:
        raise
    except Exception as error:
        raise BrokenImage(
            Reason.BAD_HEADER, f"the grey-scale attributes cannot be read ({type(error).__name__})"
        ) from None
    table = values.astype(np.float32)
    if not np.isfinite(table).all():
        raise BrokenImage(Reason.BAD_HEADER, "the grey-scale attributes give values that are not finite")
    return GreyTable(first, np.ascontiguousarray(table))


def voi_used(header: Dataset) -> str | None:
    """Say which VOI transformation ``grey_table`` applies: "LUT 1 of 2", "window 1 of 3, SIGMOID"; None: there is none.

    Several are alternatives, the first the one that the maker shows by default (PS3.3 C.11.2.1).
    """
    tables = len(header.get("VOILUTSequence") or ())
    if tables:
        return f"LUT 1 of {tables}"
    centres, widths = (_count(header.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if not centres or not widths:
        return None
    function = _function(header)
    return f"window 1 of {min(centres, widths)}, {function if function in _FUNCTIONS else 'an unknown function'}"


def _modality(values: Values, header: Dataset) -> Values:
    """Apply the Modality LUT, PS3.3 C.11.1: its sequence where there is one, else slope and intercept."""
    for lut in header.get("ModalityLUTSequence") or ():
        data, _ = _lut(values, lut, header)
        return data
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope is None and intercept is None:
        return values
    slope, intercept = (1.0 if slope is None else float(slope)), float(intercept or 0)
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(intercept)):
        raise BrokenImage(Reason.BAD_HEADER, f"Rescale Slope {slope}, Rescale Intercept {intercept}")
    return values * slope + intercept


def _voi(values: Values, header: Dataset) -> Values | None:
    """Apply the first VOI LUT or else the first window, PS3.3 C.11.2; None where the header has neither."""
    for lut in header.get("VOILUTSequence") or ():
        data, bits = _lut(values, lut, header)
        highest = (1 << bits) - 1
        if data.max() > highest:
            raise BrokenImage(Reason.BAD_HEADER, f"a VOI LUT of {bits} bits holds {data.max():.0f}")
        return data / highest
    centre, width = (_first(header.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    function = _function(header)
    # Only LINEAR counts in whole grey values: from the centre of the lowest to that of the highest.
    smallest = 1.0 if function == "LINEAR" else math.ulp(0.0)
    if not (math.isfinite(centre) and math.isfinite(width) and width >= smallest):
        raise BrokenImage(Reason.BAD_HEADER, f"Window Center {centre}, Window Width {width} with {function}")
    if function == "LINEAR":
        if width == 1:
            return (values > centre - 0.5).astype(np.float64)
        return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if function == "SIGMOID":
        # exp of more than 700 overflows a double; the quotient is 0 or 1 to its last bit long before.
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    raise BrokenImage(Reason.BAD_HEADER, f"VOI LUT Function is none of {', '.join(_FUNCTIONS)}")


def _inverse(header: Dataset) -> bool:
    photometric = str(header.get("PhotometricInterpretation", "")).strip()
    return photometric == "MONOCHROME1" or str(header.get("PresentationLUTShape", "")).strip() == "INVERSE"


def _lut(values: Values, lut: Dataset, header: Dataset) -> tuple[Values, int]:
    """Look values up in a table of PS3.3 C.11.1.1.1; return what it says and the bits of its entries."""
    entries, first, bits = (int(value) for value in lut.LUTDescriptor)
    # 0 is 65536; read as signed, as all three are where the first value mapped is, more than 32767 is negative.
    entries = entries % (1 << 16) or 1 << 16
    data = _lut_data(lut, entries, bits, ">" if header.original_encoding[1] is False else "<")
    if not 8 <= bits <= 16 or len(data) < entries:
        detail = f"a LUT of {len(data)} entries and {bits} bits, expected {entries} and 8-16"
        raise BrokenImage(Reason.BAD_HEADER, detail)
    # The first value mapped has the sign of what goes in; read as unsigned, it is negative where that can be.
    if first >= 1 << 15 and values.min() < 0:
        first -= 1 << 16
    index = np.clip(np.floor(values + 0.5) - first, 0, entries - 1).astype(np.int64)
    return data[:entries].astype(np.float64)[index], bits


def _lut_data(lut: Dataset, entries: int, bits: int, order: str) -> npt.NDArray[np.uint16]:
    """Return LUT Data, which is US (numbers) or OW (bytes); entries of 8 bits may lie two to a word, low byte first."""
    data = lut["LUTData"].value
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")
    else:
        words = np.atleast_1d(np.asarray(data, dtype=np.int64) & 0xFFFF)
    if bits == 8 and entries > 1 and len(words) == -(-entries // 2):
        return words.astype("<u2").view(np.uint8).astype(np.uint16)
    return words.astype(np.uint16)


def _function(header: Dataset) -> str:
    return str(header.get("VOILUTFunction") or "LINEAR").strip()


def _count(value: object) -> int:
    """Return how many values an attribute has."""
    if value is None or value == "":
        return 0
    return 1 if isinstance(value, (str, int, float)) or not hasattr(value, "__len__") else len(value)


def _first(value: object) -> float | None:
    """Return the first of a multi-valued attribute's numbers."""
    if value is None or value == "":
        return None
    several = not isinstance(value, (str, int, float)) and hasattr(value, "__getitem__")
    if several and len(value) == 0:  # type: ignore[arg-type]
        return None
    return float(value[0] if several else value)  # type: ignore[index,arg-type]
