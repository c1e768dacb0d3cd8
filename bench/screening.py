"""Screening an ingested archive beside the papers' way, on the same images, with the same networks.

    python -m bench.screening DATA --studies 25 --json bench/results/screening.json

DATA keeps the phantoms between runs. Archives and results are made anew each round.
"""

import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import harness
from bench.phantoms import write_phantoms
from mammofast.archive.ingest import ingest
from mammofast.screening import open_results, screen
from mammofast.screening.entry import DONE

CORES = 2
MATCH_IOU = 0.95
Finding = tuple[tuple[int, ...], npt.NDArray[np.bool_]]
Findings = dict[str, list[Finding]]
PACKAGES = (
    "dask",
    "distributed",
    "imagecodecs",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pydicom",
    "pylibjpeg-openjpeg",
    "scikit-image",
    "tensorstore",
    "torch",
)
NOTES = (
    "Same images (phantoms, JPEG 2000 Lossless), same weights, both on the same two cores, files in the page cache.",
    "Ours: 2 worker processes; their start, loading the networks and a durable ledger are counted.",
    "The papers' way (bench/reference_pipeline.py): PyTorch, channels last, 2 threads; loading the networks is counted,"
    " importing PyTorch is not, nothing is written.",
    "Each way was run on the first study before, uncounted.",
    "Findings are matched one to one within an image by box IoU; the findings of either side count.",
)


@dataclass
class Round:
    """Seconds of one round, and what came out."""

    ingest: float = 0.0
    screening: float = 0.0
    reference: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    ours: Findings = field(default_factory=dict)
    theirs: Findings = field(default_factory=dict)


def run_round(studies: list[Path], bundle: str, scratch: Path) -> Round:
    """Ingest, screen, and run the reference pipeline over the same files."""
    from bench.reference_pipeline import ReferencePipeline

    done = Round()
    archive, results = scratch / "archive.zarr", scratch / "results"
    start = time.perf_counter()
    report = ingest(studies, archive, workers=CORES)
    done.ingest = time.perf_counter() - start
    assert report.added == report.files, report

    start = time.perf_counter()
    screened = screen(archive, results, bundle, workers=CORES)
    done.screening = time.perf_counter() - start
    assert screened.done == report.added, screened

    start = time.perf_counter()
    pipeline = ReferencePipeline.load(bundle, CORES)
    for study in studies:
        for path in sorted(study.glob("*.dcm")):
            done.theirs[path.stem] = pipeline.screen(path)
    done.reference = time.perf_counter() - start
    done.stages = pipeline.seconds
    done.ours = _recorded(results)
    shutil.rmtree(archive)
    shutil.rmtree(results)
    return done


def _recorded(results: Path) -> Findings:
    entries = [entry for entry in open_results(results).entries() if entry.status == DONE]
    return {
        str(entry.image.sop_uid): [(f.box, f.mask) for f in (stored.finding() for stored in entry.findings)]
        for entry in entries
    }


def agreement(ours: Findings, theirs: Findings) -> dict[str, Any]:
    """Return how many findings of either side the other side has too."""
    assert ours.keys() == theirs.keys(), "not the same images"
    total = matched = 0
    box_ious, mask_ious = [], []
    for sop_uid, mine in ours.items():
        others = list(theirs[sop_uid])
        total += len(mine) + len(others)
        for box, mask in mine:
            best = max(others, key=lambda other: box_iou(box, other[0]), default=None)
            if best is None or box_iou(box, best[0]) < MATCH_IOU:
                continue
            others = [other for other in others if other is not best]
            matched += 2
            box_ious.append(box_iou(box, best[0]))
            mask_ious.append(mask_iou((box, mask), best))
    return {
        "findings": sum(map(len, ours.values())),
        "findings_of_reference": sum(map(len, theirs.values())),
        f"matched_at_iou_{MATCH_IOU}": matched / max(total, 1),
        "box_iou_mean": statistics.fmean(box_ious),
        "box_iou_min": min(box_ious),
        "mask_iou_mean": statistics.fmean(mask_ious),
        "mask_iou_min": min(mask_ious),
    }


def box_iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def mask_iou(a: Finding, b: Finding) -> float:
    corners = np.array([a[0], b[0]])
    x, y = corners[:, 0].min(), corners[:, 1].min()
    canvas = np.zeros((2, corners[:, 3].max() - y, corners[:, 2].max() - x), bool)
    for layer, ((x_min, y_min, x_max, y_max), mask) in zip(canvas, (a, b), strict=True):
        layer[y_min - y : y_max - y, x_min - x : x_max - x] = mask
    return float(canvas.all(axis=0).sum() / max(canvas.any(axis=0).sum(), 1))


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 25}),
            ("--rounds", {"type": int, "default": 3}),
            ("--bundle", {"default": "demo"}),
        ],
    )
    studies = write_phantoms(arguments.data, arguments.studies)
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch:
        run_round(studies[:1], arguments.bundle, Path(scratch))
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append(run_round(studies, arguments.bundle, Path(scratch)))
            print(f"ingest {rounds[-1].ingest:.1f} s, screening {rounds[-1].screening:.1f} s, reference "
                  f"{rounds[-1].reference:.1f} s", flush=True)  # fmt: skip
    found = agreement(rounds[0].ours, rounds[0].theirs)
    images = len(rounds[0].ours)
    samples = {
        "mammofast screen": [r.screening for r in rounds],
        "mammofast ingest and screen": [r.ingest + r.screening for r in rounds],
        "the papers' way": [r.reference for r in rounds],
    }
    case = harness.report(
        f"screening {images} images",
        "a night with an archive, beside what the papers' authors ran: decode, detect, fuse and segment one by one",
        samples,
        "mammofast screen",
        images=images,
        images_per_second={name: images / statistics.median(seconds) for name, seconds in samples.items()},
        agreement=found,
        stages_of_the_papers_way_s=[r.stages for r in rounds],
    )
    reference = case["median_s"]["the papers' way"]
    case["papers_way_to_ingest_and_screen"] = reference / case["median_s"]["mammofast ingest and screen"]
    print(
        json.dumps(
            {k: case[k] for k in ("images_per_second", "agreement", "papers_way_to_ingest_and_screen")}, indent=1
        )
    )
    harness.write(arguments.json, [case], PACKAGES, NOTES)


if __name__ == "__main__":
    main()
