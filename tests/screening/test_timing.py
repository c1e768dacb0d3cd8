"""When a run was worked on: kept beside its results, and never the reason that one fails."""

import time
from datetime import datetime

import pytest

from mammofast import open_results
from mammofast.errors import ResultsError
from mammofast.screening import run as run_module
from mammofast.screening import screen
from mammofast.screening.timing import timed


class Kept(dict):
    """What was written, by name, and how often."""

    writes = 0

    def write(self, name, timing):
        self.writes += 1
        self[name] = timing


@pytest.fixture
def kept():
    return Kept()


def test_the_start_is_kept_at_once_and_the_end_over_it(kept):
    before = datetime.now().astimezone().replace(microsecond=0)
    with timed(kept.write, 2) as watch:
        (early,) = kept.values()
        assert (early["ended"], early["seconds"], early["images"], early["workers"]) == (None, None, 0, 2)
        assert early["steady_seconds"] is None
        time.sleep(0.02)
        watch.began = time.monotonic()
        for milliseconds in range(100):
            watch.add([milliseconds / 1000])
        time.sleep(0.01)
        watch.add([None])
        time.sleep(0.02)
    (late,) = kept.values()
    assert kept.writes == 2
    assert late["started"] == early["started"]
    assert before <= datetime.fromisoformat(late["started"]) <= datetime.fromisoformat(late["ended"])
    assert 0.01 <= late["steady_seconds"] <= late["seconds"] - 0.039
    assert (late["images"], late["stopped"]) == (101, None)
    assert late["image_ms"] == {"p50": 49.5, "p90": 89.1, "p95": 94.0, "p99": 98.0}


def test_times_carry_their_offset_and_names_sort_by_time(kept):
    for _ in range(2):
        with timed(kept.write, None):
            pass
    assert len(kept) == 2
    for name, timing in kept.items():
        started = datetime.fromisoformat(timing["started"])
        assert started.utcoffset() is not None
        assert name.startswith(f"{started:%Y%m%dT%H%M%S}-")
        assert timing["image_ms"] is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, ResultsError])
def test_what_ended_it_is_named_and_goes_on(kept, error):
    with pytest.raises(error), timed(kept.write, 1):
        raise error("Doe^Jane")
    (timing,) = kept.values()
    assert timing["stopped"] == error.__name__
    assert timing["ended"] is not None


def test_no_room_for_the_end_fails_nothing_but_for_the_start_it_does(kept):
    def refuse(name, timing):
        if timing["ended"] is not None:
            raise ResultsError("the disk is full")
        kept.write(name, timing)

    with timed(refuse, 1):
        pass
    assert kept.writes == 1

    def refuse_all(name, timing):
        raise ResultsError("the disk is full")

    with pytest.raises(ResultsError), timed(refuse_all, 1):
        raise AssertionError("must not begin")


def test_a_run_and_its_resumption_are_two_timings(archive, bundle, tmp_path, monkeypatch):
    results = tmp_path / "results"
    screen(archive, results, bundle, workers=1)
    (run,) = open_results(results).runs()
    (first,) = run["timings"]
    assert (first["images"], first["workers"], first["stopped"]) == (6, 1, None)
    assert 0 < first["image_ms"]["p50"] <= first["image_ms"]["p99"] < 1000 * first["seconds"]
    assert 0 < first["steady_seconds"] < first["seconds"]

    next(results.glob("images/*/*")).unlink()
    monkeypatch.setattr(run_module, "_stopper", lambda interrupt, deadline: lambda: True)
    screen(archive, results, bundle, workers=1)
    (run,) = open_results(results).runs()
    assert run["timings"][0] == first
    assert [timing["images"] for timing in run["timings"]] == [6, 0]
    assert run["timings"][1]["steady_seconds"] is None
    assert run["timings"][1]["stopped"] == run_module.TIME_IS_UP
