"""What a run was made with, as its results say it."""

import numpy as np
import onnxruntime

import mammofast
from mammofast import open_results
from mammofast.screening import run as run_module
from mammofast.screening import screen
from mammofast.screening.software import software_versions

EXPECTED = {"mammofast": mammofast.__version__, "numpy": np.__version__, "onnxruntime": onnxruntime.__version__}


def test_versions_are_those_that_the_packages_name():
    assert software_versions(["onnxruntime", "onnxruntime"]) == EXPECTED
    assert software_versions(["made-by-hand"])["made-by-hand"] == "unknown"


def test_a_run_says_what_made_its_results_and_only_that(new_archive, bundle, tmp_path, monkeypatch):
    archive, results = new_archive(2), tmp_path / "results"
    screen(archive, results, bundle, workers=1)
    before = open_results(results).runs()
    assert [run["versions"] for run in before] == [[EXPECTED]]
    newer = EXPECTED | {"numpy": "999.0"}
    monkeypatch.setattr(run_module, "software_versions", lambda backends: newer)
    screen(archive, results, bundle, workers=1)  # nothing to do: nothing was made
    assert open_results(results).runs() == before
    next(results.glob("images/*/*")).unlink()
    screen(archive, results, bundle, workers=1)
    (after,) = open_results(results).runs()
    assert after["versions"] == [EXPECTED, newer]
    assert (after["bundle_id"], after["settings_id"]) == (before[0]["bundle_id"], before[0]["settings_id"])
    assert len(set(open_results(results).images()["bundle_id"].to_pylist())) == 1
