"""Small archives through the real pipeline: what was slowed is named, and being looked at changes nothing."""

import importlib.util
import itertools
import json
import os
import stat
import statistics
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mammofast import cli, open_archive, open_bundle, tracing
from mammofast.errors import ProfilingError
from mammofast.profiling import pipeline
from mammofast.profiling.bottleneck import BETWEEN
from mammofast.profiling.gpu import watched_gpus
from mammofast.profiling.pipeline import SERIES, _depths, _over_time, alike, phantom_archive, pipeline_case
from mammofast.profiling.record import Interrupted, read_record
from mammofast.profiling.sampling import Effort
from mammofast.screening import open_results, screen
from mammofast.screening.ledger import Results
from mammofast.screening.trace import IN_FLIGHT, LIST, RECORD, SEND, TASK, Task, Usage, bytes_read, read_trace

HERE = Path(__file__).parent
ONCE = Effort(0, 0.001, 1)


def load(path, name):
    """Import a file of the tests that is no package; worker processes find it by the same name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


screening_tests = load(HERE.parent / "screening" / "conftest.py", "screening_conftest")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Six images, 700 x 500."""
    return screening_tests.make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return screening_tests.write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def slow():
    sys.path.insert(0, str(HERE))
    yield load(HERE / "slow_screeners.py", "slow_screeners").SLOW
    sys.path.remove(str(HERE))


@pytest.mark.parametrize("stage", ["detect", "prepare", "fuse", "read", BETWEEN])
def test_a_slowed_stage_is_named(archive, bundle, slow, stage):
    case = pipeline_case(archive, "it", ONCE, bundle=bundle, workers=1, rounds=1, opener=slow[stage])
    assert case.facts["verdict"].startswith(f"The limit is {stage!r}: ")
    assert next(iter(case.facts["stages"])) == stage
    # It slept: no core was busy with that.
    assert "The workers' cores are busy" in case.facts["verdict"]
    bound = {"read": "transfer-bound", BETWEEN: "Python-bound"}.get(stage)
    assert [w.partition(":")[0] for w in case.warnings if "-bound" in w] == ([bound] if bound else [])


def test_a_slow_ledger_is_named_as_workers_waiting(archive, bundle, monkeypatch):
    put_all = Results.put_all

    def slowly(self, outcomes, run):
        time.sleep(0.15 * len(outcomes))
        return put_all(self, outcomes, run)

    monkeypatch.setattr(Results, "put_all", slowly)
    # With as many threads as there are, six images would not wait.
    monkeypatch.setattr("mammofast.screening.job.RECORDERS", 1)
    monkeypatch.setattr("mammofast.screening.job._WAITING", 1)
    case = pipeline_case(archive, "it", ONCE, bundle=bundle, workers=1, rounds=1, images_per_task=1)
    assert case.facts["verdict"].startswith("The workers wait: ")
    assert "of its time goes into putting results on record" in case.facts["verdict"]
    assert case.facts["queues"]["waiting to be recorded"]["mean"] > 0.2


def test_being_traced_changes_no_byte_and_costs_nothing_when_not_asked(archive, bundle, tmp_path, monkeypatch):
    plain = tmp_path / "plain"
    screen(archive, plain, bundle, workers=1)
    assert tracing._recorder is None
    screen(archive, tmp_path / "traced", bundle, workers=2, trace=tmp_path / "trace")
    assert tracing._recorder is None
    assert screening_tests.snapshot(tmp_path / "traced") == screening_tests.snapshot(plain)
    assert len(screening_tests.snapshot(plain)) == 6
    assert {path.name for path in tmp_path.iterdir()} == {"plain", "traced", "trace"}

    trace = read_trace(tmp_path / "trace")
    assert trace.driver == os.getpid()
    workers = {task.process for task in trace.tasks}
    assert {int(path.stem) for path in (tmp_path / "trace").iterdir()} == {os.getpid(), *workers}
    assert sorted(task.images for task in trace.tasks) == [2, 4]
    tasks = [span for span in trace.spans if span.stage == TASK]
    assert sorted((span.process, span.items) for span in tasks) == sorted((t.process, t.images) for t in trace.tasks)
    by_process = {p: {s.stage for s in trace.spans if s.process == p} for p in (*workers, os.getpid())}
    assert by_process[os.getpid()] == {LIST, SEND, RECORD}
    assert all({TASK, "read", "prepare", "detect"} <= by_process[process] for process in workers)
    assert sum(span.items for span in trace.spans if span.stage == RECORD) == 6
    in_flight = [sample.value for sample in trace.samples if sample.name == IN_FLIGHT]
    assert in_flight in ([2, 1, 0], [1, 2, 1, 0], [1, 0, 1, 0])  # sent together, or one by one
    for task in trace.tasks:
        assert task.bytes_read > 1000
        assert 0 < task.cpu <= 3 * task.seconds
        # No process that has a network open takes less, and the files are not those of the program that started it.
        assert 30e6 < task.before.peak_bytes <= task.after.peak_bytes
    text = "".join(path.read_text() for path in (tmp_path / "trace").iterdir())
    assert "Doe" not in text
    assert "SECRET" not in text


