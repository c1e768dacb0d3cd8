"""Every command over a demo's files, as a program that is no terminal calls it."""

import json

import click
import pytest
from click.testing import CliRunner

from mammofast import cli

# demo: what the demo made; out: a new folder.
CASES = {
    "phantom": "{out}/phantoms --studies 1 --seed 1",
    "ingest": "{demo}/dicom {demo}/archive.zarr",
    "archive info": "{demo}/archive.zarr",
    "archive list": "{demo}/archive.zarr",
    "archive verify": "{demo}/archive.zarr",
    "screen": "{demo}/archive.zarr {demo}/results --bundle demo",
    "report": "{demo}/results --to html --out {out}/report",
    "evaluate": "{demo}/results --truth {demo}/truth",
    "models": "",
    "bench pipeline": "{demo}/archive.zarr --workers 2 --rounds 1 --warm-up 0 --seconds 0.01",
    "bench engines": "aunet --width 0.125 --size 32x32 --warm-up 0 --seconds 0.01",
    "doctor": "",
}
# What makes its own input takes long, and what needs a PACS has one: their tests are elsewhere.
ELSEWHERE = {"bench archive", "bench ops", "compile", "demo", "send", "serve", "train"}
# A file takes their JSON, not standard output.
TO_A_FILE = ("bench pipeline", "bench engines", "evaluate")
# What takes long says how far it is.
LONG = {
    "phantom": "Making phantom images: 4 of 4, ",
    "ingest": "Ingesting files: 8 of 8, ",
    "archive verify": "Verifying images: 8 of 8, ",
    "screen": "Screening images: 8 of 8, ",
    "report": "Drawing studies: 2 of 2, ",
    "evaluate": "Measuring images: 8 of 8, ",
    "bench pipeline": "Screening (rounds): 1 of 1, ",
}


@pytest.fixture
def call(demo, tmp_path):
    def call(name, *options):
        arguments = CASES[name].format(demo=demo.out, out=tmp_path).split()
        done = CliRunner().invoke(cli.main, [*name.split(), *arguments, *options])
        assert done.exit_code == 0, done.output
        return done

    return call


@pytest.mark.parametrize("name", CASES)
def test_no_terminal_gets_plain_lines(call, name):
    done = call(name)
    assert bool(done.stdout) == (name != "phantom")
    assert "\x1b" not in done.output
    assert "\r" not in done.output
    if name in LONG:
        assert LONG[name] in done.stderr
        assert "/s, 0 s left\n" in done.stderr


@pytest.mark.parametrize("name", [name for name in CASES if name != "phantom"])
def test_quiet_leaves_the_terminal_alone(call, name):
    done = call(name, "--quiet")
    assert done.stderr == ""
    # What is asked for is still given: images by their UIDs, and what a machine lacks.
    assert done.stdout == "" or name in ("archive list", "doctor", "models")


@pytest.mark.parametrize("name", [name for name in CASES if name not in TO_A_FILE])
def test_json_is_all_that_stands_on_standard_output(call, name):
    # Phantoms take long to make: once for both options.
    done = call(name, "--json", *(["--quiet"] if name == "phantom" else []))
    assert json.loads(done.stdout)
    assert name != "phantom" or done.stderr == ""


def test_the_demo_can_be_run_again_and_prints_json(demo):
    done = CliRunner().invoke(cli.main, ["demo", "--studies", "2", "--out", str(demo.out), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed.pop("report") == str(demo.page)
    assert printed == json.loads((demo.out / "evaluation.json").read_text())


@pytest.mark.parametrize("name", [name for name in CASES if name in TO_A_FILE])
def test_json_goes_to_a_file(call, name, tmp_path):
    assert call(name, "--quiet", "--json", str(tmp_path / "out.json")).output == ""
    assert json.loads((tmp_path / "out.json").read_text())


def commands(command=cli.main, name=()):
    if not isinstance(command, click.Group):
        return [" ".join(name)]
    below = ((command.get_command(None, key), (*name, key)) for key in command.list_commands(None))
    return [found for arguments in below for found in commands(*arguments)]


def test_no_command_is_left_out():
    assert set(commands()) == CASES.keys() | ELSEWHERE


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
        ("bench", "pipeline", "{out}"),
        ("bench", "engines", "no-such-network"),
    ],
    ids=lambda arguments: arguments[0] + (" " + arguments[1] if arguments[0] in ("archive", "bench") else ""),
)
def test_what_cannot_run_ends_with_1_and_one_line(tmp_path, arguments):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "1.2.3.png").touch()
    done = CliRunner().invoke(cli.main, [argument.format(out=tmp_path) for argument in arguments])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mammofast: ")
    assert done.stderr.count("\n") == 1
