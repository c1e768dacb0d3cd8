"""Interleaved rounds, and the JSON that says what was measured, where and with what."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

# A call shorter than this is repeated within a sample: clocks and interrupts cost microseconds.
SAMPLE_SECONDS = 0.02
ROOT = Path(__file__).parent.parent


def interleave(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time contestants in turns, so that what disturbs the machine disturbs all of them.

    contestants: name to a call without arguments, already warm. rounds: samples of each.

    Returns
    -------
    Name to seconds a call, one number a round: the mean over as many calls as fill ``SAMPLE_SECONDS``.

    """
    repeats = {name: _repeats(call) for name, call in contestants.items()}
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            samples[name].append((time.perf_counter() - start) / repeats[name])
    return samples


def _repeats(call: Callable[[], Any]) -> int:
    start = time.perf_counter()
    call()
    return max(1, round(SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-7)))


def report(case: str, reason: str, samples: dict[str, list[float]], ours: str, **more: Any) -> dict[str, Any]:
    """Return a case's record: medians in seconds, and how many times longer than ours each of the others takes."""
    median = {name: statistics.median(values) for name, values in samples.items()}
    ratios = {name: median[name] / median[ours] for name in median if name != ours}
    record = {"case": case, "reason": reason, "median_s": median, "ratio_to_ours": ratios, **more, "samples_s": samples}
    print(f"{case}: {ours} {_readable(median[ours])}", flush=True)
    for name, ratio in ratios.items():
        print(f"    {name:42} {_readable(median[name]):>10}  {ratio:10.2f} x", flush=True)
    return record


def _readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def parse_arguments(description: str | None, options: Iterable[tuple[str, dict[str, Any]]] = ()) -> argparse.Namespace:
    """Read a benchmark's command line; all of them know ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    for name, settings in options:
        parser.add_argument(name, **settings)
    return parser.parse_args()


def write(path: Path | None, cases: Sequence[dict[str, Any]], packages: Sequence[str], notes: Sequence[str]) -> None:
    """Write cases with all that they depend on.

    packages: distributions whose versions matter. notes: what was fixed and what is not counted.
    """
    if path is None:
        return
    content = {
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "notes": list(notes),
        "environment": environment(packages),
        "cases": list(cases),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(content), indent=1) + "\n")


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """Return the commit, the machine and how busy it is, and the versions."""
    status = _git("status", "--porcelain", "--", "mammofast", "csrc", "setup.py")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": [line[3:] for line in status.splitlines()],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "load_average_at_start": list(_LOAD_AT_START),
        "load_average_at_end": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in sorted(packages)},
    }


_LOAD_AT_START = os.getloadavg()


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else "?"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.rstrip()


def _cpu() -> dict[str, str]:
    """Return what tells one processor from another: hypervisors hide parts of the name."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {name: found.get(name, "?") for name in ("model name", "cpu family", "model", "stepping")}


def _rounded(value: Any) -> Any:
    """Keep four digits of every float: more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
