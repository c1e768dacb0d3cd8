"""Content items of a structured report: highdicom's, with children, and by-reference relationships, which it lacks."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    DateContentItem,
    ImageContentItem,
    NumContentItem,
    ScoordContentItem,
    TextContentItem,
    TimeContentItem,
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.coding import Code

# Relationship types that the templates of CAD use (PS3.3 C.17.3.2.4).
CONTAINS = "CONTAINS"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_PROPERTIES = "HAS PROPERTIES"
INFERRED_FROM = "INFERRED FROM"
SELECTED_FROM = "SELECTED FROM"

# Of an item: 1 is the root, each further number counts among the children of the item so far, from 1.
Position = tuple[int, ...]


def container(
    relationship: str | None, name: Code, children: Iterable[Dataset], template: str | None = None
) -> Dataset:
    """Return a CONTAINER; ``relationship`` is None for the root, ``template`` the TID it was made by."""
    item = ContainerContentItem(name, is_content_continuous=False, template_id=template, relationship_type=relationship)
    return _with(item, children)


def code(relationship: str, name: Code, value: Code, children: Iterable[Dataset] = ()) -> Dataset:
    """Return a CODE."""
    return _with(CodeContentItem(name, value, relationship_type=relationship), children)


def text(relationship: str, name: Code, value: str) -> Dataset:
    """Return a TEXT."""
    return TextContentItem(name, value, relationship_type=relationship)


def num(relationship: str, name: Code, value: float, unit: Code, children: Iterable[Dataset] = ()) -> Dataset:
    """Return a NUM."""
    item = NumContentItem(name, value, unit, relationship_type=relationship)
    item.MeasuredValueSequence[0].NumericValue = f"{value:.10g}"  # highdicom writes 1 as 1.0, and 0.3 in 16 digits
    return _with(item, children)


def date(relationship: str, name: Code, value: str) -> Dataset:
    """Return a DATE; ``value`` as in an attribute of VR DA."""
    return DateContentItem(name, value, relationship_type=relationship)


def time(relationship: str, name: Code, value: str) -> Dataset:
    """Return a TIME; ``value`` as in an attribute of VR TM."""
    return TimeContentItem(name, value, relationship_type=relationship)


def uidref(relationship: str, name: Code, value: str) -> Dataset:
    """Return a UIDREF."""
    return UIDRefContentItem(name, value, relationship_type=relationship)


def scoord(
    relationship: str, name: Code, kind: str, points: npt.NDArray[np.float64], children: Iterable[Dataset]
) -> Dataset:
    """Return an SCOORD.

    kind: "POINT" or "POLYLINE". points: (n, 2) of (column, row), the origin at the outer corner of the first pixel
    (PS3.3 C.18.6), as everywhere here.
    """
    return _with(
        ScoordContentItem(name, kind, np.asarray(points, np.float32), relationship_type=relationship), children
    )


def image(relationship: str, sop_class: str, sop_uid: str, children: Iterable[Dataset] = ()) -> Dataset:
    """Return an IMAGE without a name, as an Image Library lists them."""
    item = ImageContentItem(Code("260753009", "SCT", "Source"), sop_class, sop_uid, relationship_type=relationship)
    del item.ConceptNameCodeSequence  # highdicom wants one
    return _with(item, children)


def reference(relationship: str, position: Position) -> Dataset:
    """Return a by-reference relationship to the item at a position."""
    item = Dataset()
    item.RelationshipType = relationship
    item.ReferencedContentItemIdentifier = list(position)
    return item


def _with(item: Dataset, children: Iterable[Dataset]) -> Dataset:
    """Give an item its children, past highdicom's own kind of sequence: that one takes no item without a name."""
    items = list(children)
    if items:
        item.add_new("ContentSequence", "SQ", items)
    return item
