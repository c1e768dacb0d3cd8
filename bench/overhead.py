"""What scheduling adds to the CPU seconds of a night: ``screen`` beside a loop over the same images.

    python -m bench.overhead DATA --json bench/results/overhead.json

DATA keeps the phantoms and their archives between runs.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from bench import harness
from bench.phantoms import write_phantoms
from mammofast import open_archive, open_bundle
from mammofast.archive.ingest import ingest
from mammofast.screening import Results, screen
from mammofast.screening.entry import ImageInfo, Run
from mammofast.screening.outcomes import screen_images
from mammofast.screening.run import IMAGES_PER_TASK

SCREEN, LOOP = "screen", "a loop"
GOAL = 0.03
PACKAGES = ("dask", "distributed", "numpy", "onnxruntime", "tensorstore")
NOTES = (
    "Each run is a process of its own, on one core; the ways take turns, over a small archive and over the whole one. "
    "Counted is the difference of the two, in CPU seconds of the process and of those that it started: what starting "
    "and ending cost is not in it.",
    "screen: one worker process, the client and the scheduler beside it. A loop: the archive's images, as many at a "
    "time as a task holds, through the same methods, the outcomes put on record one by one. Both leave the same bytes.",
    "overhead: the median of the rounds' ratios, minus 1. scheduling_share: the CPU seconds of screen's own process, "
    "which schedules and records, over the loop's; worker_share: the same of its worker, minus 1.",
)


def archives(data: Path, studies: int) -> tuple[Path, Path]:
    """Make the archive of one study and that of all."""
    folders = write_phantoms(data, studies, "jpeg-lossless")
    small, whole = data / "overhead-1.zarr", data / f"overhead-{studies}.zarr"
    for archive, part in ((small, folders[:1]), (whole, folders)):
        if not archive.exists():
            report = ingest(part, archive)
            assert report.added == report.files, report
    return small, whole


def run(way: str, archive: Path, results: Path) -> None:
    """Screen an archive one way, and print the CPU seconds that it took."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if way == SCREEN:
        assert screen(archive, results, "demo", workers=1).failed == 0
    else:
        opened = open_archive(archive)
        ledger = Results.create_or_open(results, opened)
        with open_bundle("demo", device="cpu") as screener:
            run = Run(screener.bundle_id, screener.settings_id)
            ledger.start(run, {})
            images = opened.images()
            while some := list(islice(images, IMAGES_PER_TASK)):
                for image, (_, content) in zip(some, screen_images(screener, some), strict=True):
                    ledger.put(ImageInfo.of(image.record), run, content)
    print(json.dumps([_cpu(resource.RUSAGE_SELF), _cpu(resource.RUSAGE_CHILDREN)]))


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _in_a_process(way: str, archive: Path, results: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "bench.overhead", str(archive), "--way", way, "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    own, started = json.loads(done.stdout.splitlines()[-1])
    return own, started


def _files(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in results.glob("images/*/*.json")}


def measure(data: Path, studies: int, rounds: int) -> dict[str, Any]:
    """Return the case."""
    small, whole = archives(data, studies)
    images = sum(1 for _ in open_archive(whole).images()) - sum(1 for _ in open_archive(small).images())
    seconds: dict[str, list[tuple[float, float]]] = {SCREEN: [], LOOP: []}
    for number in range(rounds):
        left = {}
        # Whoever goes second finds the machine warmer.
        for way in (SCREEN, LOOP) if number % 2 else (LOOP, SCREEN):
            with tempfile.TemporaryDirectory(dir=data) as folder:
                base = _in_a_process(way, small, Path(folder, "small"))
                all_of_it = _in_a_process(way, whole, Path(folder, "whole"))
                left[way] = _files(Path(folder, "whole"))
            seconds[way].append((all_of_it[0] - base[0], all_of_it[1] - base[1]))
        assert left[SCREEN] == left[LOOP]
        assert len(left[SCREEN]) > images
        print({way: [round(sum(pair), 2) for pair in pairs] for way, pairs in seconds.items()}, flush=True)
    samples = {way: [sum(pair) / images for pair in pairs] for way, pairs in seconds.items()}
    ratios = [ours / loop for ours, loop in zip(samples[SCREEN], samples[LOOP], strict=True)]
    share = [own / sum(loop) for (own, _), loop in zip(seconds[SCREEN], seconds[LOOP], strict=True)]
    return harness.report(
        f"CPU seconds an image, {images} images, {IMAGES_PER_TASK} a task",
        "a night's cores are to be the networks'",
        samples,
        LOOP,
        overhead=statistics.median(ratios) - 1,
        overhead_of_each_round=[ratio - 1 for ratio in ratios],
        scheduling_share=statistics.median(share),
        worker_share=statistics.median(
            started / sum(loop) - 1 for (_, started), loop in zip(seconds[SCREEN], seconds[LOOP], strict=True)
        ),
        goal=GOAL,
    )


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 26}),
            ("--rounds", {"type": int, "default": 5}),
            ("--way", {"choices": (SCREEN, LOOP)}),
            ("--results", {"type": Path}),
        ],
    )
    if arguments.way:
        run(arguments.way, arguments.data, arguments.results)
        return
    arguments.data.mkdir(parents=True, exist_ok=True)
    case = measure(arguments.data, arguments.studies, arguments.rounds)
    print({name: case[name] for name in ("overhead", "overhead_of_each_round", "scheduling_share")})
    harness.write(arguments.json, [case], PACKAGES, NOTES)


if __name__ == "__main__":
    main()
