"""What the scripts share: their command line, a case's record, and the JSON that says where it was measured."""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mammofast.profiling.environment import environment
from mammofast.profiling.record import rounded

ROOT = Path(__file__).parent.parent
_LOAD_AT_START = os.getloadavg()


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
    at_end = environment(packages)
    content = {
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "notes": list(notes),
        "environment": at_end | {"load_average": list(_LOAD_AT_START), "load_average_at_end": at_end["load_average"]},
        "cases": list(cases),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded(content), indent=1) + "\n")


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else "?"
