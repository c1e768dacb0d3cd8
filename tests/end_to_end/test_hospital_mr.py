"""Breast DCE-MRI from a PACS and back to it: what is written is read back equal, and nothing is stored twice."""

import pytest

from mammofast import open_archive, open_results
from mammofast.phantom.dce_mri.plan import plan_cases
from mammofast.phantom.dce_mri.studies import _write
from mammofast.phantom.plan import Purpose
from tests.archive.volumes.series import ENHANCED, MR
from tests.end_to_end.hospital import differences, held, night, store_as_modality
from tests.methods.volume_bundle import write_bundle
from tests.pacs.orthanc import Orthanc

FORMS = ("dicom-seg", "tid1500")


@pytest.fixture
def orthanc(tmp_path):
    server = Orthanc(tmp_path / "orthanc")
    yield server
    server.close()


def test_volumes_go_from_the_pacs_and_their_results_to_it(orthanc, tmp_path, elsewhere):
    phantoms = tmp_path / "phantoms"
    planned = plan_cases(4, 3, Purpose.STUDIES)
    for case in (planned[0], next(each for each in planned if each.protocol.enhanced)):
        _write(phantoms, case)
    one = {"shape": [80, 80], "contrast": "minmax", "over": "volume"}
    bundle = tmp_path / "bundle"
    write_bundle(
        bundle,
        region={**one, "channels": [{"phase": 0}]},
        detection={**one, "channels": [{"phase": 1, "minus": 0}]},
    )
    store_as_modality(orthanc, phantoms / "dicom")
    objects = len(list(phantoms.rglob("*.dcm")))
    options = {"forms": FORMS, "bundle": bundle, "modality": "MR", **elsewhere}
    said = night(orthanc, tmp_path, **options)
    assert (said["ingest"]["added"], said["ingest"]["volumes"]) == (objects, 2)
    assert {volume.record.sop_class_uid for volume in open_archive(tmp_path / "archive.zarr").volumes()} == {
        MR,
        ENHANCED,
    }
    assert {row["status"] for row in open_results(tmp_path / "results").images().to_pylist()} == {"done"}
    assert said["report"]["objects"] == {"dicom-seg": 2, "tid1500": 2}
    assert said["send"] == {**said["send"], "sent": 4, "present": 0, "failed": 0}
    assert differences(orthanc, tmp_path / "objects") == []
    after_one = held(orthanc)
    again = night(orthanc, tmp_path, **options)
    assert (again["ingest"]["added"], again["ingest"]["skipped"]) == (0, 0)
    assert (again["send"]["sent"], again["send"]["present"]) == (0, 4)
    assert held(orthanc) == after_one
