"""Every command over a demo's files, as a program that is no terminal calls it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mammofast import cli


def cases(demo, out):
    """Return each command's arguments, and whether it has a line to say where all is well."""
    archive, results = demo.archive, demo.results
    return {
        "phantom": ([out / "phantoms", "--studies", 1, "--seed", 1], False),
        "ingest": ([demo.out / "dicom", archive], True),
        "archive info": ([archive], True),
        "archive list": ([archive], True),
        "archive verify": ([archive], True),
        "screen": ([archive, results, "--bundle", "demo"], True),
        "report": ([results, "--to", "html", "--out", out / "report"], True),
        "evaluate": ([results, "--truth", demo.out / "truth"], True),
        "doctor": ([], True),
    }


NAMES = list(cases(type("Demo", (), {"archive": None, "results": None, "out": "", "__truediv__": None}), ""))


@pytest.fixture
def call(demo, tmp_path):
    def call(name, *options):
        arguments, says = cases(demo, tmp_path)[name]
        done = CliRunner().invoke(cli.main, [*name.split(), *map(str, arguments), *options])
        assert done.exit_code == 0, done.output
        return done, says

    return call


@pytest.mark.parametrize("name", NAMES)
def test_no_terminal_gets_plain_lines(call, name):
    done, says = call(name)
    assert bool(done.stdout) == says
    assert "\x1b" not in done.output
    assert "\r" not in done.output


@pytest.mark.parametrize("name", NAMES)
def test_quiet_leaves_the_terminal_alone(call, name):
    done, _ = call(name, "--quiet")
    assert done.stderr == ""
    # What is asked for is still given: images by their UIDs, and what a machine lacks.
    assert done.stdout == "" or name in ("archive list", "doctor")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "evaluate"])
def test_json_is_all_that_stands_on_standard_output(call, name):
    done, _ = call(name, "--json")
    assert json.loads(done.stdout)


@pytest.mark.parametrize("name", ["phantom", "ingest", "archive verify", "screen", "report", "evaluate"])
def test_what_takes_long_says_how_far_it_is(call, name):
    done, _ = call(name)
    assert "8 of 8, " in done.stderr or "4 of 4, " in done.stderr or "2 of 2, " in done.stderr
    assert "/s, 0 s left\n" in done.stderr


def test_the_demo_can_be_run_again_and_prints_json(demo):
    done = CliRunner().invoke(cli.main, ["demo", "--studies", "2", "--out", str(demo.out), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed.pop("report") == str(demo.page)
    assert printed == json.loads((demo.out / "evaluation.json").read_text())


def test_evaluate_writes_its_json(demo, tmp_path):
    arguments = ["evaluate", str(demo.results), "--truth", str(demo.out / "truth"), "--json", str(tmp_path / "m.json")]
    assert CliRunner().invoke(cli.main, [*arguments, "--quiet"]).output == ""
    assert json.loads((tmp_path / "m.json").read_text())["n_images"] == 8


@pytest.mark.parametrize(
    "arguments",
    [
        ("archive", "info", "{out}"),
        ("archive", "list", "{out}"),
        ("archive", "verify", "{out}"),
        ("screen", "{out}", "{out}/results", "--bundle", "demo"),
        ("report", "{out}", "--to", "csv", "--out", "{out}/report"),
        ("evaluate", "{out}", "--truth", "{out}"),
        ("demo", "--out", "{out}"),
        ("phantom", "{out}", "--studies", "1"),
    ],
    ids=lambda arguments: arguments[0] + (" " + arguments[1] if arguments[0] == "archive" else ""),
)
def test_what_cannot_run_ends_with_1_and_one_line(tmp_path, arguments):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "1.2.3.png").touch()
    done = CliRunner().invoke(cli.main, [argument.format(out=tmp_path) for argument in arguments])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mammofast: ")
    assert done.stderr.count("\n") == 1


def test_a_pipe_that_is_closed_early_is_no_traceback(demo, elsewhere):
    command = f"{sys.executable} -m mammofast archive list {demo.archive} --json | head -c 1"
    done = subprocess.run(command, shell=True, **elsewhere, capture_output=True, text=True, check=True)
    assert done.stderr == ""
