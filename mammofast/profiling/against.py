"""One version beside another that is installed elsewhere, both in turns, judged pair by pair."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mammofast.errors import ProfilingError
from mammofast.profiling.comparison import Verdict, compare_pairs
from mammofast.profiling.contest import OURS
from mammofast.profiling.record import Case, read_record
from mammofast.profiling.statistics import percentile

# Fewer cannot rule out chance, see compare_pairs.
PAIRS = 9
_RUN = "from mammofast.cli import main; main()"


def interpreter(path: Path) -> Path:
    """Return the Python of a virtual environment, or the path where it is a Python itself.

    Raises
    ------
    ProfilingError
        When it is neither.

    """
    python = path / "bin" / "python" if path.is_dir() else path
    if not python.exists():
        raise ProfilingError("against: expected a virtual environment's folder, or its python, that has a mammofast")
    return python


def run_against(
    other: Path, arguments: Sequence[str], pairs: int = PAIRS, progress: Callable[[int], None] = lambda n: None
) -> tuple[list[Case], list[Verdict]]:
    """Run one ``mammofast bench`` command with both versions, in turns, and judge the cases that both have.

    A sample of the cases returned is the median of a run.

    Parameters
    ----------
    other: the other version's environment or interpreter.
    arguments: of the command, such as ("bench", "ops", "--seconds", "0.5").
    pairs: how often. progress: called with 1 after each pair.

    Raises
    ------
    ProfilingError
        When one of the two cannot run the command, or they share no case.

    """
    # PYTHONPATH stands before what is installed: the other version would be this one, too.
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    versions = ((interpreter(other), elsewhere), (Path(sys.executable), dict(os.environ)))
    times: dict[str, list[tuple[float, float]]] = {}
    for number in range(pairs):
        # Whoever goes first changes from pair to pair.
        order = (0, 1) if number % 2 == 0 else (1, 0)
        medians: dict[int, dict[str, float]] = {which: _medians(*versions[which], arguments) for which in order}
        for case in (name for name in medians[1] if name in medians[0]):
            times.setdefault(case, []).append((medians[0][case], medians[1][case]))
        progress(1)
    if not times:
        raise ProfilingError("against: the two versions measured no case of the same name")
    verdicts = [compare_pairs(case, found) for case, found in times.items()]
    cases = [_case(verdict, times[verdict.case]) for verdict in verdicts]
    return cases, verdicts


def _case(verdict: Verdict, times: Sequence[tuple[float, float]]) -> Case:
    old, new = zip(*times, strict=True)
    samples = {OURS: new, "the other version": old}
    return Case(verdict.case, "two versions in turns", samples, OURS, facts={"compared": verdict.as_facts()})


def _medians(python: Path, variables: Mapping[str, str], arguments: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="mammofast-") as folder:
        path = Path(folder) / "record.json"
        # -P: not the mammofast of the folder that this happens to be started in.
        command = [str(python), "-P", "-c", _RUN, *arguments, "--quiet", "--json", str(path)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
            raise ProfilingError(f"against: one of the two versions ended with {done.returncode}: {said}")
        record = read_record(path)
    return {case.name: percentile(sorted(case.samples[case.ours]), 50) for case in record.cases}
