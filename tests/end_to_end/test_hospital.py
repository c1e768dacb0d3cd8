"""From a PACS and back to it: nothing is lost, nothing twice."""

import shutil

import pytest

from mammofast import open_results
from tests.end_to_end.hospital import FORMS, differences, held, night, store_as_modality
from tests.pacs.orthanc import Orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.close()


def findings(results):
    rows = open_results(results).findings().to_pylist()
    return sorted(
        (row["sop_uid"], row["x_min"], row["y_min"], row["x_max"], row["y_max"], row["score"]) for row in rows
    )


def test_a_night_and_the_next(demo, orthanc, tmp_path, elsewhere):
    """Studies stored by a DICOM client are fetched, screened and their results stored; a rerun stores nothing."""
    found = {row["study_uid"] for row in open_results(demo.results).findings().to_pylist()}
    first_study, second_study = sorted((demo.out / "dicom").iterdir(), key=lambda folder: folder.name not in found)
    store_as_modality(orthanc, first_study)
    images = len(list(first_study.iterdir()))
    said = night(orthanc, tmp_path, **elsewhere)
    assert said["ingest"]["added"] == images
    objects = sorted((tmp_path / "objects").rglob("*.dcm"))
    assert {kind for kind, count in said["report"]["objects"].items() if count} == set(FORMS)
    assert (said["send"]["sent"], said["send"]["failed"]) == (len(objects), 0)
    after_one = held(orthanc)
    assert after_one[1] == images + len(objects)
    assert differences(orthanc, tmp_path / "objects") == []
    # The same night again, with what it made and without: all is known, nothing is stored twice.
    for forgotten in ((), ("objects",), ("archive.zarr", "results", "objects")):
        for name in forgotten:
            shutil.rmtree(tmp_path / name)
        again = night(orthanc, tmp_path, **elsewhere)
        assert again["ingest"]["added"] == (images if "archive.zarr" in forgotten else 0)
        assert again["ingest"]["skipped"] == 0, "our own objects are no mammograms to look at"
        assert (again["send"]["sent"], again["send"]["present"]) == (0, len(objects))
        assert held(orthanc) == after_one
    # The next night has one more study.
    store_as_modality(orthanc, second_study)
    said = night(orthanc, tmp_path, **elsewhere)
    assert said["ingest"]["added"] == len(list(second_study.iterdir()))
    assert said["send"]["present"] == len(objects)
    assert differences(orthanc, tmp_path / "objects") == []
    # By way of the PACS the findings are those of the folder the studies came from.
    assert findings(tmp_path / "results") == findings(demo.results)
