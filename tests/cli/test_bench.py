"""``mammofast bench``: every kind writes the same form, says what it must, and refuses what it cannot do."""

import json
import sys

import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.cli.bench_measuring import _without_against
from mammofast.profiling.contest import Contest
from mammofast.profiling.record import Case, Interrupted, Record, read_record

BRIEF = ("--seconds", "0.01", "--warm-up", "0")


def bench(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture(autouse=True)
def quick_ops(monkeypatch):
    """One case, of a few microseconds: what the real ones give, tests/profiling/ops says."""
    import mammofast.profiling.ops as profiled

    build = {"nms, one": lambda name: Contest(name, "a test", lambda: sum(range(100)), left_out=("cc3d",))}
    monkeypatch.setattr(profiled, "builders", lambda op: build)


@pytest.fixture
def one_syntax(monkeypatch):
    import numpy as np

    from mammofast.profiling import archive

    pixels = np.random.default_rng(0).integers(0, 4096, (640, 620)).astype(np.uint16)
    monkeypatch.setattr(archive, "SYNTAXES", archive.SYNTAXES[:1])
    monkeypatch.setattr(archive, "make_image", lambda seed: (pixels, pixels))


COMMANDS = {
    "ops": ("ops", "nms"),
    "engines": ("engines", "unet-p2", "--width", "0.125", "--size", "64x64", "--batch", "1", "--batch", "2"),
    "archive": ("archive",),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_kind_writes_the_same_form(kind, tmp_path, one_syntax):
    path = tmp_path / "record.json"
    done = bench(*COMMANDS[kind], *BRIEF, "--json", path, "--plot", tmp_path / "plot.svg", "--quiet")
    assert done.exit_code == 0, done.output
    assert done.output == ""
    content = json.loads(path.read_text())
    assert set(content) == {
        "format", "kind", "command", "interrupted", "notes", "environment", "calibration", "cases"
    }  # fmt: skip
    assert content["interrupted"] is False
    assert content["kind"] == kind
    assert content["notes"]
    assert content["calibration"]["core_fp32_gflops"] > 0
    assert {"mammofast", "commit", "cpu", "cores", "load_average", "versions"} <= set(content["environment"])
    for case in content["cases"]:
        assert set(case) == {
            "case", "reason", "ours", "items", "unit", "throughput_per_s", "ratio_to_ours", "statistics_ms", "facts",
            "warnings", "samples_s",
        }  # fmt: skip
        for statistics in case["statistics_ms"].values():
            assert {"p50", "p90", "p95", "p99"} < set(statistics)
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    assert read_record(path).kind == kind


def some_cases(*names, end=None):
    """Cases, and then Ctrl-C."""
    for name in names:
        yield Case(name, "a test", {"mammofast": [0.01, 0.02]}, "mammofast")
    raise end or KeyboardInterrupt


@pytest.mark.parametrize(
    ("end", "names"),
    [(None, ["one", "two"]), (Interrupted(Case("half", "a test", {"us": [0.5]}, "us")), ["one", "two", "half"])],
)
def test_what_was_measured_until_ctrl_c_is_written(tmp_path, monkeypatch, end, names):
    import mammofast.profiling.ops as profiled

    monkeypatch.setattr(profiled, "op_cases", lambda *_: some_cases("one", "two", end=end))
    path, plot = tmp_path / "record.json", tmp_path / "plot.svg"
    done = bench("ops", "nms", *BRIEF, "--json", path, "--plot", plot)
    assert done.exit_code == 1
    assert "Aborted!" in done.output
    assert json.loads(path.read_text())["interrupted"] is True
    record = read_record(path)
    assert record.interrupted
    assert [case.name for case in record.cases] == names
    assert not plot.exists()


def test_ctrl_c_before_anything_was_measured_says_so(tmp_path, monkeypatch):
    import mammofast.profiling.ops as profiled

    monkeypatch.setattr(profiled, "op_cases", lambda *_: some_cases())
    assert bench("ops", "nms", *BRIEF, "--json", tmp_path / "record.json").exit_code == 1
    content = json.loads((tmp_path / "record.json").read_text())
    assert (content["interrupted"], content["cases"]) == (True, [])


def test_a_run_that_was_stopped_is_not_compared(tmp_path, monkeypatch):
    import mammofast.profiling.ops as profiled

    old = tmp_path / "old.json"
    assert bench("ops", "nms", *BRIEF, "--json", old, "--quiet").exit_code == 0
    monkeypatch.setattr(profiled, "op_cases", lambda *_: some_cases("another"))
    done = bench("ops", "nms", *BRIEF, "--json", tmp_path / "new.json", "--compare", old, "--quiet")
    assert "Aborted!" in done.output
    assert read_record(tmp_path / "new.json").interrupted


def test_a_run_beside_an_old_one_is_judged(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    Record("ops", "", {}, (Case("nms, one", "", {"mammofast": [1e-9] * 50}, "mammofast"),)).write(old)
    done = bench("ops", "nms", *BRIEF, "--compare", old, "--json", new)
    assert "nms, one: slower, " in done.output
    assert json.loads(new.read_text())["cases"][0]["facts"]["compared"]["verdict"] == "slower"


def test_an_old_record_of_something_else_is_refused(tmp_path):
    old = tmp_path / "old.json"
    Record("archive", "", {}, ()).write(old)
    done = bench("ops", "nms", *BRIEF, "--compare", old)
    assert done.exit_code == 1
    assert "of `bench archive`, expected one of `bench ops`" in done.output


def test_what_was_measured_is_kept_when_the_old_record_shares_no_case(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    Record("ops", "", {}, ()).write(old)
    done = bench("ops", "nms", *BRIEF, "--compare", old, "--json", new)
    assert done.exit_code == 1
    assert "has none of the cases just measured" in done.output
    assert [case.name for case in read_record(new).cases] == ["nms, one"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--plot", "plot.pdf"), "ends in '.pdf'"),
        (("--json", "/proc/record.json"), "a file could not be used"),
        (("--plot", "/proc/plot.svg"), "a file could not be used"),
        (("--compare", __file__), "is not what"),
    ],
)
def test_what_could_only_fail_afterwards_is_refused_before_anything_is_measured(monkeypatch, arguments, words):
    import mammofast.profiling.ops as profiled

    monkeypatch.setattr(profiled, "op_cases", lambda *asked: pytest.fail("measured"))
    done = bench("ops", "nms", *BRIEF, *arguments)
    assert done.exit_code == 1
    assert words in done.output


def test_the_paper_is_beside_us(monkeypatch):
    from mammofast.profiling import engines

    facts = {"paper_images_per_s": 32, "network": "aunet", "batch": 1}
    case = Case("aunet, 256 × 256", "table 6", {"onnxruntime": [0.25] * 3}, "onnxruntime", 1, "images", facts)
    monkeypatch.setattr(engines, "engine_cases", lambda *arguments, **options: [case])
    lines = bench("engines", "--case", "table-6", *BRIEF).output.splitlines()
    assert ["the", "paper", "32"] in [line.split() for line in lines]
    end = lines.index("table 6")
    assert lines[end + 1].split() == ["images/s", "ours", "the", "paper", "×", "the", "paper"]
    assert lines[end + 2].split() == ["aunet,", "onnxruntime,", "batch", "1", "4", "32", "0.125"]


def test_verbose_says_why_and_what_is_not_installed():
    brief, long = bench("ops", "nms", *BRIEF).output, bench("ops", "nms", *BRIEF, "--verbose").output
    assert "a test" in long
    assert "not installed: cc3d" in long
    assert "a test" not in brief
    assert "not installed" not in brief
    assert "nms, one" in brief
    assert "call/s" in brief


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("ops", "nmss"), "expected some of confidence_mask"),
        (("ops", "--seconds", "0"), "--seconds"),
        (("ops", "--warm-up", "-1"), "--warm-up"),
        (("engines", "--size", "256"), "expected ROWSxCOLS"),
        (("engines", "--batch", "0"), "--batch"),
        (("engines", "--case", "table-6", "--size", "64x64"), "leave --size out"),
        (("ops", "--compare", "a.json", "--against", "venv"), "give one of the two"),
        (("pipeline", "--trace", "s3://bucket/trace.json"), "got s3://bucket/trace.json, expected a file"),
        (("ops", "--json", "s3://bucket/ops.json"), "expected a file of this machine"),
    ],
)
def test_misuse_ends_with_2(arguments, words):
    done = bench(*arguments)
    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("ops", "nms", "--compare", "no-such-file.json"), "No such file"),
        (("ops", "nms", "--against", "no-such-folder"), "virtual environment"),
        (("engines", "--case", "table-7"), "expected one of"),
        (("engines", "no-such-network"), "no-such-network"),
        (("engines", "--eager"), "demo: got a bundle, expected a network of the catalogue"),
    ],
)
def test_what_cannot_run_ends_with_1_and_one_line(arguments, words):
    done = bench(*arguments, *BRIEF, "--quiet")
    assert done.exit_code == 1
    assert words in done.output
    assert done.output.count("\n") == 1


def test_both_versions_get_the_command_without_what_is_done_here():
    kept = ["bench", "ops", "nms", "--seconds", "1"]
    given = [*kept, "--against", "v", "--json=f", "--plot", "p.svg", "--quiet", "--verbose"]
    assert _without_against(given) == kept


def test_against_writes_the_same_form(tmp_path, monkeypatch):
    from mammofast.profiling import against

    monkeypatch.setattr(
        against, "_medians", lambda python, variables, arguments: {"nms, one": 1.1 if "venv" in str(python) else 1}
    )
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    monkeypatch.setattr(sys, "argv", ["mammofast", "bench", "ops", "nms"])
    done = bench("ops", "nms", "--against", tmp_path / "venv", "--json", tmp_path / "new.json", "--quiet")
    assert done.output == "nms, one: faster, 0.91 × the old time (0.91 to 0.91)\n"
    (case,) = json.loads((tmp_path / "new.json").read_text())["cases"]
    assert case["facts"]["compared"]["verdict"] == "faster"
    assert set(case["samples_s"]) == {"mammofast", "the other version"}
