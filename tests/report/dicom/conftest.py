"""A study's results as the writers get them, out of a real archive and a real ledger."""

import numpy as np
import pytest
from pydicom import config

from mammofast.archive import ingest, open_archive
from mammofast.records import Finding, ImageResult
from mammofast.report.dicom.study import studies
from mammofast.screening import Results
from mammofast.screening.entry import Entry, ImageInfo, Run

RUN = Run("b" * 64, "c" * 64)
SUMMARY = {"name": "demo", "method": "two_stage", "notice": "Not for diagnosis."}


def ellipse(rows, cols):
    """A bool mask of an ellipse that touches its box's sides."""
    y, x = np.mgrid[:rows, :cols]
    return ((y - (rows - 1) / 2) / (rows / 2)) ** 2 + ((x - (cols - 1) / 2) / (cols / 2)) ** 2 <= 1


def some_findings(number, shape):
    """Return so many findings of different sizes inside an image."""
    rng = np.random.default_rng(number)
    found = []
    for k in range(number):
        rows, cols = (int(n) for n in rng.integers(3, 20, 2))
        y, x = int(rng.integers(0, shape[0] - rows)), int(rng.integers(0, shape[1] - cols))
        box = (x, y, x + cols, y + rows)
        found.append(Finding(box, 1 - k / 16, 0.9 - k / 16, ellipse(rows, cols)))
    return tuple(found)


class Night:
    """An archive of given mammograms and MR objects and the ledger of a run over them."""

    def __init__(self, folder):
        self.folder = folder
        self.results = None

    def screen(self, images, outcome, run=RUN, summary=SUMMARY):
        """Ingest data sets and record ``outcome(record)``: a result, or None where the run did not come to it."""
        (self.folder / "dicom").mkdir(exist_ok=True)
        for number, ds in enumerate(images):
            with config.disable_value_validation():
                ds.save_as(self.folder / "dicom" / f"{number}.dcm", enforce_file_format=True)
        ingest([self.folder / "dicom"], self.folder / "archive.zarr", workers=1)
        self.archive = open_archive(self.folder / "archive.zarr")
        self.record(outcome, run, summary)
        return self.studies(run)

    def record(self, outcome, run=RUN, summary=SUMMARY):
        self.results = Results.create_or_open(self.folder / "results", self.archive)
        self.results.start(run, summary)
        for image in (*self.archive.images(), *self.archive.volumes()):
            result = outcome(image.record)
            if result is not None:
                self.results.record(Entry.of(ImageInfo.of(image.record), run, result))
        for skipped in self.archive.skipped():
            self.results.record_file(Entry(ImageInfo.of_file(skipped), run, skipped.status, skipped.reason))

    def studies(self, run=RUN):
        return list(studies(self.results, self.archive, run))


@pytest.fixture
def night(tmp_path):
    return Night(tmp_path)


@pytest.fixture
def study(night):
    """``study(images, n)``: one study's results, n findings in each image."""

    def study(images, number):
        def outcome(record):
            shape = (record.rows, record.cols)
            return ImageResult(shape, some_findings(number, shape))

        (found,) = night.screen(images, outcome)
        return found

    return study
