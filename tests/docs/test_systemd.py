"""The units of docs/systemd, read by systemd's own checker."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
