"""Some runs of the campaign that bench/night.py makes two hundred of."""

import json
import subprocess
import sys

from tests.hard.shell import ROOT


def test_killed_runs_lose_nothing(tmp_path):
    # As ``python -m bench.night``, but with the installed package.
    code = f"import runpy, sys; sys.path.append({str(ROOT)!r}); runpy.run_module('bench.night', run_name='__main__')"
    options = ["kills", "--runs", "3", "--first", "2", "--seed", "5", "--json", tmp_path / "night.json"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *options], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (case,) = json.loads((tmp_path / "night.json").read_text())["cases"]
    assert (case["runs"], case["not_as_demanded"]) == (3, [])
    assert sum(case["killed"].values()) == 3
