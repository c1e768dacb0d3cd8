"""Screening an ingested archive beside the papers' way, on the same images, with the same networks.

    python -m bench.screening DATA --studies 10 --json bench/results/screening.json

DATA keeps the phantoms between runs. Archives and results are made anew each round.
"""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.pixels import get_decoder, pixel_array

from bench import harness
from bench.phantoms import write_phantoms
from mammofast.archive.ingest import ingest
from mammofast.archive.mammogram import triage
from mammofast.archive.reading import read_dicom, read_pixels
from mammofast.screening import open_results, screen
from mammofast.screening.entry import DONE

CORES = 2
OURS, WITH_INGEST, REFERENCE = "mammofast screen", "mammofast ingest and screen", "the papers' way"
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
    "python-gdcm",
    "scikit-image",
    "tensorstore",
    "torch",
)
NOTES = (
    "Same images (phantoms; JPEG 2000 Lossless, JPEG Lossless SV1), same weights, both on the same two cores, files in "
    "the page cache.",
    "Ours: 2 worker processes; their start, loading the networks and a durable ledger are counted.",
    "The papers' way (bench/reference_pipeline.py): PyTorch, channels last, 2 threads; loading the networks is counted,"
    " importing PyTorch is not, nothing is written.",
    "pydicom decodes by the plugin that it takes by itself, python-gdcm where that is installed, as here; decode_cpu_s "
    "has them all, each alone on one core, and with_pydicoms_fastest_plugin the ratios if the fastest were chosen.",
    "most_that_...: the papers' way over our decoder's CPU seconds / 2 (plus screening's wall seconds): no ingest, "
    "however fast its other parts, could do better.",
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


def closest_pairs(
    mine: Sequence[tuple[int, ...]], theirs: Sequence[tuple[int, ...]], least_iou: float
) -> list[tuple[int, int]]:
    """Pair boxes one to one, by their indices, the closest first, where they overlap enough."""
    ranked = sorted(((box_iou(a, b), i, j) for i, a in enumerate(mine) for j, b in enumerate(theirs)), reverse=True)
    pairs: dict[int, int] = {}
    for iou, i, j in ranked:
        if iou >= least_iou and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return list(pairs.items())


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


def decoding(studies: list[Path]) -> dict[str, float]:
    """Return the CPU seconds of decoding every image: by each of pydicom's plugins that can, and as ingest does."""
    files = [path for study in studies for path in sorted(study.glob("*.dcm"))]
    syntax = dcmread(files[0], stop_before_pixels=True).file_meta.TransferSyntaxUID
    seconds = {}
    for plugin in get_decoder(syntax).available_plugins:
        start = time.process_time()
        for path in files:
            pixel_array(path, decoding_plugin=plugin)
        seconds[f"pydicom with {plugin}"] = time.process_time() - start
    start = time.process_time()
    for path in files:
        with path.open("rb") as stream:
            header = read_dicom(stream)
        read_pixels(header, triage(header, pixels_read=True).frame)
    seconds["mammofast"] = time.process_time() - start
    return seconds


def measure(syntax: str, studies: list[Path], rounds: int, bundle: str, scratch: Path) -> dict[str, Any]:
    """Return one case: rounds of ours and of the papers' way over the same files."""
    run_round(studies[:1], bundle, scratch)
    done = []
    for _ in range(rounds):
        done.append(run_round(studies, bundle, scratch))
        seconds = (done[-1].ingest, done[-1].screening, done[-1].reference)
        print("ingest {:.1f} s, screening {:.1f} s, reference {:.1f} s".format(*seconds), flush=True)
    images = len(done[0].ours)
    samples = {
        OURS: [r.screening for r in done],
        WITH_INGEST: [r.ingest + r.screening for r in done],
        REFERENCE: [r.reference for r in done],
    }
    case = harness.report(
        f"screening {images} images from {syntax}",
        "a night with an archive, beside what the papers' authors ran: decode, detect, fuse and segment one by one",
        samples,
        OURS,
        images=images,
        images_per_second={name: images / statistics.median(seconds) for name, seconds in samples.items()},
        agreement=agreement(done[0].ours, done[0].theirs),
        stages_of_the_papers_way_s=[r.stages for r in done],
    )
    return case | _bounds(case, decoding(studies), statistics.median(r.stages["decode"] for r in done))


def _bounds(case: dict[str, Any], decode: dict[str, float], papers_decode: float) -> dict[str, Any]:
    """Return the ratio with ingest, what decoding leaves possible, and what pydicom's fastest plugin would change."""
    ours, both, reference = (case["median_s"][name] for name in (OURS, WITH_INGEST, REFERENCE))
    fastest = min(seconds for name, seconds in decode.items() if name != "mammofast")
    quicker = reference - papers_decode + min(fastest, papers_decode)
    return {
        "papers_way_to_ingest_and_screen": reference / both,
        "decode_cpu_s": decode,
        "most_that_decoding_alone_on_two_cores_allows": reference / (decode["mammofast"] / CORES),
        "most_that_decoding_and_screening_allow": reference / (decode["mammofast"] / CORES + ours),
        "with_pydicoms_fastest_plugin": {"screen": quicker / ours, "ingest and screen": quicker / both},
    }


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 10}),
            ("--rounds", {"type": int, "default": 3}),
            ("--bundle", {"default": "demo"}),
        ],
    )
    cases = []
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch:
        for syntax in ("jpeg-2000", "jpeg-lossless"):
            studies = write_phantoms(arguments.data, arguments.studies, syntax)
            cases.append(measure(syntax, studies, arguments.rounds, arguments.bundle, Path(scratch)))
            print(json.dumps({k: v for k, v in cases[-1].items() if k not in ("samples_s", "reason")}, indent=1))
    harness.write(arguments.json, cases, PACKAGES, NOTES)


if __name__ == "__main__":
    main()
