"""What listing an archive and looking up its results cost, image by image, and whether memory stays flat.

    python -m bench.scale.listing OUT --json bench/results/listing.json

OUT: a folder; emptied afterwards. A real archive's records (no pixels: nothing reads them) are listed as ``screen``
lists them; results of as many images as wanted, all of them files, are looked up as ``screen`` looks them up.
"""

import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import harness
from bench.scale.model import SimulatedArchive
from mammofast.archive import open_archive
from mammofast.archive.layout import group_text
from mammofast.records import ImageResult
from mammofast.screening import Results
from mammofast.screening.entry import Entry, ImageInfo, Run
from mammofast.screening.job import Job
from mammofast.screening.layout import entry_path
from mammofast.screening.stopping import Interrupt
from mammofast.screening.study_log import StudyLog

RUN = Run("a" * 64, "b" * 64)
PACKAGES = ("numpy",)
NOTES = (
    "CPU seconds of one thread over the number of images; files in the page cache. Memory: growth of the peak.",
    "listed: every record read, checked and made into an image. nothing on record: the same of a simulated archive, "
    "whose records are made up (subtracted), each looked up in vain. on record: each looked up, read and checked.",
)


def write_archive(path: Path, images: int) -> None:
    """Write the records of an archive."""
    SimulatedArchive.create(path, 0)
    for image in SimulatedArchive.create(path, images).all_images():
        image.folder.mkdir(parents=True)
        (image.folder / "zarr.json").write_text(group_text(image.record.as_dict()))


def write_results(results: Results, archive: SimulatedArchive) -> None:
    """Write a result for each image, without waiting for the disk."""
    results.start(RUN, {})
    for image in archive.all_images():
        info = ImageInfo.of(image.record)
        entry_path(results.path, info, RUN).write_bytes(Entry.of(info, RUN, ImageResult(image.shape)).to_bytes())


def pending(archive: Any, results: Results) -> Callable[[], int]:
    """Return what counts the images that ``screen`` would send to workers."""

    def count() -> int:
        job = Job(archive, results, RUN, {}, False, False, False, lambda n: None, StudyLog(lambda line: None))
        return sum(1 for _ in job.pending(Interrupt()))

    return count


def measured(name: str, images: int, listing: Callable[[], int], expected: int, free: float = 0.0) -> dict[str, Any]:
    """Time a listing; ``free`` seconds an image are not its own."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, wall = time.thread_time(), time.perf_counter()
    found = listing()
    seconds = time.thread_time() - start
    assert found == expected, (found, expected)
    record = {
        "case": name,
        "images": images,
        "us_per_image": 1e6 * (seconds / images - free),
        "images_per_s": images / (time.perf_counter() - wall),
        "memory_grew_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    print(record, flush=True)
    return record


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("out", {"type": Path}),
            ("--records", {"type": int, "default": 50_000, "help": "of a real archive"}),
            ("--results", {"type": int, "default": 1_000_000, "help": "on record"}),
        ],
    )
    out: Path = arguments.out
    real, made_up = out / "real.zarr", out / "made-up.zarr"
    records, entries = arguments.records, arguments.results
    write_archive(real, records)
    archive = SimulatedArchive.create(made_up, entries)
    start = time.thread_time()
    for _ in archive.all_images():
        pass
    free = (time.thread_time() - start) / entries
    results = Results.create_or_open(out / "results", archive)
    results.start(RUN, {})

    cases = [
        measured("listed", records, lambda: sum(1 for _ in open_archive(real).all_images(in_order=False)), records),
        measured("nothing on record", entries, pending(archive, results), entries, free),
    ]
    write_results(results, archive)
    cases.append(measured("on record", entries, pending(archive, results), 0, free))
    shutil.rmtree(real)
    shutil.rmtree(made_up)
    shutil.rmtree(out / "results")
    harness.write(arguments.json, cases, PACKAGES, NOTES)


if __name__ == "__main__":
    main()
