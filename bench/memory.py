"""Peak memory of ingest and of screening, the whole process tree, over few and over many studies.

python -m bench.memory DATA --studies 4 40 --json bench/results/memory.json
"""

import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

from bench import harness
from bench.phantoms import LARGEST, write_copies, write_phantoms

CORES = 2
INTERVAL_SECONDS = 0.1
PACKAGES = ("dask", "distributed", "numpy", "onnxruntime", "psutil", "tensorstore")
NOTES = (
    "Proportional set size of the command and all its descendants, summed, read every 0.1 s: a page that several share "
    "counts once. Files in the page cache do not count.",
    "The images are the same ones, 4096 x 3328 in JPEG 2000 Lossless, as often as it takes, each time under other UIDs:"
    " more studies are not larger studies.",
    "The commands are `mammofast ingest` and `mammofast screen --workers 2`.",
)


def peak_bytes(command: list[str]) -> int:
    """Run a command; return the most memory that it and its descendants held at once."""
    process = subprocess.Popen([sys.executable, "-m", "mammofast", *command], stdout=subprocess.DEVNULL)
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not ended.wait(INTERVAL_SECONDS):
            peak = max(peak, _tree_bytes(root))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    ended.set()
    watcher.join()
    if status:
        raise RuntimeError(f"mammofast {command[0]} ended with status {status}")
    return peak


def _tree_bytes(root: psutil.Process) -> int:
    total = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def measure(folders: list[Path], bundle: str, scratch: Path) -> dict[str, int]:
    """Return the peak of ingest and of screening."""
    archive, results = scratch / "archive.zarr", scratch / "results"
    peaks = {
        "ingest": peak_bytes(["ingest", *map(str, folders), str(archive)]),
        "screen": peak_bytes(["screen", str(archive), str(results), "--bundle", bundle, "--workers", str(CORES)]),
    }
    shutil.rmtree(archive)
    shutil.rmtree(results)
    return peaks


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "nargs": "+", "default": [4, 40]}),
            ("--bundle", {"default": "demo"}),
        ],
    )
    studies = write_phantoms(arguments.data, min(arguments.studies), shape=LARGEST)
    peaks: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch:
        for count in arguments.studies:
            folders = write_copies(arguments.data, studies, -(-count // len(studies)))[:count]
            peaks[count] = measure(folders, arguments.bundle, Path(scratch))
            print(count, {name: f"{value / 2**20:.0f} MiB" for name, value in peaks[count].items()}, flush=True)
    few, many = min(peaks), max(peaks)
    cases = [
        {
            "case": f"peak memory of {name}, {few} and {many} studies",
            "reason": "a night is thousands of images: memory must not grow with them",
            "peak_mib": {f"{count} studies": peaks[count][name] / 2**20 for count in sorted(peaks)},
            "many_over_few": peaks[many][name] / peaks[few][name],
        }
        for name in ("ingest", "screen")
    ]
    harness.write(arguments.json, cases, PACKAGES, NOTES)


if __name__ == "__main__":
    main()
