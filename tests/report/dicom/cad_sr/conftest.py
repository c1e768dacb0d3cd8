"""Reports out of a real archive and a real ledger, read back from what was written."""

import pytest
from pydicom import dcmread

from mammofast.records import ImageResult
from mammofast.report.dicom.cad_sr import cad_sr
from tests.report.dicom.cad_sr.template_rows import errors
from tests.report.dicom.conftest import SUMMARY, some_findings


class Report:
    """A written report, and the study that it was made from."""

    def __init__(self, study, path):
        self.study, self.path = study, path
        cad_sr(study).save_as(path, enforce_file_format=True)
        self.dataset = dcmread(path)
        self.headers = {image.sop_uid: image.header for image in study.images}

    def errors(self):
        return errors(self.dataset, self.headers)

    def items(self, code, root=None):
        """Every item of a concept, in the tree's order."""
        for item in (root or self.dataset).get("ContentSequence", []):
            names = item.get("ConceptNameCodeSequence")
            if names and names[0].CodeValue == code:
                yield item
            yield from self.items(code, item)

    def value(self, code):
        """The code value of the one item of a concept."""
        (item,) = self.items(code)
        return item.ConceptCodeSequence[0].CodeValue

    @property
    def description(self):
        (item,) = self.items("111033")
        return item.TextValue.split("\r\n")


@pytest.fixture
def report(night, tmp_path):
    """``report(images, outcome)``: the report on one study; ``outcome``: a number of findings, or see ``Night``."""

    def report(images, outcome=0, summary=SUMMARY):
        def found(record):
            shape = (record.rows, record.cols)
            return ImageResult(shape, some_findings(outcome, shape))

        (study,) = night.screen(images, found if isinstance(outcome, int) else outcome, summary=summary)
        return Report(study, tmp_path / "report.dcm")

    return report
