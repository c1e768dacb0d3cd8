"""Whether `mammofast bench --compare` and `--against` say what is true.

python -m bench.verdicts --json bench/results/verdicts.json

The real commands are run on one case of nms, in Pythons whose nms waits after each call for a part of the time that the
call took: 25 % for --compare, 10 % for --against. Then on the same code: twenty times each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from mammofast.profiling.environment import environment

ROOT = Path(__file__).parents[1]
CASE = "nms, uniform, 10000"
RUN = "from mammofast.cli import main; main()"
# Imported by Python at its start, before mammofast: only this case is measured, and its op may wait.
HOOK = """
import importlib.abc, importlib.machinery, sys, time

def change(module):
    module.CASES = {{name: build for name, build in module.CASES.items() if name == {case!r}}}
    module.PEERS = ()
    part, nms = {part}, module.ops.nms
    def waiting(*arguments):
        start = time.perf_counter()
        found = nms(*arguments)
        end = time.perf_counter()
        end += part * (end - start)
        while time.perf_counter() < end:
            pass
        return found
    module.ops.nms = waiting

class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "mammofast.profiling.ops.nms":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), change(module))
        return spec

sys.meta_path.insert(0, Hook())
"""


def interpreter(folder: Path, part: float) -> Path:
    """Return a Python whose nms takes a part more than it needs; 0: what asking the clock costs."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOK.format(case=CASE, part=part))
    python = folder / "python"
    paths = os.pathsep.join(map(str, (folder, ROOT)))
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


def run(python: Path, json_file: Path, *more: str) -> dict[str, Any]:
    """Return the record of `bench ops nms`."""
    command = [python, "-P", "-c", RUN, "bench", "ops", "nms", *more, "--quiet", "--json", json_file]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench ops ended with {done.returncode}: {done.stderr[-500:]}")
    content: dict[str, Any] = json.loads(json_file.read_text())
    return content


def compared(record: dict[str, Any]) -> dict[str, Any]:
    (case,) = record["cases"]
    found: dict[str, Any] = case["facts"]["compared"]
    return found


def compare_campaign(same: Path, slower: Path, repeats: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Run old, new and slowed code one after the other; each is a run of its own, as from one day to the next."""
    effort = ("--seconds", str(seconds), "--warm-up", "0.1")
    found: dict[str, list[dict[str, Any]]] = {"same code": [], "25 % slower": []}
    old = scratch / "old.json"
    run(same, old, *effort)
    for number in range(repeats):
        newer = scratch / "new.json"
        found["same code"].append(compared(run(same, newer, *effort, "--compare", str(old))))
        found["25 % slower"].append(compared(run(slower, scratch / "slower.json", *effort, "--compare", str(old))))
        newer.replace(old)
        print(f"--compare {number + 1}/{repeats}: {summary(found)}", flush=True)
    return {"what": "--compare", "seconds_a_run": seconds, "verdicts": found, "summary": summary(found)}


def against_campaign(same: Path, slower: Path, repeats: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Run the new version against an older one in turns, nine pairs for each verdict."""
    effort = ("--seconds", str(seconds), "--warm-up", "0.05")
    found: dict[str, list[dict[str, Any]]] = {"same code": [], "10 % slower": []}
    # What runs is the new version's Python: the slowed one as the old version turns the ratio round.
    twin = interpreter(scratch / "twin", 0)
    for number in range(repeats):
        new = scratch / "new.json"
        found["same code"].append(compared(run(same, new, *effort, "--against", str(twin))))
        if number < max(1, repeats // 6):
            found["10 % slower"].append(compared(run(slower, new, *effort, "--against", str(twin))))
        print(f"--against {number + 1}/{repeats}: {summary(found)}", flush=True)
    return {"what": "--against", "seconds_a_run": seconds, "verdicts": found, "summary": summary(found)}


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, int]]:
    return {name: dict(Counter(each["verdict"] for each in verdicts)) for name, verdicts in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.25, help="of a run of --compare; --against: a third")
    arguments = parser.parse_args()
    at_start = environment(["numpy"])
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        same, quarter, tenth = (interpreter(scratch / f"{part}", part) for part in (0, 0.25, 0.1))
        campaigns = [
            compare_campaign(same, quarter, arguments.repeats, arguments.seconds, scratch),
            against_campaign(same, tenth, arguments.repeats, arguments.seconds / 3, scratch),
        ]
    if arguments.json:
        content = {
            "command": " ".join(["python -m bench.verdicts", *sys.argv[1:]]),
            "case": CASE,
            "environment": at_start,
            "campaigns": campaigns,
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
