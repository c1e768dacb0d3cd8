"""Which breast and which view: code sequences first, then the plain attributes, else nothing. See docs/reading.md."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
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
_POSITION = "|".join(sorted(_POSITIONS))
# CID 4015 View Modifier for Mammography: SNOMED CT code, SRT code, the letters that stand before (M, S) or behind the
# view in its abbreviation (PS3.3 C.8.11.7), and DICOM's words for it.
_MODIFIER_TABLE = (
    ("399163009", "R-102D6", "M", "magnification"),
    ("399055006", "R-102D7", "S", "spot compression"),
    ("399209000", "R-102D5", "ID", "implant displaced"),
    ("399161006", "R-102D2", "CV", "cleavage"),
    ("399011000", "R-102D1", "AT", "axillary tail"),
    ("399197002", "R-102D3", "RL", "rolled lateral"),
    ("399226006", "R-102D4", "RM", "rolled medial"),
    ("414493004", "R-102CA", "RI", "rolled inferior"),
    ("415670009", "R-102C9", "RS", "rolled superior"),
    ("399110001", "R-102C2", "TAN", "tangential"),
    ("442581004", "R-40AB3", "NP", "nipple in profile"),
    ("441752004", "P2-00161", "AC", "anterior compression"),
    ("442593008", "R-40ABE", "IMF", "infra-mammary fold"),
    ("442580003", "R-40AB2", "AX", "axillary tissue"),
)
MAGNIFICATION, SPOT_COMPRESSION, IMPLANT_DISPLACED = "magnification", "spot compression", "implant displaced"
# Said elsewhere than in the view's code, and as good to know for whoever chooses images.
PARTIAL_VIEW, SYNTHETIC = "partial view", "synthetic"
_MODIFIERS: Mapping[str, str] = MappingProxyType(
    {code: words for sct, srt, _, words in _MODIFIER_TABLE for code in (sct, srt)}
)
_LETTERS: Mapping[str, str] = MappingProxyType({letters: words for _, _, letters, words in _MODIFIER_TABLE})
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
# Who gives these codes their meaning, SRT's older names too: in a maker's own scheme they may mean anything.
_SCHEMES = frozenset({"SCT", "SRT", "SNM3", "99SDM", ""})
# "RMLO", "L-CC", "R MLO": the side before the view. What is a view by itself (LM, LMO) is never split.
_SIDED = re.compile(rf"([LR])[ _-]?()({_POSITION})()")
# "RMCC", "SMLO", "CCID": with modifiers.
_BEHIND = "|".join(letters for letters in _LETTERS if len(letters) > 1)
_MODIFIED = re.compile(rf"([LR])?[ _-]?(M?S?|SM)({_POSITION})((?:[ _-]?(?:{_BEHIND}))*)")


def laterality_of(header: Dataset) -> str | None:
    """Return "L", "R", or None where the object does not say, or says both."""
    side = next(_sides(header), None)
    return side if side in ("L", "R") else None


def view_of(header: Dataset) -> str | None:
    """Return DICOM's abbreviation of the view, or None where the object names none that DICOM knows."""
    return next(_views(header), None)


def modifiers_of(header: Dataset) -> tuple[str, ...]:
    """Return the view's modifiers in DICOM's words, sorted, and whether it is a partial view or made of slices.

    They are inside the view's code, where they belong, beside it, where some put them, or in View Position.
    """
    holders = (header, *_items(header, "ViewCodeSequence"))
    items = (item for holder in holders for item in _items(holder, "ViewModifierCodeSequence"))
    found = {modifier for item in items if (modifier := _coded(item, _MODIFIERS))} | _position(header)[2]
    if _text(header, "PartialView") == "YES":
        found.add(PARTIAL_VIEW)
    if "GENERATED_2D" in image_type(header):
        found.add(SYNTHETIC)
    return tuple(sorted(found))


def contradictions_of(header: Dataset) -> tuple[str, ...]:
    """Return which of "laterality" and "view" the object answers in two ways; what is taken then is the first."""
    sides = {side for side in _sides(header) if side in ("L", "R")}
    views = set(_views(header))
    if views & {"XCCL", "XCCM"}:
        views.discard("XCC")
    return tuple(name for name, answers in (("laterality", sides), ("view", views)) if len(answers) > 1)


def image_type(header: Dataset) -> tuple[str, ...]:
    """Return Image Type's values in capitals."""
    value = header.get("ImageType") or ()
    return tuple(str(part).strip().upper() for part in ((value,) if isinstance(value, str) else value))


def _sides(header: Dataset) -> Iterator[str]:
    """Yield what each source says of the side, the one that counts first."""
    anatomy = [header, *_frame_anatomy(header)]
    for holder in anatomy:
        for region in _items(holder, "AnatomicRegionSequence"):
            for item in (*_items(region, "AnatomicRegionModifierSequence"), region):
                if side := _coded(item, _SIDES):
                    yield side
    for keyword in ("ImageLaterality", "FrameLaterality", "Laterality"):
        yield from filter(None, (_text(holder, keyword) for holder in anatomy))
    if side := _position(header)[0]:
        yield side


def _frame_anatomy(header: Dataset) -> Iterator[Dataset]:
    """Yield what a multi-frame object says of the anatomy of its frames, the first one's where each has its own."""
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in islice(_items(header, keyword), 1):
            yield from _items(group, "FrameAnatomySequence")


def _views(header: Dataset) -> Iterator[str]:
    for item in _items(header, "ViewCodeSequence"):
        if view := _coded(item, _VIEWS):
            yield view
    if view := _position(header)[1]:
        yield view


def _position(header: Dataset) -> tuple[str | None, str | None, set[str]]:
    """Return the side, view and modifiers that View Position names."""
    position = _text(header, "ViewPosition")
    if position in _POSITIONS:
        return None, position, set()
    found = _SIDED.fullmatch(position) or _MODIFIED.fullmatch(position)
    if found is None:
        return None, None, set()
    side, before, view, behind = found.groups()
    return side, view, {_LETTERS[letters] for letters in (*before, *re.findall(_BEHIND, behind))}


def _items(holder: Dataset, keyword: str) -> Iterator[Dataset]:
    yield from holder.get(keyword) or ()


def _coded(item: Dataset, table: Mapping[str, str]) -> str | None:
    return table.get(_text(item, "CodeValue")) if _text(item, "CodingSchemeDesignator") in _SCHEMES else None


def _text(holder: Dataset, keyword: str) -> str:
    return str(holder.get(keyword) or "").strip().upper()
