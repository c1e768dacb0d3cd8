"""The units of docs/systemd, read by systemd's own checker."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mammofast.cli import main

UNITS = Path(__file__).parents[2] / "docs" / "systemd"


def test_systemd_finds_nothing_wrong():
    if shutil.which("systemd-analyze") is None:
        if "MAMMOFAST_REQUIRE_TOOLS" in os.environ:
            pytest.fail("systemd-analyze is missing")
        pytest.skip("NOT TESTED: systemd's units; there is no systemd-analyze")
    units = sorted(UNITS.glob("*"))
    assert [unit.suffix for unit in units] == [".service", ".timer"]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_step_of_the_night_is_a_command_with_these_options():
    lines = (UNITS / "mammofast-night.service").read_text().splitlines()
    steps = [line.split("mammofast ", 1)[1].split() for line in lines if "ExecStart=" in line]
    assert [step[0] for step in steps] == ["ingest", "screen", "report", "report", "send"]
    for name, *words in steps:
        command = main.get_command(None, name)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
    variables = {
        word.partition("=")[0] for line in lines if line.startswith("Environment=") for word in line[12:].split()
    }
    assert {word.strip("${}") for step in steps for word in step if word.startswith("$")} == variables
