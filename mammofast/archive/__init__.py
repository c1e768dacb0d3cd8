"""The archive: DICOM objects decoded once, kept as plain Zarr v3, read by window and level."""

from mammofast.archive.counts import IngestReport
from mammofast.archive.ingest import ingest
from mammofast.archive.record import ImageRecord, SkippedRecord
from mammofast.archive.store import Archive, ArchiveImage, Unit, open_archive
from mammofast.archive.volumes import ArchiveVolume, VolumeRecord

__all__ = [
    "Archive",
    "ArchiveImage",
    "ArchiveVolume",
    "ImageRecord",
    "IngestReport",
    "SkippedRecord",
    "Unit",
    "VolumeRecord",
    "ingest",
    "open_archive",
]
