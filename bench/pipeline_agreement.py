"""The rate that `mammofast bench pipeline` gives, beside the one that `mammofast screen` had: both in turns.

python -m bench.pipeline_agreement DATA --studies 25 --json bench/results/pipeline_agreement.json
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import harness
from bench.phantoms import write_phantoms
from mammofast.archive.ingest import ingest
from mammofast.profiling.record import read_record
from mammofast.screening import open_results

BENCH, SCREEN = "mammofast bench pipeline", "mammofast screen"
ALLOWED = 0.05
RUN = "from mammofast.cli import main; main()"
NOTES = (
    "Each run is a command of its own, one way after the other, the order changing from round to round.",
    "bench pipeline: one round, from the first task's start to the last one's end as workers saw them.",
    "screen: steady_seconds among its timings, from the first task's sending to the last image's recording.",
    "Images an hour and a night differ from both by what starting takes: seconds, once.",
)


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-c", RUN, *arguments, "--quiet"], check=True)


def by_bench(archive: Path, bundle: str, workers: str, scratch: Path) -> float:
    """Return images per second as `bench pipeline` says it."""
    record = scratch / "record.json"
    effort = ("--rounds", "1", "--warm-up", "0", "--seconds", "0.001")
    run("bench", "pipeline", str(archive), "--bundle", bundle, "--workers", workers, *effort, "--json", str(record))
    (case,) = read_record(record).cases
    return float(case.facts["images_per_s"])


def by_screen(archive: Path, bundle: str, workers: str, scratch: Path) -> float:
    """Return images per second by what `screen` keeps beside its results."""
    results = scratch / "results"
    run("screen", str(archive), str(results), "--bundle", bundle, "--workers", workers)
    (timing,) = open_results(results).runs()[0]["timings"]
    shutil.rmtree(results)
    return float(timing["images"] / timing["steady_seconds"])


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 25}),
            ("--rounds", {"type": int, "default": 5}),
            ("--workers", {"default": "2"}),
            ("--bundle", {"default": "demo"}),
        ],
    )
    archive = arguments.data / f"agreement-{arguments.studies}.zarr"
    ingest(write_phantoms(arguments.data, arguments.studies), archive)
    ways = {BENCH: by_bench, SCREEN: by_screen}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch:
        by_screen(archive, arguments.bundle, arguments.workers, Path(scratch))  # the files are in the page cache now
        for number in range(arguments.rounds):
            for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
                rates[name].append(ways[name](archive, arguments.bundle, arguments.workers, Path(scratch)))
                print(f"{name}: {rates[name][-1]:.2f} images/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    apart = medians[BENCH] / medians[SCREEN] - 1
    print(f"{BENCH} is {apart:+.1%} from {SCREEN}; {ALLOWED:.0%} is allowed")
    case = {
        "case": f"steady images per second, {4 * arguments.studies} phantoms, {arguments.workers} workers",
        "reason": "a number from the profiler is the number of the night run",
        "median_images_per_s": medians,
        "apart": apart,
        "within_5_percent": abs(apart) <= ALLOWED,
        "images_per_s": rates,
    }
    harness.write(arguments.json, [case], ("dask", "distributed", "numpy", "onnxruntime", "tensorstore"), NOTES)


if __name__ == "__main__":
    main()