def test_the_rate_is_that_which_screening_keeps_itself(archive, bundle, tmp_path):
    screen(archive, tmp_path / "results", bundle, workers=1, trace=tmp_path / "trace")
    (run,) = open_results(tmp_path / "results").runs()
    (timing,) = run["timings"]
    tasks = read_trace(tmp_path / "trace").tasks
    steady = max(task.after.time for task in tasks) - min(task.before.time for task in tasks)
    # Sending the first task and recording the last one lies around what the workers see.
    assert steady <= timing["steady_seconds"] + 0.002
    assert timing["steady_seconds"] < timing["seconds"]
    screen(archive, tmp_path / "results", bundle, workers=1, trace=tmp_path / "again")
    assert read_trace(tmp_path / "again").tasks == []
    assert len(open_results(tmp_path / "results").runs()[0]["timings"]) == 1


def bytes_read_of(archive, bundle):
    """Return what screening an archive reads of it, counted in this process."""
    images = list(open_archive(archive).images())
    before = bytes_read()
    with open_bundle(bundle) as screener:
        screener.screen_images(images)
    return bytes_read() - before


def test_the_command_says_all_of_it(archive, bundle, tmp_path):
    arguments = ["bench", "pipeline", str(archive), "--bundle", str(bundle), "--rounds", "2", "--warm-up", "0"]
    arguments += ["--seconds", "0.01", "--workers", "2", "--trace", str(tmp_path / "trace.json")]
    arguments += ["--json", str(tmp_path / "p.json"), "--plot", str(tmp_path / "p.svg")]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0, done.output
    for words in ("images/s", "studies/h", "MB read an image", "The limit is ", "Memory, at most", "detect", "CPU: "):
        assert words in done.output
    record = read_record(tmp_path / "p.json")
    assert record.kind == "pipeline"
    (case,) = record.cases
    facts = case.facts
    assert case.name.startswith("screening archive ")
    assert case.name.endswith(", 2 workers")
    assert (case.ours, len(case.samples[SERIES]), facts["rounds"], facts["images"]) == (SERIES, 4, 2, 6)
    assert facts["images_per_s"] == pytest.approx(statistics.median(facts["images_per_s_of_each_round"]), rel=1e-3)
    assert facts["studies_per_h"] == pytest.approx(facts["images_per_s"] * 3600 / 2, rel=1e-3)
    assert sum(facts["stages"].values()) == pytest.approx(1, abs=0.01)
    assert facts["milliseconds"][TASK]["n"] == 4
    assert facts["milliseconds"]["read"]["n"] == 12
    assert facts["gpu"] is None or facts["gpu"].keys() == {"share_busy", "memory_mib"}
    assert facts["memory"]["worker_mib"] <= facts["memory"]["all_workers_mib"] <= 2 * facts["memory"]["worker_mib"]
    assert 0 < facts["cpu"]["share_of_cores"] <= 1.05
    assert facts["bytes_read_per_image"] == pytest.approx(bytes_read_of(archive, bundle) / 6, rel=1e-3)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert {"worker 1", "mammofast screen"} <= names <= {"worker 1", "worker 2", "mammofast screen"}
    assert {"task", "detect", "record", IN_FLIGHT} <= {event["name"] for event in events}
    for words in ("share of the workers", "between stages"):
        assert words in (tmp_path / "p.svg").read_text()


