"""What is said of studies, and of calls of ``screen``."""

import contextlib
import json
import random
from datetime import datetime

import numpy as np
import pytest

from mammofast import open_archive, open_results
from mammofast.objects import place
from mammofast.screening import screen
from mammofast.screening.study_log import StudyLog, lines_to
from mammofast.screening.timing import _KEPT, Stopwatch, timed


@pytest.fixture
def said():
    return []


@pytest.fixture
def log(said):
    return StudyLog(said.extend)


def lines(results):
    return [json.loads(line) for path in results.glob("logs/*.jsonl") for line in path.read_text().splitlines()]


def test_a_study_is_said_once_all_of_it_is_on_record(log, said):
    log.begin("1", {"1.1": None, "1.2": "done", "1.3": None, "1.4": "failed", "1.5": "done"})
    log.begin("2", {"2.1": None})
    log.recorded("1", "1.3", "failed", "read: array 0 cannot be read", 0.25)
    log.flush()
    assert said == []
    log.recorded("2", "2.1", "done", None, 1.0)
    log.recorded("1", "1.1", "skipped", "presentation-intent: words", None)
    log.flush()
    log.flush()
    assert [line["study_uid"] for line in said] == ["2", "1"]
    line = said[1]
    assert (line["done"], line["skipped"], line["failed"], line["already"]) == (2, 1, 2, 3)
    assert line["images"] == {
        "1.1": "skipped: presentation-intent",
        "1.2": "done",
        "1.3": "failed: read",
        "1.4": "failed",
        "1.5": "done",
    }
    assert line["worker_seconds"] == 0.25
    assert line["seconds"] >= 0
    assert datetime.fromisoformat(line["time"]).utcoffset() is not None


def test_a_study_of_which_nothing_is_left_to_do_is_not_said_and_not_remembered(log, said):
    log.begin("1", {"1.1": "done"})
    log.flush()
    assert (said, log._studies) == ([], {})
    log.begin("2", {"2.1": None})
    log.recorded("2", "2.1", "done", None, None)
    log.flush()
    assert log._studies == {}


def test_a_study_that_comes_twice_is_said_once_or_for_each_of_its_parts(log, said):
    log.begin("1", {"1.1": None, "1.2": "done"})
    log.begin("1", {"1.3": None, "1.4": "failed"})
    log.recorded("1", "1.3", "done", None, None)
    log.flush()
    assert said == []
    log.recorded("1", "1.1", "failed", "read: gone", None)
    log.begin("1", {"1.5": None})
    log.recorded("1", "1.5", "skipped", "view: no", None)
    log.flush()
    assert [(line["done"], line["skipped"], line["failed"], line["already"]) for line in said] == [
        (2, 0, 2, 2),
        (0, 1, 0, 0),
    ]
    assert list(said[0]["images"]) == ["1.1", "1.2", "1.3", "1.4"]


def test_lines_go_to_a_file_whose_folder_is_made_or_to_standard_error(tmp_path, capfd):
    path = tmp_path / "new" / "log.jsonl"
    say = lines_to(path)
    say([{"a": 1}])
    say([{"b": "é"}, {"c": 2}])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"b": "é"}, {"c": 2}]
    lines_to("-")([{"c": 3}])
    assert capfd.readouterr().err == '{"c": 3}\n'


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines_to(place("s3://bucket/logs/log.jsonl"))([{"a": 1}])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    lines_to(tmp_path / "file" / "log.jsonl")([{"a": 1}])
    lines_to(tmp_path)([{"a": 1}])


def test_a_run_leaves_a_line_for_each_study_and_what_it_ran_with(archive, bundle, tmp_path):
    results = tmp_path / "results"
    screen(archive, results, bundle, workers=1)
    expected = {
        study: {image.record.sop_uid: "done" for image in images}
        for study, images in open_archive(archive).studies().items()
    }
    assert {line["study_uid"]: line["images"] for line in lines(results)} == expected
    assert {(line["done"], line["failed"], line["already"]) for line in lines(results)} == {(2, 0, 0)}
    assert all(line["worker_seconds"] > 0 for line in lines(results))
    (run,) = open_results(results).runs()
    (call,) = run["timings"]
    assert call["counts"] == {"done": 6, "skipped": 0, "failed": 0, "already": 0, "left_out": 0}
    assert (call["exit_status"], call["stopped"], call["device"], call["images_per_task"]) == (0, None, "cpu", 4)
    assert call["archive_id"] == open_archive(archive).archive_id
    assert call["machine"]["cores"] >= 1
    assert {"mammofast", "numpy", "onnxruntime", "python", "distributed"} <= call["versions"].keys()
    # The next run does what is missing, and says so of its study only.
    gone = next(results.glob("images/*/1.2.2.*"))
    gone.unlink()
    screen(archive, results, bundle, workers=1, log=tmp_path / "mine.jsonl")
    (line,) = map(json.loads, (tmp_path / "mine.jsonl").read_text().splitlines())
    assert (line["study_uid"], line["done"], line["already"]) == ("1.2.2", 2, 1)
    assert len(lines(results)) == 3


def test_nothing_but_uids_is_in_the_log(new_archive, bundle, tmp_path):
    screen(new_archive(2), tmp_path / "results", bundle, workers=1)
    (log,) = (tmp_path / "results" / "logs").iterdir()
    assert not any(word in log.read_text() for word in ("Doe", "SECRET"))


@pytest.mark.parametrize(
    ("stopped", "failed", "status"),
    [(None, 0, 0), (None, 2, 3), ("time is up", 0, 0), ("interrupted", 0, 1), ("interrupted", 2, 1)],
)
def test_the_exit_status_that_is_kept(stopped, failed, status):
    watch = Stopwatch(1, counts=lambda: {"failed": failed})
    assert watch.as_dict()["exit_status"] is None
    watch.stopped = stopped
    watch.end()
    assert watch.as_dict()["exit_status"] == status


def test_a_run_that_breaks_off_is_kept_with_what_there_was(archive):
    kept = {}
    counts = {"done": 0}
    with (
        contextlib.suppress(ZeroDivisionError),
        timed(kept.__setitem__, 1, "name", {"device": "cpu"}, lambda: counts) as watch,
    ):
        assert kept["name"]["counts"] == {"done": 0}
        watch.add([1.0])
        counts["done"] = 1
        raise ZeroDivisionError
    call = kept["name"]
    assert (call["stopped"], call["exit_status"], call["counts"]) == ("ZeroDivisionError", 1, {"done": 1})
    assert (call["device"], call["images"]) == ("cpu", 1)


def test_percentiles_of_many_images_are_of_a_fair_sample_of_them():
    watch = Stopwatch(1)
    seconds = [number / 1e6 for number in range(4 * _KEPT)]
    random.Random(1).shuffle(seconds)
    for value in sorted(seconds[: 2 * _KEPT]) + seconds[2 * _KEPT :]:
        watch.add([value])
    watch.add([None])
    watch.end()
    kept = watch.as_dict()
    assert kept["images"] == 4 * _KEPT + 1
    assert len(watch._kept) == _KEPT
    assert kept["image_ms"]["p50"] == pytest.approx(1000 * np.median(seconds), rel=0.03)
    assert kept["image_ms"]["p90"] == pytest.approx(1000 * np.percentile(seconds, 90), rel=0.02)
