"""A ledger written by hand, and its truth."""

from types import SimpleNamespace

import imagecodecs
import pytest

from mammofast.records import ImageResult
from mammofast.screening import Results
from mammofast.screening.entry import Entry
from tests.evaluation.by_hand import RUN, SHAPE, finding, info, truth_of


@pytest.fixture
def ledger(tmp_path):
    results = Results.create_or_open(tmp_path / "results", SimpleNamespace(archive_id="a" * 32, path=tmp_path / "a"))
    results.start(RUN, {"notice": "For tests."})
    return results


@pytest.fixture
def record(ledger, tmp_path):
    (tmp_path / "truth").mkdir()

    def record(number, findings, masses, study=1, run=RUN, error=None):
        result = ImageResult(SHAPE, tuple(finding(*f) for f in findings), error)
        ledger.record(Entry.of(info(number, study), run, result))
        if masses is not None:
            png = imagecodecs.png_encode(truth_of(*masses))
            (tmp_path / "truth" / f"1.2.{number}.png").write_bytes(png)

    return record


@pytest.fixture
def filled(record):
    record(1, [((10, 10, 20, 20), 0.9), ((30, 30, 40, 40), 0.4)], [(10, 10, 20, 20)], study=1)  # found, 1 false
    record(2, [((0, 0, 10, 10), 0.8)], [(0, 0, 10, 20), (30, 30, 40, 40)], study=1)  # one of two, exactly 0.5
    record(3, [], [(5, 5, 15, 15)], study=2)  # missed
    record(4, [((1, 1, 5, 5), 0.7)], [], study=2)  # no mass, 1 false
    record(5, [], None, study=3)  # no truth
