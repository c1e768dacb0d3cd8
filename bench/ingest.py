"""Ingest beside the least it can cost: decoding, encoding and hashing the same images, and nothing else.

python -m bench.ingest DATA --studies 16 --json bench/results/ingest.json
"""

import hashlib
import json
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from bench import harness
from bench.phantoms import SEED, write_phantoms
from mammofast import ops
from mammofast.archive import layout
from mammofast.archive.ingest import ingest
from mammofast.archive.mammogram import triage
from mammofast.archive.reading import read_dicom, read_pixels
from mammofast.phantom.studies import write_studies

CORES = 2
PACKAGES = ("imagecodecs", "numpy", "pydicom", "tensorstore")
NOTES = (
    "The least: decoding the frame, encoding all levels into memory with the archive's codecs, SHA-256 of the file and "
    "of the pixels; on 2 threads over the same files, so that cores slow each other as they do in ingest. Its CPU "
    "seconds are the process's, without those of reading, parsing and pooling; its wall seconds are with them.",
    "Ingest: wall and CPU seconds on 2 threads into a new archive on this disk; durable when it returns.",
    "efficiency: what the least allows on 2 cores (its CPU seconds / 2) over ingest's wall seconds.",
    "cpu_efficiency: the least's CPU seconds over ingest's.",
    "wall_efficiency: the least's wall seconds over ingest's: both end with a core that waits for the last image.",
)


def least(files: list[Path], memory: "MemoryArrays") -> tuple[float, float]:
    """Return CPU and wall seconds of what is indispensable, over all files."""

    def spend(path: Path) -> float:
        start = time.thread_time()
        content = path.read_bytes()
        header = read_dicom(BytesIO(content))
        frame = triage(header, pixels_read=True).frame
        aside = time.thread_time() - start

        pixels = read_pixels(header, frame)
        hashlib.sha256(content).hexdigest()
        layout.content_sha256(pixels, frame.bits_stored, header.PhotometricInterpretation)

        start = time.thread_time()
        coarse = layout.coarse_levels(*pixels.shape)
        levels = [pixels, *ops.pool(pixels, coarse)]
        background = int(np.bincount(pixels[0]).argmax())
        arrays = [memory.array(level, background) for level in levels]
        aside += time.thread_time() - start

        for array, level in zip(arrays, levels, strict=True):
            array.write(level).result()
        return aside

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(CORES) as pool:
        aside = sum(pool.map(spend, files))
    return time.process_time() - cpu - aside, time.perf_counter() - wall


class MemoryArrays:
    """Arrays laid out as the archive's, in memory."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._metadata: dict[Any, dict[str, Any]] = {}

    def array(self, pixels: Any, background: int) -> ts.TensorStore:
        """Return a new array for a level."""
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "memory", "path": "level/"},
            "metadata": self._metadata_of(pixels, background),
        }
        return ts.open(spec, create=True, context=ts.Context()).result()

    def _metadata_of(self, pixels: Any, background: int) -> dict[str, Any]:
        """Return a level's metadata as the archive's own writer chooses them, asked once for each kind."""
        key = (pixels.shape, pixels.dtype.name, background)
        if key not in self._metadata:
            folder = Path(tempfile.mkdtemp(dir=self._scratch))
            layout.write_image(folder, np.full_like(pixels, background), background)
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
            self._metadata[key] = ts.open(spec, open=True).result().spec().to_json()["metadata"]
            shutil.rmtree(folder)
        return self._metadata[key]


def measure(name: str, folders: list[Path], rounds: int, scratch: Path) -> dict[str, Any]:
    """Return one case: rounds of ingest and of the least, in turns."""
    files = [path for folder in folders for path in sorted(folder.rglob("*.dcm"))]
    memory = MemoryArrays(scratch)
    least(files, memory)  # so that every kind of array is known and every file is in the page cache
    names = ("ingest, wall", "ingest, cpu", "least, wall", "least, cpu")
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        cpu, wall = least(files, memory)
        samples["least, cpu"].append(cpu)
        samples["least, wall"].append(wall)
        archive = scratch / "archive.zarr"
        start, start_cpu = time.perf_counter(), time.process_time()
        report = ingest(folders, archive, workers=CORES)
        samples["ingest, wall"].append(time.perf_counter() - start)
        samples["ingest, cpu"].append(time.process_time() - start_cpu)
        assert report.added == len(files), report
        shutil.rmtree(archive)
    median = {name: statistics.median(values) for name, values in samples.items()}
    record = {
        "case": f"ingest, {name}, {len(files)} images",
        "reason": "decoding is the slowest step of a night: ingest should cost hardly more than it must",
        "efficiency": median["least, cpu"] / CORES / median["ingest, wall"],
        "cpu_efficiency": median["least, cpu"] / median["ingest, cpu"],
        "wall_efficiency": median["least, wall"] / median["ingest, wall"],
        "median_s": median,
        "samples_s": samples,
    }
    print(json.dumps({key: value for key, value in record.items() if key != "samples_s"}, indent=1), flush=True)
    return record


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 16}),
            ("--rounds", {"type": int, "default": 3}),
        ],
    )
    mixed = arguments.data / f"mixed-{arguments.studies}"
    if not (mixed / "truth" / "masses.json").exists():
        write_studies(mixed, arguments.studies, SEED)
    jpeg2000 = write_phantoms(arguments.data, arguments.studies)
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch:
        cases = [
            measure("JPEG 2000", jpeg2000, arguments.rounds, Path(scratch)),
            measure("transfer syntaxes mixed", [mixed / "dicom"], arguments.rounds, Path(scratch)),
        ]
    harness.write(arguments.json, cases, PACKAGES, NOTES)


if __name__ == "__main__":
    main()
