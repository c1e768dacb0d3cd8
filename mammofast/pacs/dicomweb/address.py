"""A DICOMweb URL as people write it: the server's root, and what is searched for."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_STUDIES = re.compile(r"/studies(?:/(?P<study>[0-9.]{1,64}))?$")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """root: what all requests begin with. filters: QIDO-RS filters as (attribute, value); may name a patient."""

    root: str
    filters: tuple[tuple[str, str], ...] = ()


def parse_url(url: str) -> Address:
    """Read scheme://host[:port]/root, with ?filters behind it, or /studies/UID.

    Raises
    ------
    ValueError
        When it is something else, or holds a user or password; the message does not repeat it.

    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "the URL holds a user or password, which others can read in a list of processes; "
            "set MAMMOFAST_PACS_USER and MAMMOFAST_PACS_PASSWORD, or use .netrc"
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host or parts.fragment:
        raise ValueError("got what is no DICOMweb URL, expected such as https://pacs:8443/dicom-web")
    path = parts.path.rstrip("/")
    filters = parse_qsl(parts.query, keep_blank_values=True)
    if {"limit", "offset"} & {name for name, _ in filters}:
        raise ValueError("the URL holds limit or offset; leave them out, all pages are read")
    if {"ModalitiesInStudy", "00080061"} & {name for name, _ in filters}:
        raise ValueError("the URL holds ModalitiesInStudy; leave it out, and say MG or MR as the modality to fetch")
    if (studies := _STUDIES.search(path)) is not None:
        path = path[: studies.start()]
        if studies["study"]:
            filters.append(("StudyInstanceUID", studies["study"]))
    # One spelling for one server: it is what its watermark is kept under.
    shown = f"[{host}]" if ":" in host else host
    place = shown if port in (None, _PORTS[scheme]) else f"{shown}:{port}"
    return Address(f"{scheme}://{place}{path}", tuple(filters))
