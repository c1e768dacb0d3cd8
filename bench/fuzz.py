"""Ten thousand damaged and hostile DICOM objects, ingested for real.

    python -m bench.fuzz --mutations 10000 --json bench/results/fuzz.json

Objects come from tests/hard/mutations.py. They are ingested by ``mammofast ingest``, some at a time, with a sound image
beside them, in a process of its own whose memory and time are limited. Demanded of every one: it ends as added, skipped
or failed with a reason of ``errors.Reason`` that is not "internal"; the exit status is 0, or 3 where something failed;
the sound image is added, with its pixels; what was added can be read again; nothing is printed or recorded that names
the patient; nothing is written but the archive. A process that dies or takes too long is run again, object by object,
to find out which did it. Exit status 1 where something was not as demanded.
"""

import contextlib
import ctypes
import hashlib
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench.harness import ROOT, parse_arguments, write
from mammofast import open_archive
from mammofast.archive.verify import verify
from mammofast.cli import main as command
from mammofast.errors import BrokenImage, Reason
from mammofast.records import GreyPipeline

BATCH = 40
# Address space beyond what a process has before it begins, and seconds for one batch or one object.
MEMORY_BYTES = 2 << 30
DEADLINE_SECONDS = 120
_REASONS = {str(reason) for reason in Reason}
_ARENA_MAX = -8  # mallopt(3)
# What one process says: counts of "syntax/kind/outcome", and what was not as demanded, by mutation number.
Said = dict[str, Any]


