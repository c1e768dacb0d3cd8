import io
import os
import re
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from rich.console import Console

from mammofast import __version__, cli
from mammofast.cli import progress as progress_module
from mammofast.cli.progress import progress


def run(*arguments):
    return CliRunner().invoke(cli.main, list(arguments))


def test_every_command_answers_help_with_an_example():
    listed = run("--help")
    assert listed.exit_code == 0
    for name in cli._COMMANDS:
        assert f"\n  {name} " in listed.output
        answer = run(name, "--help")
        assert answer.exit_code == 0, answer.output
        assert f"mammofast {name}" in answer.output, f"{name} --help has no example"


def test_version_and_module_entry_say_the_same(elsewhere):
    assert __version__ in run("--version").output
    command = [sys.executable, "-m", "mammofast", "--version"]
    done = subprocess.run(command, **elsewhere, capture_output=True, text=True, check=True)
    assert __version__ in done.stdout


@pytest.mark.parametrize(
    "arguments", [("fly",), ("demo", "--studies", "0"), ("demo", "--studies", "many"), ("screen",)]
)
def test_misuse_ends_with_2(arguments):
    assert run(*arguments).exit_code == 2


def test_what_cannot_run_ends_with_1_and_one_line(tmp_path):
    done = run("archive", "info", str(tmp_path))
    assert done.exit_code == 1
    assert done.output.startswith("mammofast: ")
    assert "Traceback" not in done.output


@pytest.mark.parametrize("words", [(), ("--verbose",)])
@pytest.mark.parametrize("command", ["train", "evaluate", "ingest"])
def test_a_data_sets_file_is_named_to_whoever_asks(command, words, tmp_path):
    """Its name may be a patient's, and without it nobody finds what is to be mended."""
    (tmp_path / "AllDICOMs").mkdir()
    (tmp_path / "AllDICOMs" / "SECRET^NAME.dcm").touch()
    data, archive, out = (str(tmp_path / name) for name in (".", "archive.zarr", "out"))
    arguments = {
        "train": ("p2-unet", "--data", f"inbreast:{data}", "--out", out),
        "evaluate": ("--baseline", "threshold", "--truth", data, "--layout", "inbreast"),
        "ingest": ("--layout", "inbreast", data, archive),
    }[command]
    done = run(command, *arguments, *words)
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("mammofast: INbreast: none of its 1 images"))
    if words:
        assert lines[at + 1] == "  in the data set: SECRET^NAME.dcm"
    else:
        assert lines[at + 1] == "  --verbose names the file or image"
        assert "SECRET" not in done.output


def test_doctor_names_what_it_found():
    assert "onnxruntime" in run("doctor").output


def test_plain_progress_ends_with_the_total(capsys):
    with progress("Counting", 5) as advance:
        for _ in range(5):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Counting: 5 of 5, ")


def test_quiet_progress_says_nothing(capsys):
    with progress("Counting", 5, quiet=True) as advance:
        advance(5)
    assert capsys.readouterr() == ("", "")


def test_plain_progress_takes_a_total_that_is_known_later(capsys):
    with progress("Counting") as advance:
        for _ in range(5):
            advance(1, 5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.fullmatch(r"Counting: 5 of 5, \d+\.\d/s, 0 s left", lines[0])


def test_a_terminal_shows_a_bar_with_rate_and_time_left(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(progress_module, "Console", lambda **options: terminal)
    with progress("Counting") as advance:
        advance(2, 4)
        time.sleep(0.01)
        advance(1, 4)
        terminal.file.truncate(0)
    shown = re.sub(r"\[[0-9;?]*[A-Za-z]", "", terminal.file.getvalue())
    assert re.search(r"Counting .*━.* 3/4 \d+\.\d/s 0:00:00 0:00:\d\d", shown), shown


def test_a_reader_who_has_had_enough_is_no_error(elsewhere):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "mammofast", "doctor"]
    done = subprocess.run(command, **elsewhere, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            PermissionError(13, "Permission denied", "/data/Doe^Jane.dcm"),
            "mammofast: a file could not be used: Permission denied\n",
        ),
        (OSError("Doe^Jane"), "mammofast: a file could not be used: OSError\n"),
        (ImportError("no kernels"), "mammofast: no kernels\n"),
    ],
)
def test_what_the_machine_refuses_ends_with_1_and_no_file_name(monkeypatch, error, line):
    def refuse(as_json, quiet, verbose):
        raise error

    monkeypatch.setattr(cli.main.get_command(None, "doctor"), "callback", refuse)
    done = run("doctor")
    assert done.exit_code == 1
    assert done.output == line
