"""DICOMweb: studies found and fetched, results stored."""

from mammofast.pacs import need

need("requests")

from mammofast.pacs.dicomweb.source import DicomWeb  # noqa: E402
from mammofast.pacs.dicomweb.store import store  # noqa: E402

__all__ = ["DicomWeb", "store"]
