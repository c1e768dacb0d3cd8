"""Which breast and which view: code sequences first, then the plain attributes, else nothing."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydicom import Dataset

# PS3.16 CID 4014 View for Mammography: SNOMED CT code, the SRT code it replaced (PS3.16 annex O) and the
# abbreviation that View Position uses (PS3.3 C.8.11.7.1, table C.8-75a).
_VIEWS: Mapping[str, str] = MappingProxyType(
    {
        "399260004": "ML",
        "R-10224": "ML",
        "399368009": "MLO",
        "R-10226": "MLO",
        "399352003": "LM",
        "R-10228": "LM",
        "399099002": "LMO",
        "R-10230": "LMO",
        "399162004": "CC",
        "R-10242": "CC",
        "399196006": "FB",
        "R-10244": "FB",
        "399188001": "SIO",
        "R-102D0": "SIO",
        "441555000": "ISO",
        "R-40AAA": "ISO",
        "399192008": "XCCL",
        "R-1024A": "XCCL",
        "399101009": "XCCM",
        "R-1024B": "XCCM",
        "127457009": "SPECIMEN",
        "G-8310": "SPECIMEN",
    }
)
_POSITIONS = frozenset(_VIEWS.values()) | {"XCC"}
# CID 4015 View Modifier for Mammography, as far as it decides anything here.
_MODIFIERS: Mapping[str, str] = MappingProxyType({"399163009": "MAGNIFICATION", "R-102D6": "MAGNIFICATION"})
# CID 244 Laterality, and the codes that name one breast.
_SIDES: Mapping[str, str] = MappingProxyType(
    {
        "7771000": "L",
        "G-A101": "L",
        "80248007": "L",
        "T-04030": "L",
        "24028007": "R",
        "G-A100": "R",
        "73056007": "R",
        "T-04020": "R",
    }
)
# "RMLO", "L-CC", "R MLO": the side before the view. What is a view by itself (LM, LMO) is never split.
_SIDED = re.compile(r"([LR])[ _-]?(\w+)")


def laterality_of(header: Dataset) -> str | None:
    """Return "L", "R", or None where the object does not say, or says both."""
    for region in _items(header, "AnatomicRegionSequence"):
        for item in (*_items(region, "AnatomicRegionModifierSequence"), region):
            side = _coded(item, _SIDES)
            if side:
                return side
    for keyword in ("ImageLaterality", "Laterality"):
        value = _text(header, keyword)
        if value:
            return value if value in ("L", "R") else None
    return _position(header)[0]


def view_of(header: Dataset) -> str | None:
    """Return DICOM's abbreviation of the view, or None where the object names none that DICOM knows."""
    for item in _items(header, "ViewCodeSequence"):
        view = _coded(item, _VIEWS)
        if view:
            return view
    return _position(header)[1]


def modifiers_of(header: Dataset) -> set[str]:
    """Return the view's modifiers, inside the view's code where they belong and beside it where some put them."""
    holders = (header, *_items(header, "ViewCodeSequence"))
    items = (item for holder in holders for item in _items(holder, "ViewModifierCodeSequence"))
    return {modifier for item in items if (modifier := _coded(item, _MODIFIERS))}


def _position(header: Dataset) -> tuple[str | None, str | None]:
    position = _text(header, "ViewPosition")
    if position in _POSITIONS:
        return None, position
    sided = _SIDED.fullmatch(position)
    if sided and sided[2] in _POSITIONS:
        return sided[1], sided[2]
    return None, None


def _items(holder: Dataset, keyword: str) -> Iterator[Dataset]:
    yield from holder.get(keyword) or ()


def _coded(item: Dataset, table: Mapping[str, str]) -> str | None:
    return table.get(_text(item, "CodeValue"))


def _text(holder: Dataset, keyword: str) -> str:
    return str(holder.get(keyword) or "").strip().upper()
