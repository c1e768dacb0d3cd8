"""Two versions in turns: their records are prepared, so that nothing here depends on a clock."""

import json
import sys

import numpy as np
import pytest

from mammofast.errors import ProfilingError
from mammofast.profiling import against
from mammofast.profiling.comparison import FASTER, SAME, SLOWER
from mammofast.profiling.record import Case, Record

# Stands for an environment's Python: takes the next record from a folder, and writes down that it was asked.
FAKE = """#!{python}
import json, os, pathlib, shutil, sys
folder = pathlib.Path({folder!r})
numbers = folder / "asked"
number = len(numbers.read_text().split()) if numbers.exists() else 0
with numbers.open("a") as file: file.write("x ")
with (folder.parent / "order").open("a") as file: file.write(folder.name + " ")
(folder / "arguments.json").write_text(json.dumps(sys.argv[1:]))
(folder / "path").write_text(os.environ.get("PYTHONPATH", "none"))
shutil.copy(folder / f"{{number}}.json", sys.argv[sys.argv.index("--json") + 1])
"""


def version(folder, medians):
    """Return an interpreter whose runs have these medians, by case; records of three samples around each."""
    folder.mkdir()
    for number, times in enumerate(medians):
        cases = tuple(Case(name, "", {"mammofast": [9.0, t, 1e-9]}, "mammofast") for name, t in times.items())
        Record("ops", "", {}, cases).write(folder / f"{number}.json")
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(FAKE.format(python=sys.executable, folder=str(folder)))
    python.chmod(0o755)
    return folder


def runs(rng, factor, n=against.PAIRS):
    return [{"nms": factor * rng.uniform(0.99, 1.01)} for _ in range(n)]


@pytest.fixture
def judge(tmp_path, monkeypatch):
    def run(old, new):
        other, ours = version(tmp_path / "old", old), version(tmp_path / "new", new)
        monkeypatch.setattr(sys, "executable", str(ours / "bin" / "python"))
        return against.run_against(other, ["bench", "ops", "nms"])

    return run


@pytest.mark.parametrize("factor, verdict", [(1.1, SLOWER), (1 / 1.1, FASTER), (1.0, SAME)])
def test_a_tenth_is_found(judge, tmp_path, factor, verdict):
    rng = np.random.default_rng(3)
    (case,), (found,) = judge(runs(rng, 1), runs(rng, factor))
    assert found.verdict == verdict
    assert found.ratio == pytest.approx(factor, rel=0.02)
    assert case.facts["compared"]["verdict"] == verdict
    assert len(case.samples["mammofast"]) == len(case.samples["the other version"]) == against.PAIRS


def test_both_take_turns_and_get_the_same_command(judge, tmp_path):
    rng = np.random.default_rng(3)
    judge(runs(rng, 1), runs(rng, 1))
    order = (tmp_path / "order").read_text().split()
    assert order[:6] == ["old", "new", "new", "old", "old", "new"]
    assert len(order) == 2 * against.PAIRS
    for name in ("old", "new"):
        arguments = json.loads((tmp_path / name / "arguments.json").read_text())
        assert arguments[0] == "-P"
        assert arguments[3:7] == ["bench", "ops", "nms", "--quiet"]


def test_the_other_version_is_not_this_one_by_way_of_pythonpath(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/sources")
    judge([{"nms": 1}] * 9, [{"nms": 1}] * 9)
    assert [(tmp_path / name / "path").read_text() for name in ("old", "new")] == ["none", "/sources"]


def test_only_shared_cases_are_judged_and_there_must_be_one(judge):
    (case,), _ = judge([{"a": 1, "b": 1}] * 9, [{"b": 1, "c": 1}] * 9)
    assert case.name == "b"


def test_no_shared_case_is_an_error(judge):
    with pytest.raises(ProfilingError, match="no case of the same name"):
        judge([{"a": 1}] * 9, [{"b": 1}] * 9)


def test_a_version_that_cannot_run_it_is_said(tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport sys; print('Error: No such command', file=sys.stderr); sys.exit(2)")
    python.chmod(0o755)
    with pytest.raises(ProfilingError, match="ended with 2: Error: No such command"):
        against.run_against(python, ["bench", "ops"])


def test_no_environment_is_refused(tmp_path):
    with pytest.raises(ProfilingError, match="expected a virtual environment"):
        against.interpreter(tmp_path)
    with pytest.raises(ProfilingError, match="expected a virtual environment"):
        against.interpreter(tmp_path / "none")
