"""The archive: DICOM objects decoded once, kept as plain Zarr v3, read by window and level."""

from mammofast.archive.ingest import IngestReport, ingest
from mammofast.archive.record import ImageRecord, SkippedRecord
from mammofast.archive.store import Archive, ArchiveImage, open_archive

__all__ = ["Archive", "ArchiveImage", "ImageRecord", "IngestReport", "SkippedRecord", "ingest", "open_archive"]
