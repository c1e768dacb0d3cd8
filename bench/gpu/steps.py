"""Steps that are run one after the other, whatever becomes of each, and what became of them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.harness import ROOT

PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"
_KILLED_AFTER = 5  # seconds after it was asked to end

Result = tuple[str, str, dict[str, Any]]  # status, words, facts
Python = Callable[[Sequence[str], float], tuple[int, str]]  # arguments, seconds; returns exit status and words


@dataclass(frozen=True)
class Outcome:
    """What became of a step. words: in one line. facts: what a program would want to know of it."""

    step: str
    status: str
    words: str
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """Something to do. run: takes the seconds it may use, returns (status, words, facts)."""

    name: str
    run: Callable[[float], Result]
    limit: float


@dataclass
class Run:
    """A folder of results, a log, and so many seconds in all."""

    out: Path
    budget: float
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self.out = self.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        if self._path.exists():  # what was done in an earlier call stays known
            self.outcomes = [Outcome(**each) for each in json.loads(self._path.read_text())]

    @property
    def _path(self) -> Path:
        return self.out / "steps.json"

    def do(self, steps: Sequence[Step]) -> None:
        """Run all of them, each in what is left of the time; write what became of each at once."""
        for step in steps:
            left = self.budget - (time.monotonic() - self._started)
            if left < 1:
                self._note(Outcome(step.name, LEFT_OUT, "no time was left"))
                continue
            print(f"== {step.name}", flush=True)
            start = time.monotonic()
            try:
                status, words, facts = step.run(min(step.limit, left))
            except Exception as error:  # the next step may still tell something
                status, words, facts = FAILED, f"{type(error).__name__}: {error}".splitlines()[0], {}
            outcome = Outcome(step.name, status, words, round(time.monotonic() - start, 1), facts)
            print(f"   {status}: {words} ({outcome.seconds:.0f} s)", flush=True)
            self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        self.outcomes = [each for each in self.outcomes if each.step != outcome.step] + [outcome]
        self._path.write_text(json.dumps([asdict(each) for each in self.outcomes], indent=1) + "\n")

    def call(
        self, command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command in the repository, in a process group of its own; add all that it said to log.txt.

        Returns its exit status, 124 where its time was up, and what it said.
        """
        started = time.monotonic()
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | dict(environment or {}),
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=seconds)
                code = process.returncode
            except subprocess.TimeoutExpired:
                said, code = _end(process), 124
        with (self.out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(command)}\n{said}\n[ended with {code} in {time.monotonic() - started:.1f} s]\n")
        return code, said


def _end(process: "subprocess.Popen[str]") -> str:
    """End a command with all that it started; return what it said until then."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            return process.communicate(timeout=_KILLED_AFTER)[0]
        except subprocess.TimeoutExpired:
            continue
    return process.communicate()[0]


def last_words(said: str, code: int) -> str:
    """Return a command's last line that says something, and how it ended."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    ended = "took too long" if code == 124 else f"ended with {code}"
    return f"{ended}: {lines[-1][:160]}" if lines else ended
