"""What there is to do on a machine with a card, each a step."""

import json
import os
import re
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mammofast
from bench.gpu import engines, screening
from bench.gpu.steps import FAILED, LEFT_OUT, PASSED, Result, Run, Step, last_words
from bench.harness import ROOT
from mammofast.machine import cores
from mammofast.profiling.ops.device import OPS
from mammofast.profiling.record import Record, read_record

CHECKS = ("memcheck", "racecheck", "initcheck", "synccheck")
# The checks late: each by itself is of use. The last two need more packages, and a call of their own.
STEPS = ("machine", "build", "tests", "bench", *CHECKS, "engines", "pipeline")
RECORD = "ops_cuda.json"
# Seconds at most, out of ten minutes a call.
LIMITS = {
    "machine": 30,
    "build": 330,
    "tests": 180,
    **dict.fromkeys(CHECKS, 75),
    "bench": 300,
    "engines": 400,
    "pipeline": 500,
}
_ERRORS = 9  # the exit status asked of compute-sanitizer where it finds something
_PACKAGES = ("numpy", "pybind11", "pytest", "torch", "torchvision", "cupy")
# Every process sees the mammofast that this one does, then bench and tests, then what else was there.
PYTHON = (sys.executable, "-P")
_PATHS = (str(Path(mammofast.__file__).parents[1]), str(ROOT), os.environ.get("PYTHONPATH"))
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(filter(None, _PATHS)), "PYTHONUNBUFFERED": "1"}
# What the dry run takes in place of all tests that need a card: enough to see that they are found and counted.
_DRY_TESTS = ("tests/ops/device/test_confidence_mask.py", "-k", "on_host")