def test_rounds_that_are_done_when_somebody_stops_it_are_told(archive, bundle, monkeypatch):
    one = pipeline._round
    rounds = []

    def stopped(*arguments):
        if len(rounds) == 1:
            raise KeyboardInterrupt
        rounds.append(one(*arguments))
        return rounds[-1]

    monkeypatch.setattr(pipeline, "_round", stopped)
    with pytest.raises(Interrupted) as stop:
        pipeline_case(archive, "it", ONCE, bundle=bundle, workers=1, rounds=3)
    assert (stop.value.case.facts["rounds"], stop.value.case.facts["images"]) == (1, 6)
    lanes = {lane["process"] for lane in stop.value.case.facts["timeline"]["lanes"]}
    assert lanes == {"worker 1", "mammofast screen"}
    with pytest.raises(KeyboardInterrupt) as stop:  # nothing was done this time
        pipeline_case(archive, "it", ONCE, bundle=bundle, workers=1, rounds=3)
    assert not isinstance(stop.value, Interrupted)


def test_workers_are_those_that_screening_started(archive, bundle, monkeypatch):
    """How many it starts by itself, or at most, is its own affair: on cards it is one for each."""
    monkeypatch.setattr("mammofast.screening.run.cores", lambda: 3)
    case = pipeline_case(archive, "it", ONCE, bundle=bundle, rounds=1)
    assert case.facts["workers"] == 3
    assert case.name.endswith(", 3 workers")
    assert "2 of 3 workers got a task: too few images for so many workers" in case.warnings


def test_an_archive_and_phantoms_are_not_asked_for_at_once(archive):
    done = CliRunner().invoke(cli.main, ["bench", "pipeline", str(archive), "--studies", "2"])
    assert done.exit_code == 2
    assert "give one of the two" in done.output


def test_an_archive_without_images_for_the_bundle_is_said(tmp_path):
    archive = screening_tests.make_archive(tmp_path, images=1, intent="FOR PROCESSING")
    with pytest.raises(ProfilingError, match="without an image that the bundle screens"):
        pipeline_case(archive, "it", ONCE, workers=1, rounds=1)


def test_phantoms_are_made_and_removed():
    steps = []
    with phantom_archive(1, steps.append) as (archive, seconds):
        assert len(list((archive / "images").iterdir())) >= 1
        assert seconds > 0
        assert sum(steps) == 8
    assert not archive.exists()


def task(image, seconds, images=4):
    return Task(1, image, images, Usage(0, 0, 0, 0), Usage(seconds, 0, 0, 0))


def test_what_images_differ_in_is_taken_out_of_samples():
    rounds = [[task("a", 4 * f), task("b", 12 * f), task("c", 2 * f, images=2)] for f in (1.0, 1.0, 1.0)]
    assert alike(rounds) == pytest.approx([5 / 3] * 9)
    # A machine that is 10 % slower in one of two rounds: the mean stays, and both lie apart as two samples would.
    rounds = [[task("a", 4 * f), task("b", 12 * f)] for f in (0.95, 1.05)]
    low, high = 2 * (1 - 0.05 * 2**0.5), 2 * (1 + 0.05 * 2**0.5)
    assert alike(rounds) == pytest.approx([low, low, high, high])


def test_one_round_and_tasks_that_changed_are_left_as_they_are():
    assert alike([[task("a", 4), task("b", 12)]]) == [1, 3]
    assert alike([[task("a", 4), task("b", 12)], [task("a", 8), task("c", 12)]]) == [1, 3, 2, 3]


def test_queue_depths_over_time_against_counting():
    more, less = [0.0, 1.0, 1.5, 6.0], [2.0, 3.2, 5.0, 6.5]
    found = _depths(more, less, 0.5, 6.25)
    assert sum(seconds for _, seconds in found) == pytest.approx(5.75)

    def depth(at):
        return sum(t <= at for t in more) - sum(t <= at for t in less)

    steps = 5750
    counted = [depth(0.5 + (i + 0.5) * 5.75 / steps) for i in range(steps)]
    over_time = _over_time(found)
    assert over_time["mean"] == pytest.approx(statistics.fmean(counted), rel=1e-3)
    assert over_time["p90"] == sorted(counted)[int(0.9 * steps)] == 2


def test_gpus_are_looked_at_where_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with watched_gpus() as watch:
        pass
    assert watch.between(0, time.monotonic()) is None
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho '50, 1000'\necho '100, 3000'\necho '[N/A], 3'\nexec /bin/sleep 60\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    start = time.monotonic()
    with watched_gpus() as watch:
        for _ in itertools.takewhile(lambda _: len(watch.seen) < 2, range(1000)):
            time.sleep(0.01)
    assert watch.between(start, time.monotonic()) == {"share_busy": 0.75, "memory_mib": 3000}
    assert watch.between(0, start) is None
    assert time.monotonic() - start < 30
