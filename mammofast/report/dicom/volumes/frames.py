"""Which frames of the source images a volume's objects lie on."""

from collections.abc import Iterable

from pydicom import Dataset

from mammofast.report.dicom.references import Reference
from mammofast.report.dicom.study import StudyVolume


def frame_references(volume: StudyVolume) -> list[tuple[Reference, int | None]]:
    """Return of every slice the instance and its frame, counted from 1; None where the instance is the slice."""
    objects = volume.source.objects
    found = []
    for index in range(volume.source.record.slices):
        each, frame = objects.frame(volume.phase, index)
        found.append((Reference(each.series_uid, each.sop_class_uid, each.sop_uid), frame.number))
    return found


def source_instances(volume: StudyVolume) -> list[Reference]:
    """Return the instances that hold the phase that the objects lie on."""
    return list(dict.fromkeys(reference for reference, _ in frame_references(volume)))


def referenced_series(instances: Iterable[Reference]) -> list[Dataset]:
    """Return Referenced Series Sequence (PS3.3 C.12.2): instances of the same study, series by series."""
    found: dict[str, Dataset] = {}
    for instance in instances:
        series = found.setdefault(instance.series_uid, Dataset())
        series.SeriesInstanceUID = instance.series_uid
        if "ReferencedInstanceSequence" not in series:
            series.ReferencedInstanceSequence = []
        series.ReferencedInstanceSequence.append(instance.item)
    return list(found.values())
