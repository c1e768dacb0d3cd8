import json

import pytest

from mammofast.errors import ProfilingError
from mammofast.profiling.record import Case, Record, read_record

CASE = Case(
    "nms, 100 boxes",
    "the usual number",
    {"mammofast": [0.001, 0.002, 0.003], "OpenCV": [0.004, 0.004, 0.004]},
    ours="mammofast",
    items=100,
    unit="boxes",
    facts={"iou": 0.45},
    warnings=("too short",),
)


def test_a_record_comes_back_as_it_was(tmp_path):
    record = Record("ops", "mammofast bench ops", {"cores": 2}, (CASE,))
    record.write(tmp_path / "new" / "record.json")
    assert read_record(tmp_path / "new" / "record.json") == record


def test_json_holds_statistics_throughput_and_ratios():
    content = CASE.as_dict()
    assert content["throughput_per_s"] == 50_000
    assert content["ratio_to_ours"] == {"OpenCV": 2.0}
    assert content["statistics_ms"]["mammofast"]["p90"] == 3


@pytest.mark.parametrize(
    "text, words",
    [("[]", "is not what"), ("{}", "KeyError"), ('{"format": 99}', "format 99"), ("nonsense", "is not what")],
)
def test_another_file_is_refused(tmp_path, text, words):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(ProfilingError, match=words):
        read_record(path)


@pytest.mark.parametrize(
    "samples, words", [({}, "KeyError"), ({"mammofast": []}, "not times"), ({"mammofast": [0.1, 0]}, "not times")]
)
def test_samples_that_cannot_be_judged_are_refused(tmp_path, samples, words):
    content = Record("ops", "", {}, (CASE,)).as_dict()
    content["cases"][0]["samples_s"] = samples
    (tmp_path / "record.json").write_text(json.dumps(content))
    with pytest.raises(ProfilingError, match=words):
        read_record(tmp_path / "record.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ProfilingError, match="No such file"):
        read_record(tmp_path / "none.json")


def test_json_is_json(tmp_path):
    path = tmp_path / "record.json"
    Record("ops", "", {}, (CASE,)).write(path)
    assert json.loads(path.read_text())["cases"][0]["case"] == "nms, 100 boxes"
