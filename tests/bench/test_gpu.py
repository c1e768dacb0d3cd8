"""`python -m bench.gpu`: what it does with steps that fail, with what tools say, and the whole of it without a card."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mammofast.profiling.record import Case, Record, read_record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def steps():
    return importlib.import_module("bench.gpu.steps")


@pytest.fixture
def work():
    return importlib.import_module("bench.gpu.work")


def programs(monkeypatch, folder, **texts):
    """Put shell scripts on the path, in front of everything."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


# ---- steps


def test_a_step_that_fails_does_not_keep_the_others_from_running(steps, tmp_path):
    def broken(seconds):
        raise RuntimeError("no such thing\nand more")

    run = steps.Run(tmp_path / "out", budget=60)
    run.do(
        [
            steps.Step("first", broken, 10),
            steps.Step("second", lambda seconds: (steps.PASSED, f"had {seconds:.0f} s", {"n": 1}), 10),
        ]
    )
    assert [(each.step, each.status) for each in run.outcomes] == [("first", "FAILED"), ("second", "passed")]
    assert run.outcomes[0].words == "RuntimeError: no such thing"
    assert run.outcomes[1].words == "had 10 s"
    kept = json.loads((tmp_path / "out" / "steps.json").read_text())
    assert [each["facts"] for each in kept] == [{}, {"n": 1}]


def test_a_later_call_goes_on_from_an_earlier_one(steps, tmp_path):
    for status in ("FAILED", "passed"):
        run = steps.Run(tmp_path, budget=60)
        run.do([steps.Step("build", lambda seconds, status=status: (status, "", {}), 10)])
    run = steps.Run(tmp_path, budget=60)
    run.do([steps.Step("tests", lambda seconds: ("passed", "", {}), 10)])
    assert [(each.step, each.status) for each in run.outcomes] == [("build", "passed"), ("tests", "passed")]


def test_without_time_a_step_is_left_out(steps, tmp_path):
    run = steps.Run(tmp_path, budget=0.5)
    run.do([steps.Step("late", lambda seconds: ("passed", "", {}), 10)])
    assert run.outcomes[0].status == "left out"
    run = steps.Run(tmp_path, budget=30)
    run.do([steps.Step("late", lambda seconds: ("passed", f"{seconds:.0f}", {}), 100)])
    assert run.outcomes[0].words == "30"


def test_a_command_past_its_time_ends_with_all_that_it_started(steps, tmp_path):
    run = steps.Run(tmp_path, budget=60)
    start = time.monotonic()
    code, said = run.call(["sh", "-c", f"echo begun; sleep 77 & echo $! > {tmp_path}/pid; wait"], seconds=1)
    assert time.monotonic() - start < 20
    assert (code, said) == (124, "begun\n")
    child = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not alive(child):
            break
        time.sleep(0.1)
    assert not alive(child)
    log = (tmp_path / "log.txt").read_text()
    assert "begun" in log
    assert "[ended with 124" in log
    assert steps.last_words("a\n\nb\n", 124) == "took too long: b"
    assert steps.last_words("", 3) == "ended with 3"


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


# ---- what other programs say

SANITIZER = {
    "clean": ("echo '========= ERROR SUMMARY: 0 errors'", "passed", "ERROR SUMMARY: 0 errors"),
    "no hazards": (
        "echo '========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)'",
        "passed",
        "RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
    ),
    "errors": ("echo '========= ERROR SUMMARY: 10 errors'; exit 9", "FAILED", "ERROR SUMMARY: 10 errors"),
    "errors, status lost": ("echo '========= ERROR SUMMARY: 2 errors'", "FAILED", "ERROR SUMMARY: 2 errors"),
    "another result": ("echo '========= ERROR SUMMARY: 0 errors'; exit 1", "FAILED", "ERROR SUMMARY: 0 errors"),
    "nothing looked at": ("echo 'Device not supported'", "FAILED", "ended with 0: Device not supported"),
}


@pytest.mark.parametrize("case", SANITIZER)
def test_what_compute_sanitizer_says_decides(case, steps, work, tmp_path, monkeypatch):
    text, status, words = SANITIZER[case]
    programs(monkeypatch, tmp_path / "bin", compute_sanitizer=f'echo "$@" > {tmp_path}/asked; {text}')
    done = work.Work(steps.Run(tmp_path / "out", 60), dry=False, seconds=1)._check("racecheck", 20)
    assert done[:2] == (status, words)
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:4] == ["--tool", "racecheck", "--error-exitcode", "9"]
    assert asked[-2:] == ["-m", "bench.gpu.short"]


def test_without_compute_sanitizer_it_is_left_out(steps, work, tmp_path, monkeypatch):
    monkeypatch.setattr(work.shutil, "which", lambda name: None)
    run = steps.Run(tmp_path, 60)
    assert work.Work(run, dry=False, seconds=1)._check("memcheck", 20)[0] == "left out"
    assert work.Work(run, dry=False, seconds=1)._build(20)[:2] == (
        "FAILED",
        "no nvcc on the path: the kernels cannot be built here",
    )
    assert work.Work(run, dry=False, seconds=1)._machine(20)[0] == "FAILED"


