"""A data set's images as files to ingest: these and no others, with what the data set says of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from mammofast.archive.mammogram import Stated
from mammofast.archive.sources import SourceFile, find_files
from mammofast.datasets.record import Dataset


class DatasetFiles:
    """A data set of DICOM objects as a source of ``mammofast.archive.ingest.ingest``; masks and crops stay outside."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def files(self, archive: Path, opened: Callable[[str], None]) -> Iterator[SourceFile]:
        """Yield the images' files, in the data set's order."""
        for sample in self._data:
            for file in find_files(sample.image, exclude=archive, opened=opened):
                yield replace(file, stated=Stated(sample.laterality, sample.view))