def load(path: Path) -> ModuleType:
    """Import a file of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def ingest_batch(mutations: Any, numbers: Sequence[int], folder: Path) -> Said:
    """Ingest some mutations beside a sound image and look at all that became of them."""
    source, archive, said, read = (folder / name for name in ("in", "archive.zarr", "said", "read"))
    source.mkdir()
    control = mutations.sound("JPEG lossless SV1", 10**9 + numbers[0])
    (source / "m-control").write_bytes(control)
    made = [mutations.make(number) for number in numbers]
    for mutation in made:
        # Before and behind the sound image.
        (source / f"{'az'[mutation.number % 2]}{mutation.number}").write_bytes(mutation.data)
    status = _command(["ingest", str(source), str(archive), "--json", "--workers", "1", "--verbose"], said)
    with _captured(read):
        outcomes, wrong = _outcomes(archive)
    counts: Counter[str] = Counter()
    for mutation in made:
        key = hashlib.sha256(mutation.data).hexdigest()
        outcome = "zip" if mutation.is_zip else outcomes.get(key)
        if outcome is None:
            wrong.append((mutation.number, "no record"))
        elif mutation.kind == "sound" and outcome != "added":
            wrong.append((mutation.number, f"undamaged, and {outcome}"))
        counts[f"{mutation.syntax}/{mutation.kind}/{outcome}"] += 1
    failed = any(outcome.startswith("failed") for outcome in outcomes.values())
    if status != (3 if failed else 0):
        wrong.append((None, f"exit status {status}, failed files: {failed}"))
    if outcomes.get(hashlib.sha256(control).hexdigest()) != "added":
        wrong.append((None, "the sound image is not added"))
    wrong += [(None, f"{name} printed by ingest") for name in _identifiers(said.read_bytes())]
    wrong += [(None, f"{name} printed when reading") for name in _identifiers(read.read_bytes())]
    report = json.loads(said.read_text().splitlines()[-1] if status in (0, 3) else "{}")
    known = report.get("known") and not any(mutation.is_zip for mutation in made)  # a zip may hold one file twice
    if sum(report.values()) < len(made) + 1 or known:
        wrong.append((None, f"counts {report} of {len(made) + 1} files"))
    if {path.name for path in folder.iterdir()} != {"in", "archive.zarr", "said", "read"}:
        wrong.append((None, "something else was written"))
    return {"counts": counts, "wrong": wrong, "text": said.read_text(errors="replace")[-1500:] if wrong else ""}


def _command(arguments: list[str], output: Path) -> int:
    """Run the command; the JSON comes last."""
    with _captured(output):
        try:
            command(arguments, prog_name="mammofast")
        except SystemExit as end:
            return int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


@contextlib.contextmanager
def _captured(output: Path) -> Iterator[None]:
    """Send both outputs, those of codecs included, to a file."""
    sys.stdout.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    with output.open("wb") as file:
        for number, _ in kept:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


def _outcomes(path: Path) -> tuple[dict[str, str], list[tuple[int | None, str]]]:
    """Return file hash → outcome, and what is wrong with the archive."""
    archive, outcomes, wrong = open_archive(path), {}, []
    for image in archive.images():
        outcomes[image.record.source_sha256] = "added"
        with contextlib.suppress(BrokenImage):
            if not np.isfinite((table := image.grey_table(GreyPipeline())).values).all() or not len(table.values):
                wrong.append((None, "a grey table that is not finite"))
    for record in archive.skipped():
        reason, _, detail = record.reason.partition(": ")
        outcomes[record.source_sha256 or record.key] = f"{record.status} {reason}"
        if reason not in _REASONS or reason == Reason.INTERNAL or "MemoryError" in detail or not detail:
            wrong.append((None, f"reason {record.reason}"))
    wrong += [(None, f"verify: {problem.detail}") for problem in verify(archive)]
    # Headers hold whatever the object held, on purpose; nothing else does.
    for file in path.rglob("zarr.json"):
        wrong += [(None, f"{name} in a record") for name in _identifiers(file.read_bytes())]
    return outcomes, wrong


def _identifiers(data: bytes) -> list[str]:
    return [name for name in ("SECRET", "Doe", "DOE") if name.encode() in data]


def run_apart(mutations: Any, numbers: Sequence[int]) -> tuple[Said | None, str, int]:
    """Run a batch in a process with limits; return what it said, how it ended, and its peak memory in bytes."""
    folder = Path(tempfile.mkdtemp(prefix="mammofast-fuzz-", dir=_fast_folder()))
    child = os.fork()
    if child == 0:
        try:
            ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)  # address space is counted, not what of it is used
            limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            work = folder / "work"
            work.mkdir()
            said = ingest_batch(mutations, numbers, work)
            (folder / "said.json").write_text(json.dumps(said))
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    how = "" if status == 0 else f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "an exception"
    if time.monotonic() > deadline:
        how = "no end"
    said = json.loads((folder / "said.json").read_text()) if not how else None
    shutil.rmtree(folder, ignore_errors=True)
    return said, how, usage.ru_maxrss * 1024


def _fast_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def batches(mutations: Any, numbers: Sequence[int]) -> Iterator[tuple[Said, int]]:
    """Run all batches; where one was not as demanded, its objects one by one, to say which did it."""
    for start in range(0, len(numbers), BATCH):
        some = numbers[start : start + BATCH]
        said, how, peak = run_apart(mutations, some)
        if said is not None and not said["wrong"]:
            yield said, peak
            continue
        before = f"{how or (said and said['wrong'][:5])}"
        merged: Said = {"counts": Counter(), "wrong": [], "text": ""}
        for number in some:
            said, how, one = run_apart(mutations, [number])
            peak = max(peak, one)
            if said is None:
                mutation = mutations.make(number)
                merged["counts"][f"{mutation.syntax}/{mutation.kind}/{how}"] += 1
                merged["wrong"].append((number, how))
            else:
                merged["counts"].update(said["counts"])
                merged["wrong"] += [(number, what) for _, what in said["wrong"]]
                merged["text"] = said["text"] or merged["text"]
        if not merged["wrong"]:
            merged["wrong"].append((some[0], f"only together: {before}"))
        print(f"NOT AS DEMANDED {merged['wrong']}\n{merged['text']}", flush=True)
        yield merged, peak


def _by_syntax(counts: Counter[str]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for name, count in sorted(counts.items()):
        syntax, _, outcome = name.split("/")
        found.setdefault(syntax, Counter())[outcome] += count
    return {syntax: dict(sorted(outcomes.items())) for syntax, outcomes in found.items()}


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments(
        __doc__,
        [
            ("--mutations", {"type": int, "default": 10000}),
            ("--seed", {"type": int, "default": 1}),
            ("--first", {"type": int, "default": 0, "help": "number of the first, to see one again"}),
        ],
    )
    dicom = load(ROOT / "tests" / "conftest.py").Dicom()
    mutations = load(ROOT / "tests" / "hard" / "mutations.py").Mutations(dicom, arguments.seed)
    numbers = range(arguments.first, arguments.first + arguments.mutations)
    start, counts, wrong, peak = time.monotonic(), Counter[str](), [], 0
    for number, (said, used) in enumerate(batches(mutations, numbers), start=1):
        counts.update(said["counts"])
        wrong += said["wrong"]
        peak = max(peak, used)
        if number % 25 == 0:
            print(f"{number * BATCH} in {time.monotonic() - start:.0f} s, {len(wrong)} not as demanded", flush=True)
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for name, count in counts.items():
        kinds[name.split("/")[1]] += count
        outcomes[name.split("/")[2]] += count
    case = {
        "case": "mutations",
        "reason": "damaged and hostile objects: a reason each, all others done, memory and time bounded",
        "mutations": len(numbers),
        "seed": arguments.seed,
        "not_as_demanded": wrong,
        "outcomes": dict(sorted(outcomes.items())),
        "kinds": dict(sorted(kinds.items())),
        "outcomes_by_transfer_syntax": _by_syntax(counts),
        "address_space_limit_beyond_start_bytes": MEMORY_BYTES,
        "peak_resident_bytes": peak,
        "deadline_s": DEADLINE_SECONDS,
        "seconds": time.monotonic() - start,
    }
    print(json.dumps({key: case[key] for key in ("mutations", "outcomes", "peak_resident_bytes", "seconds")}, indent=1))
    print(f"{len(wrong)} not as demanded")
    notes = [
        "every sound image beside the mutations was added, and what was added verified, or it is in not_as_demanded",
        "zip: what is inside such a file has outcomes of its own, checked and not counted",
    ]
    write(arguments.json, [case], ["imagecodecs", "numpy", "pydicom", "tensorstore"], notes)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