def test_the_build_is_for_the_card_that_is_here(steps, work, tmp_path, monkeypatch):
    programs(monkeypatch, tmp_path / "bin", nvidia_smi="echo 9.0; echo 8.6", nvcc="true")
    run = steps.Run(tmp_path / "out", 60)
    calls = []

    def call(command, seconds, environment=None):
        calls.append((list(command), environment))
        return (0, "9.0\n8.6\n") if command[0] == "nvidia-smi" else (0, "built\nthe kernels can run\n")

    monkeypatch.setattr(steps.Run, "call", lambda self, *arguments: call(*arguments))
    status, words, _ = work.Work(run, dry=False, seconds=1)._build(20)
    assert (status, words) == ("passed", "the kernels can run, built for 90")
    command, environment = calls[1]
    assert command[-3:] == ["setup.py", "build_ext", "--inplace"]
    assert environment["MAMMOFAST_CUDA_ARCHITECTURES"] == "90"
    assert str(ROOT) in environment["PYTHONPATH"].split(os.pathsep)


@pytest.mark.parametrize(
    "attributes, status, words",
    [
        ('tests="5" failures="0" errors="0" skipped="0"', "passed", "5 passed"),
        ('tests="5" failures="1" errors="1" skipped="0"', "FAILED", "3 passed, 2 failed"),
        ('tests="5" failures="0" errors="0" skipped="5"', "FAILED", "0 passed, 5 skipped"),
        ('tests="5" failures="0" errors="0" skipped="1"', "FAILED", "4 passed, 1 skipped"),
        ('tests="0" failures="0" errors="0" skipped="0"', "FAILED", "0 passed"),
    ],
)
def test_tests_that_were_skipped_are_not_passed(attributes, status, words, steps, work, tmp_path, monkeypatch):
    def call(self, command, seconds, environment=None):
        (tmp_path / "tests.xml").write_text(f"<testsuites><testsuite {attributes}/></testsuites>")
        return 0, ""

    monkeypatch.setattr(steps.Run, "call", call)
    assert work.Work(steps.Run(tmp_path, 60), dry=False, seconds=1)._tests(20)[:2] == (status, words)


def test_tests_that_could_not_be_started_are_not_those_of_the_last_time(steps, work, tmp_path, monkeypatch):
    (tmp_path / "tests.xml").write_text('<testsuites><testsuite tests="5"/></testsuites>')
    monkeypatch.setattr(steps.Run, "call", lambda *arguments: (4, "no such file"))
    done = work.Work(steps.Run(tmp_path, 60), dry=False, seconds=1)._tests(20)
    assert done[:2] == ("FAILED", "ended with 4: no such file")


def test_one_op_that_fails_leaves_the_others_measurements(steps, work, tmp_path, monkeypatch):
    def call(self, command, seconds, environment=None):
        op = command[command.index("ops") + 1]
        if op in ("nms", "label_mask"):
            return 1, "mammofast: CUDA error: an illegal memory access"
        Record("ops", "", {"cores": 1}, (a_case(op),), {"copy_gb_per_s": 1.0}).write(
            Path(command[command.index("--json") + 1])
        )
        return 0, ""

    monkeypatch.setattr(steps.Run, "call", call)
    run = steps.Run(tmp_path, 60)
    status, words, facts = work.Work(
        run, dry=False, seconds=1, ops=["fuse_boxes", "nms", "roi_align", "label_mask"]
    )._bench(20)
    assert status == "FAILED"
    assert words == "2 cases measured; nms, label_mask ended with 1: mammofast: CUDA error: an illegal memory access"
    assert list(facts["failed"]) == ["nms", "label_mask"]
    record = read_record(tmp_path / "ops_cuda.json")
    assert [case.name for case in record.cases] == ["fuse_boxes", "roi_align"]
    assert record.calibration == {"copy_gb_per_s": 1.0}


# ---- the table


def a_case(name, ms=0.02, peer_ms=None, **facts):
    samples = {"mammofast": [ms / 1e3] * 3} | ({} if peer_ms is None else {"a peer": [peer_ms / 1e3] * 3})
    facts = {
        "card": "a card",
        "equal_to_cpu": "to the bit",
        "gb_per_s": 3000.0,
        "served_from": "memory",
        "share_of_copy": 0.75,
        "share_of_l2_copy": 0.3,
        "host_waits_ms": {"mammofast": 0.05},
    } | facts
    return Case(name, "", samples, "mammofast", facts=facts)


