"""To and from a PACS: DICOMweb (PS3.18) and DIMSE (PS3.4, PS3.7). Needs the extra ``[pacs]``.

dicomweb/   QIDO-RS and WADO-RS as a source of ingest, STOW-RS to send results
dimse/      C-STORE: a Storage SCU to send results, a Storage SCP that receives images
"""

from importlib.util import find_spec


def is_url(text: str) -> bool:
    """Say whether a source or destination is a URL, and not a path or an application entity."""
    return text.lower().startswith(("http://", "https://"))


def need(library: str) -> None:
    """Raise ImportError that says what to install, where a library is missing."""
    if find_spec(library) is None:
        raise ImportError(f'{library} is not installed, and a PACS needs it: pip install "mammofast[pacs]"')
