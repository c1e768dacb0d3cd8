"""What every ``mammofast bench`` command writes: one form of JSON for all of them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mammofast.errors import ProfilingError
from mammofast.profiling.statistics import summarize

FORMAT = 1
_NUMBERS = re.compile(r"\[\s*-?[\d.][^\[\]\"]*\]")
KINDS = ("ops", "engines", "archive", "pipeline")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing measured, under a name that stays the same from run to run.

    reason: why anybody should look at it. samples: seconds, by what was timed; ``ours`` is the series that comparisons
    look at. items: how many of ``unit`` one sample of ``ours`` handles. facts: what was fixed and what was found.
    warnings: what a reader must know before trusting it.
    """

    name: str
    reason: str
    samples: Mapping[str, Sequence[float]]
    ours: str
    items: float = 1.0
    unit: str = "call"
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def statistics(self) -> dict[str, dict[str, float | int]]:
        """Milliseconds of each series, see :func:`mammofast.profiling.statistics.summarize`."""
        return {name: summarize(values) for name, values in self.samples.items()}

    @property
    def throughput(self) -> float:
        """Items per second at the median."""
        return self.items / (summarize(self.samples[self.ours])["p50"] / 1e3)

    def as_dict(self) -> dict[str, Any]:
        """Return the case as JSON-ready values, floats with five digits: more would be noise."""
        statistics = self.statistics
        return {
            "case": self.name,
            "reason": self.reason,
            "ours": self.ours,
            "items": self.items,
            "unit": self.unit,
            "throughput_per_s": rounded(self.throughput),
            "ratio_to_ours": {
                name: rounded(values["p50"] / statistics[self.ours]["p50"])
                for name, values in statistics.items()
                if name != self.ours
            },
            "statistics_ms": rounded(statistics),
            "facts": rounded(dict(self.facts)),
            "warnings": list(self.warnings),
            "samples_s": rounded({name: list(values) for name, values in self.samples.items()}),
        }


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a case. ``case``: of what was measured of it."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case


@dataclass(frozen=True, slots=True)
class Record:
    """One run of ``mammofast bench``.

    kind: one of ``KINDS``. environment: where it ran. calibration: what that machine could do at that time, to tell a
    slower machine from slower code. notes: what was fixed and what is not counted. interrupted: whether somebody
    stopped it, so that cases, or part of the last one, are missing.
    """

    kind: str
    command: str
    environment: Mapping[str, Any]
    cases: tuple[Case, ...]
    calibration: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    interrupted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "command": self.command,
            "interrupted": self.interrupted,
            "notes": list(self.notes),
            "environment": rounded(dict(self.environment)),
            "calibration": rounded(dict(self.calibration)),
            "cases": [case.as_dict() for case in self.cases],
        }

    def write(self, path: Path) -> None:
        """Write JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False)
        # Numbers side by side: a line for each sample would be a file of nothing else.
        text = _NUMBERS.sub(lambda found: " ".join(found[0].split()), text)
        path.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """Read what ``Record.write`` wrote.

    Raises
    ------
    ProfilingError
        When the file is not that.

    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ProfilingError(
                f"the old record has format {content['format']}, this version reads {FORMAT}: measure again"
            )
        cases = tuple(
            Case(
                name=case["case"],
                reason=case["reason"],
                samples=_samples(case),
                ours=case["ours"],
                items=case["items"],
                unit=case["unit"],
                facts=case["facts"],
                warnings=tuple(case["warnings"]),
            )
            for case in content["cases"]
        )
        return Record(
            kind=content["kind"],
            command=content["command"],
            environment=content["environment"],
            cases=cases,
            calibration=content["calibration"],
            notes=tuple(content["notes"]),
            interrupted=content.get("interrupted", False),  # since version 1 of the format, not from its first day
        )
    except OSError as error:
        raise ProfilingError(f"the old record cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ProfilingError(
            f"the old record is not what `mammofast bench … --json FILE` writes ({type(error).__name__}: {error})"
        ) from error


def _samples(case: Mapping[str, Any]) -> Mapping[str, Sequence[float]]:
    samples: Mapping[str, Sequence[float]] = case["samples_s"]
    if not all(values and min(values) > 0 for values in (samples[case["ours"]], *samples.values())):
        raise ValueError("samples that are not times")
    return samples


def rounded(value: Any) -> Any:
    """Return a JSON-ready value with its floats, however deep, to five digits: more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value
