"""Breast DCE-MRI: MR objects gathered until they make a volume, phases by slices by rows by columns."""

from mammofast.archive.volumes.record import VolumeRecord
from mammofast.archive.volumes.store import ArchiveVolume

__all__ = ["ArchiveVolume", "VolumeRecord"]
