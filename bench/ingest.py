"""Ingest beside the least it can cost: decoding, encoding and hashing the same images, and nothing else.

python -m bench.ingest DATA --studies 6 --json bench/results/ingest.json
"""

import hashlib
import shutil
import statistics
import tempfile
import time
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
    "The least: one thread, one image after the other; CPU seconds (time.process_time) of decoding the frame, encoding "
    "all levels into memory with the archive's codecs, and SHA-256 of the file and of the pixels. Parsing, checking, "
    "pooling, metadata, fsync and renaming are not in it.",
    "Ingest: wall seconds on 2 threads into a new archive on this disk, and its CPU seconds.",
    "efficiency: what the least allows on 2 cores (its CPU seconds / 2) over ingest's wall seconds.",
    "cpu_efficiency: the least's CPU seconds over ingest's: the same, where other programs take part of the cores.",
)


def least(files: list[Path], memory: "MemoryArrays") -> dict[str, float]:
    """Return CPU seconds of each indispensable step over all files."""
    seconds = dict.fromkeys(("decode", "encode", "hash"), 0.0)
    for path in files:
        content = path.read_bytes()
        with path.open("rb") as stream:
            header = read_dicom(stream)
        frame = triage(header, pixels_read=True).frame

        start = time.process_time()
        pixels = read_pixels(header, frame)
        seconds["decode"] += time.process_time() - start

        coarse = layout.coarse_levels(*pixels.shape)
        levels = [pixels, *ops.pool(pixels, coarse)]
        background = int(np.bincount(pixels[0]).argmax())
        seconds["encode"] += sum(memory.encode(level, background) for level in levels)

        start = time.process_time()
        hashlib.sha256(content).hexdigest()
        layout.content_sha256(pixels, frame.bits_stored, header.PhotometricInterpretation)
        seconds["hash"] += time.process_time() - start
    return seconds


class MemoryArrays:
    """Arrays laid out as the archive's, in memory."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._metadata: dict[Any, dict[str, Any]] = {}

    def encode(self, pixels: Any, background: int) -> float:
        """Return the CPU seconds of writing a level."""
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "memory", "path": "level/"},
            "metadata": self._metadata_of(pixels, background),
        }
        array = ts.open(spec, create=True, context=ts.Context()).result()
        start = time.process_time()
        array.write(pixels).result()
        return time.process_time() - start

    def _metadata_of(self, pixels: Any, background: int) -> dict[str, Any]:
        """Return a level's metadata as the archive's own writer chooses them, asked once for each kind."""
        key = (pixels.shape, pixels.dtype.name, background)
        if key not in self._metadata:
            folder = self._scratch / "like"
            layout.write_image(folder, np.full_like(pixels, background), background)
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
            self._metadata[key] = ts.open(spec, open=True).result().spec().to_json()["metadata"]
            shutil.rmtree(folder)
        return self._metadata[key]


def measure(name: str, folders: list[Path], rounds: int, scratch: Path) -> dict[str, Any]:
    """Return one case: rounds of ingest and of the least, in turns."""
    files = [path for folder in folders for path in sorted(folder.rglob("*.dcm"))]
    memory = MemoryArrays(scratch)
    least(files[:2], memory)
    wall, cpu, floor = [], [], []
    for _ in range(rounds):
        floor.append(least(files, memory))
        archive = scratch / "archive.zarr"
        start, start_cpu = time.perf_counter(), time.process_time()
        report = ingest(folders, archive, workers=CORES)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
        assert report.added == len(files), report
        shutil.rmtree(archive)
    sums = [sum(steps.values()) for steps in floor]
    record = {
        "case": f"ingest, {name}, {len(files)} images",
        "reason": "decoding is the slowest step of a night: ingest should cost hardly more than it must",
        "efficiency": statistics.median(s / CORES / w for s, w in zip(sums, wall, strict=True)),
        "cpu_efficiency": statistics.median(s / c for s, c in zip(sums, cpu, strict=True)),
        "median_s": {
            "ingest, wall": statistics.median(wall),
            "ingest, cpu": statistics.median(cpu),
            "least, cpu": statistics.median(sums),
        },
        "samples_s": {"ingest, wall": wall, "ingest, cpu": cpu, "least, cpu, by step": floor},
    }
    print({key: record[key] for key in ("case", "efficiency", "cpu_efficiency", "median_s")}, flush=True)
    return record


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 6}),
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