def cells(text):
    """Return the table's rows by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def tabled(steps, folder, *cases):
    rates = {"copy_gb_per_s": 4000.0, "l2_copy_gb_per_s": 9000.0}
    Record("ops", "", {"card": "a card"}, cases, rates).write(folder / "ops_cuda.json")
    run = steps.Run(folder, 60)
    run.do([steps.Step("build", lambda seconds: ("passed", "well | done", {}), 10)])
    return importlib.import_module("bench.gpu.table").table(run)


@pytest.mark.parametrize(
    "case, last",
    [
        (a_case("fuse_boxes, 64 images of 50", ms=0.0299), "≤ 30 µs: 29.9 µs met"),
        (a_case("fuse_boxes, 64 images of 50", ms=0.0301), "≤ 30 µs: 30.1 µs NOT MET"),
        (a_case("nms, uniform, 10000", ms=1, peer_ms=3), "≥ 3 × its peer: 3 × met"),
        (a_case("nms, uniform, 10000", ms=1, peer_ms=2.9), "≥ 3 × its peer: 2.9 × NOT MET"),
        (a_case("nms, uniform, 10000"), "≥ 3 × its peer: no peer here NOT MET"),
        (a_case("paste_masks, 512 packed", share_of_copy=0.7), "≥ 70% of a copy: 70% met"),
        (a_case("paste_masks, 512 packed", share_of_copy=0.69), "≥ 70% of a copy: 69% NOT MET"),
        (a_case("paste_masks, 512 packed", served_from="L2 cache"), "≥ 70% of a copy: 75% NOT MET"),
        (a_case("decode, 1"), ""),
    ],
)
def test_targets_are_met_or_not(case, last, steps, tmp_path):
    text = tabled(steps, tmp_path, case)
    assert cells(text)[case.name][-1] == last
    assert "a card: a copy of 1 GiB 4000 GB/s, in the L2 cache 9000 GB/s" in text
    missing = {name for name, row in cells(text).items() if row[0] == "not measured"}
    assert missing == set(importlib.import_module("bench.gpu.table").TARGETS) - {case.name}


def test_rows(steps, tmp_path):
    rows = cells(
        tabled(steps, tmp_path, a_case("a", ms=0.012, peer_ms=0.03), a_case("b", served_from="L2 cache", peer_ms=None))
    )
    assert rows["a"] == ["to the bit", "12", "50", "3e+03", "75%", "a peer 2.5", ""]
    assert rows["b"][4] == "30% in L2"
    assert rows["build"] == ["passed", "well / done", "0"]


def test_every_target_is_of_a_case_that_is_measured():
    from mammofast.profiling.ops.device import OPS, builders

    measured = {name for op in OPS for name in builders(op)}
    assert set(importlib.import_module("bench.gpu.table").TARGETS) <= measured


def test_without_measurements_the_steps_are_still_told(steps, tmp_path):
    run = steps.Run(tmp_path, 60)
    run.do([steps.Step("build", lambda seconds: ("FAILED", "no nvcc", {}), 10)])
    text = importlib.import_module("bench.gpu.table").table(run)
    assert "| build | FAILED | no nvcc | 0 |" in text
    assert "Of the ops nothing was measured." in text


# ---- all of it


@pytest.fixture
def dry(request, tmp_path):
    """Run it as `python -m bench.gpu`, but with the mammofast that the tests import."""
    import mammofast

    def run(*arguments):
        code = "import runpy; runpy.run_module('bench.gpu', run_name='__main__')"
        path = os.pathsep.join([str(Path(mammofast.__file__).parents[1]), str(ROOT)])
        return subprocess.run(
            [sys.executable, "-P", "-c", code, str(tmp_path / "out"), *arguments],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=500,
        )

    return run


def test_the_dry_run_goes_all_the_way(dry, tmp_path, cuda_on_host):
    done = dry("--dry-run", "--ops", "fuse_boxes", "--skip", "engines,pipeline")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "log.txt",
        "ops_cuda.json",
        "steps.json",
        "table.md",
        "tests.xml",
    }
    outcomes = json.loads((out / "steps.json").read_text())
    assert [each["step"] for each in outcomes] == list(importlib.import_module("bench.gpu.work").STEPS)[:-2]
    assert {each["status"] for each in outcomes} == {"passed"}
    assert done.stdout.endswith((out / "table.md").read_text() + "\n")
    assert "EMULATED ON THE HOST" in done.stdout
    rows = cells(done.stdout)
    assert rows["fuse_boxes, 3 images of 25"][:3] == ["to the bit", "emulated", ""]
    (case,) = read_record(out / "ops_cuda.json").cases
    assert case.facts["emulated"]
    assert "share_of_copy" not in case.facts


@pytest.mark.parametrize("options", [("--steps", "buidl"), ("--skip", "test")])
def test_an_unknown_step_is_named(dry, options):
    done = dry("--dry-run", *options)
    assert done.returncode == 2
    assert f"got {options[1]}, expected some of machine, build" in done.stderr


def test_steps_can_be_skipped(dry, tmp_path):
    done = dry("--dry-run", "--steps", "machine,build", "--skip", "build")
    assert done.returncode == 0, done.stderr
    assert [each["step"] for each in json.loads((tmp_path / "out" / "steps.json").read_text())] == ["machine"]
