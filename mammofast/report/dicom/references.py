"""How an object names the others it rests on."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom import Dataset

from mammofast.report.dicom.context import text_of
from mammofast.report.dicom.study import StudyImage


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance of the same study."""

    series_uid: str
    sop_class_uid: str
    sop_uid: str

    @classmethod
    def to_image(cls, image: StudyImage) -> "Reference":
        """Name a source image."""
        return cls(image.source.record.series_uid, text_of(image.header, "SOPClassUID"), image.sop_uid)

    @classmethod
    def to_object(cls, dataset: Dataset) -> "Reference":
        """Name an object that was just made."""
        return cls(str(dataset.SeriesInstanceUID), str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))

    @property
    def item(self) -> Dataset:
        """SOP Instance Reference (PS3.3 10.8)."""
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.sop_class_uid, self.sop_uid
        return item


def evidence(study_uid: str, references: Iterable[Reference]) -> list[Dataset]:
    """Return Current Requested Procedure Evidence Sequence (0040,A375) of instances of one study (PS3.3 C.17.2.1).

    Without it viewers do not open a report.
    """
    by_series: dict[str, list[Dataset]] = defaultdict(list)
    for reference in references:
        by_series[reference.series_uid].append(reference.item)
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = []
    for series_uid, items in sorted(by_series.items()):
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = series_uid, items
        study.ReferencedSeriesSequence.append(series)
    return [study]