@dataclass(frozen=True)
class Work:
    """The steps over one folder of results.

    dry: on the host, with emulated kernels. seconds: of measuring each way of a case. ops: to be measured, all of them
    where none is named.
    """

    run: Run
    dry: bool
    seconds: float
    ops: Sequence[str] = ()

    def steps(self) -> list[Step]:
        """Return all steps, in their order."""
        runs = {"machine": self._machine, "build": self._build, "tests": self._tests, "bench": self._bench}
        runs |= {tool: partial(self._check, tool) for tool in CHECKS}
        runs |= {"engines": self._engines, "pipeline": self._pipeline}
        return [Step(name, runs[name], LIMITS[name]) for name in STEPS]

    def _machine(self, seconds: float) -> Result:
        query = "--query-gpu=name,compute_cap,driver_version,memory.total"
        facts: dict[str, Any] = {"versions": self._versions(seconds)}
        for name, command in (
            ("nvcc", ["nvcc", "--version"]),
            ("card", ["nvidia-smi", query, "--format=csv,noheader"]),
        ):
            if shutil.which(command[0]) is None:
                facts[name] = None
                continue
            code, said = self.run.call(command, seconds)
            facts[name] = None if code else said.strip().splitlines()[-1 if name == "nvcc" else 0]
        if facts["card"] is None and not self.dry:
            return FAILED, "no NVIDIA card here, or no driver; expected one (or --dry-run)", facts
        return PASSED, str(facts["card"] or "no card; the kernels are emulated"), facts

    def _versions(self, seconds: float) -> dict[str, str]:
        find = "import importlib, json, platform; found = {'python': platform.python_version()}\n"
        for name in _PACKAGES:
            find += f"try: found['{name}'] = importlib.import_module('{name}').__version__\nexcept Exception: pass\n"
        code, said = self._python(["-c", find + "print(json.dumps(found))"], seconds)
        return {} if code else dict(json.loads(said.splitlines()[-1]))

    def _build(self, seconds: float) -> Result:
        if self.dry:
            return self._told([*PYTHON, "-m", "bench.gpu.emulated"], seconds, "for the host")
        if shutil.which("nvcc") is None:
            return FAILED, "no nvcc on the path: the kernels cannot be built here", {}
        settings = {"MAMMOFAST_BUILD_JOBS": str(cores())}
        if target := _compute_capability(self.run):
            settings["MAMMOFAST_CUDA_ARCHITECTURES"] = target
        code, said = self._python(["setup.py", "build_ext", "--inplace"], seconds, settings)
        if code:
            return FAILED, last_words(said, code), {}
        ask = "from mammofast.ops import _native; print(_native.why_no_cuda() or 'the kernels can run')"
        code, said = self._python(["-c", ask], seconds)
        words = said.strip().splitlines()[-1] if said.strip() else "nothing said"
        return PASSED if words == "the kernels can run" else FAILED, f"{words}, built for {target or 'the default'}", {}

    def _tests(self, seconds: float) -> Result:
        path = self.run.out / "tests.xml"
        path.unlink(missing_ok=True)
        chosen = _DRY_TESTS if self.dry else ("tests/ops", "-m", "gpu")
        # The other tests' conftest.py needs what reads DICOM.
        command = ["-m", "pytest", "-q", "--confcutdir=tests/ops", f"--junitxml={path}", *chosen]
        code, said = self._python(command, seconds)
        if not path.exists():
            return FAILED, last_words(said, code), {}
        counts = _counted(path)
        words = ", ".join(f"{number} {name}" for name, number in counts.items() if number or name == "passed")
        good = code == 0 and counts["passed"] and not (counts["failed"] or counts["skipped"])
        return PASSED if good else FAILED, words, {"tests": counts}

    def _check(self, tool: str, seconds: float) -> Result:
        if self.dry:
            return self._told(
                [*PYTHON, "-m", "bench.gpu.short", "--emulated", *self.ops],
                seconds,
                "emulated, not under compute-sanitizer",
            )
        sanitizer = shutil.which("compute-sanitizer")
        if sanitizer is None:
            return LEFT_OUT, "compute-sanitizer is not on the path", {}
        command = [
            sanitizer,
            "--tool",
            tool,
            "--error-exitcode",
            str(_ERRORS),
            *PYTHON,
            "-m",
            "bench.gpu.short",
            *self.ops,
        ]
        code, said = self.run.call(command, seconds, ENVIRONMENT)
        found = re.findall(r"=+ ((?:ERROR|RACECHECK) SUMMARY: .+)", said)
        if not found:  # without a summary nothing was looked at
            return FAILED, last_words(said, code), {}
        clean = code == 0 and all(re.search(r"SUMMARY: 0 (errors|hazards)", line) for line in found)
        return PASSED if clean else FAILED, found[-1], {}

    def _bench(self, seconds: float) -> Result:
        failed, written = {}, []
        with tempfile.TemporaryDirectory(prefix="mammofast-") as scratch:
            wanted = list(self.ops or OPS)
            left = seconds
            for number, op in enumerate(wanted):
                path = Path(scratch) / f"{op}.json"
                share = left / (len(wanted) - number)
                code, said, took = self._measured(op, path, min(2 * share, left))
                left -= took
                if code or not path.exists():
                    failed[op] = last_words(said, code)
                else:
                    written.append(read_record(path))
                    self._merged(written).write(self.run.out / RECORD)
        cases = sum(len(record.cases) for record in written)
        reasons: dict[str, list[str]] = {}
        for op, why in failed.items():
            reasons.setdefault(why, []).append(op)
        words = "; ".join([f"{cases} cases measured", *(f"{', '.join(ops)} {why}" for why, ops in reasons.items())])
        return FAILED if failed or not cases else PASSED, words, {"failed": failed}

    def _engines(self, seconds: float) -> Result:
        if lacking := self._lacking(engines.NEEDS):
            return lacking
        (self.run.out / engines.RECORD).unlink(missing_ok=True)
        return engines.measure(self._python, self.run.out, seconds, self.seconds, self.dry)

    def _pipeline(self, seconds: float) -> Result:
        return self._lacking(screening.NEEDS) or screening.measure(self._python, self.run.out, seconds, self.dry)

    def _lacking(self, needed: Sequence[str]) -> Result | None:
        """Return what to say where packages are not here."""
        missing = [name for name in needed if find_spec(name) is None]
        return (LEFT_OUT, f"needs {', '.join(missing)}: see bench/README.md", {"missing": missing}) if missing else None

    def _measured(self, op: str, path: Path, seconds: float) -> tuple[int, str, float]:

        start = time.monotonic()
        options = ["--seconds", str(self.seconds), "--warm-up", "0.1", "--json", str(path)]
        command = ["-m", "mammofast", "bench", "ops", op, "--device", "cuda", *options, "--verbose"]
        if self.dry:
            command = ["-m", "bench.gpu.emulated", op, "--json", str(path)]
        code, said = self._python(command, seconds)
        return code, said, time.monotonic() - start

    def _merged(self, records: Sequence[Record]) -> Record:
        """Return one record of the ops measured so far, each in a process of its own: an error may break a process."""
        first = records[0]
        cases = tuple(case for record in records for case in record.cases)
        command = "python -m bench.gpu" + (" --dry-run" if self.dry else "")
        return Record("ops", command, first.environment, cases, first.calibration, first.notes)

    def _told(self, command: Sequence[str], seconds: float, where: str) -> Result:
        code, said = self.run.call(command, seconds, ENVIRONMENT)
        lines = said.strip().splitlines()
        return (FAILED, last_words(said, code), {}) if code else (PASSED, f"{where}: {lines[-1] if lines else ''}", {})

    def _python(
        self, arguments: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        return self.run.call([*PYTHON, *arguments], seconds, ENVIRONMENT | dict(environment or {}))


def _compute_capability(run: Run) -> str | None:
    """Return the first card's, as nvcc names its target: 90 for 9.0."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return None
    code, said = run.call(command, 30)
    found = re.match(r"(\d+)\.(\d+)\s*$", said.splitlines()[0]) if code == 0 and said else None
    return f"{found[1]}{found[2]}" if found else None


def _counted(path: Path) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped, from JUnit's XML."""
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        for name in counts:
            counts[name] += int(suite.get(name, 0))
    wrong = counts["failures"] + counts["errors"]
    return {"passed": counts["tests"] - wrong - counts["skipped"], "failed": wrong, "skipped": counts["skipped"]}
