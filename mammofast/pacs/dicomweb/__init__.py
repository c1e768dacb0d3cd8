"""DICOMweb: studies found and fetched, results stored."""

from mammofast.pacs.dicomweb.source import DicomWeb
from mammofast.pacs.dicomweb.store import store

__all__ = ["DicomWeb", "store"]
