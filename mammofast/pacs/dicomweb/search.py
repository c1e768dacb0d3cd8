"""QIDO-RS (PS3.18 10.6): which studies a server has with images of a modality, and which series and instances."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from mammofast.archive.mammogram import uid
from mammofast.errors import PacsError
from mammofast.pacs.dicomweb.failures import HttpError
from mammofast.pacs.dicomweb.server import Server

# What a page is asked to hold; servers may give less.
_PAGE = 500
_NOT_FOUND = 404
_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITY, _BODY_PART, _RELATED_INSTANCES = "00080060", "00180015", "00201208"

# Mammography, and what its modality is cut off to: ingest looks at more than this word.
_TAKEN = {"MG": ("MG", "M", ""), "MR": ("MR",)}

Query = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Study:
    """A study that a server has. instances: Number of Study Related Instances, where the server says it."""

    uid: str
    instances: int | None


@dataclass(frozen=True, slots=True)
class Series:
    """A series that a server has. body_part: Body Part Examined; empty where the server does not say it."""

    study_uid: str
    uid: str
    body_part: str


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that a server has. sop_class_uid: where the server says it."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str | None


def find_studies(server: Server, filters: Query, modality: str) -> Iterator[Study]:
    """Yield studies with images of a modality that match QIDO-RS filters, each once.

    Raises
    ------
    PacsError
        When the server cannot be asked, or does not answer with a list of studies.

    """
    query = list(filters)
    if not {"StudyInstanceUID", _STUDY} & {name for name, _ in query}:
        query.append(("ModalitiesInStudy", modality))
    for item in _pages(server, "/studies", query, _STUDY):
        yield Study(_uid(item, _STUDY, "study"), _integer(item, _RELATED_INSTANCES))


def find_series(server: Server, study_uid: str, modality: str) -> Iterator[Series]:
    """Yield a study's series of a modality, each once.

    Raises
    ------
    PacsError
        When the server cannot be asked, or does not answer with a list of series.

    """
    asked = (("includefield", _BODY_PART),)
    for item in _pages(server, f"/studies/{study_uid}/series", asked, _SERIES):
        if str(_value(item, _MODALITY) or "").strip() in _TAKEN[modality]:
            yield Series(study_uid, _uid(item, _SERIES, "series"), str(_value(item, _BODY_PART) or ""))


def find_instances(server: Server, series: Series) -> Iterator[Instance]:
    """Yield the instances of a series, each once.

    Raises
    ------
    PacsError
        When the server cannot be asked, or does not answer with a list of instances.

    """
    for item in _pages(server, f"/studies/{series.study_uid}/series/{series.uid}/instances", (), _INSTANCE):
        sop_class = Dataset()
        sop_class.SOPClassUID = str(_value(item, _CLASS) or "")
        sop_uid = _uid(item, _INSTANCE, "instance")
        yield Instance(series.study_uid, series.uid, sop_uid, uid(sop_class, "SOPClassUID"))


def held_instances(server: Server, study_uid: str) -> set[str]:
    """Return the SOP Instance UIDs of all that a server has of a study; none where it says 404, it does not know it."""
    found = _pages(server, f"/studies/{study_uid}/instances", (), _INSTANCE)
    try:
        return {_uid(item, _INSTANCE, "instance") for item in found}
    except HttpError as error:
        if error.status != _NOT_FOUND:
            raise
        return set()


def _pages(server: Server, path: str, query: Query, key: str) -> Iterator[dict[str, Any]]:
    """Yield the matches of all pages, until one brings nothing new.

    A short page is no end: servers cap pages below what they are asked for. A page of what is known already is one:
    there are servers that ignore ``offset``.
    """
    seen: set[str] = set()
    received = 0
    while True:
        page = server.get_json(path, [*query, ("limit", str(_PAGE)), ("offset", str(received))])
        if page is None:
            return
        if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
            raise PacsError("the server's answer to a search is not a list of matches")
        received += len(page)
        new = {str(_value(item, key)): item for item in page if str(_value(item, key)) not in seen}
        if not new:
            return
        seen.update(new)
        yield from new.values()


def _value(item: dict[str, Any], tag: str) -> Any:
    """Return an attribute's only or first value, if there is one."""
    try:
        return item[tag]["Value"][0]
    except (LookupError, TypeError):
        return None


def _uid(item: dict[str, Any], tag: str, what: str) -> str:
    holder = Dataset()
    holder.SOPInstanceUID = str(_value(item, tag) or "")
    found = uid(holder, "SOPInstanceUID")
    if found is None:
        # It becomes part of a URL, and a folder's name.
        raise PacsError(f"the server lists a {what} without a UID, or with what is none")
    return found


def _integer(item: dict[str, Any], tag: str) -> int | None:
    try:
        return int(_value(item, tag))
    except (TypeError, ValueError):
        return None
