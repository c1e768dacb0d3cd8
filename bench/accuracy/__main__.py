"""The demo bundle on phantoms it never saw, a classical detector on the same images, and fusion against single scales.

    python -m bench.accuracy --studies 100 --json bench/results/accuracy.json --picture bench/results/froc.svg

DATA, where given, keeps phantoms, archive and results between runs (100 studies: some 6 GB).
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench.accuracy import blobs, fusion, picture
from bench.accuracy.curves import AT, LIMIT, Found, Truth, corners, describe, differences, marked
from mammofast.archive import ArchiveImage, open_archive
from mammofast.archive.ingest import ingest
from mammofast.bundles import load_bundle
from mammofast.evaluation import Detections, evaluate, label_boxes, match_boxes, read_truth
from mammofast.phantom import write_studies
from mammofast.screening import Results, open_results, screen

# No set that is written shares a random stream with the phantoms of training and calibration (phantom/plan.py), and no
# other benchmark, test or example has this seed.
SEED = 40_404
# Candidates beyond so many false positives per image are not segmented: twice as far as curves are compared.
SEGMENTED_TO = 2 * LIMIT
PACKAGES = ("imagecodecs", "numpy", "onnxruntime", "scikit-image", "scipy", "tensorstore")
NOTES = (
    "A candidate finds a mass at box IoU >= 0.5, one to one, by falling confidence; false positives over all images.",
    "Intervals: 95 %, bootstrap over studies. Dice: whole images that hold a mass, a missed mass counts 0.",
    "Blobs: given the bundle's contrast, the masses' range of sizes and the breast's outline; threshold, overlap and "
    "box size are the best on these very images.",
    "Fusion and single scales: from the same boxes, those that results keep, ranked by their confidence. 'Detected "
    "boxes' are compared as they are, 'mask boxes' after the segmenter, the same for every way.",
    "With --threshold, detection keeps weaker boxes than the bundle does, so that the curves go on where the bundle "
    "stops; 'fusion, as shipped' is then that of the bundle's own boxes.",
    "A curve that ends before a number of false positives counts there with its last sensitivity.",
)
DEMO = fusion.parameters_of(load_bundle("demo"))
CASES = ("demo", "blobs", "fusion")
CORNERS = ("x_min", "y_min", "x_max", "y_max")
NOTHING: Found = (np.zeros((0, 4)), np.zeros(0))
SHIPPED = "fusion, as shipped"


def prepare(folder: Path, studies: int, workers: int) -> list[ArchiveImage]:
    """Make the phantoms and their archive, as far as they are not there."""
    archive = folder / "archive.zarr"
    if not (folder / "truth" / "masses.json").exists():
        write_studies(folder, studies, SEED, workers=workers)
    if not archive.exists() or len(list(open_archive(archive).images())) < 4 * studies:
        report = ingest([folder / "dicom"], archive, workers=workers)
        assert report.skipped == report.failed == 0, report
    images = list(open_archive(archive).images())
    assert len(images) == 4 * studies
    return images


def screened(folder: Path, workers: int, threshold: float = DEMO.confidence_threshold) -> Results:
    """Screen the archive with the demo bundle, as it is or with another threshold of confidence."""
    bundle: str | Path = "demo"
    results = folder / "results"
    if threshold != DEMO.confidence_threshold:
        bundle, results = _with_threshold(folder / f"bundle-{threshold}", threshold), folder / f"results-{threshold}"
    report = screen(folder / "archive.zarr", results, bundle, workers=workers)
    print(f"{results.name}: {report}", flush=True)
    assert report.stopped is None
    assert report.skipped == report.failed == 0
    return open_results(results)


def _with_threshold(folder: Path, threshold: float) -> Path:
    """Write the demo bundle with another threshold of confidence."""
    source = load_bundle("demo").folder
    shutil.copytree(source, folder, dirs_exist_ok=True)
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["parameters"]["confidence_threshold"] = threshold
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def masses_of(truth: Path, shipped: Results) -> dict[str, Any]:
    """Return what the masses are, counted in every view, and how many of the subtle and of the plain were found."""
    masses = json.loads((truth / "masses.json").read_text())
    findings = _reported(shipped)
    found: dict[bool, list[bool]] = {True: [], False: []}
    for sop_uid in dict.fromkeys(mass["sop_uid"] for mass in masses):
        here = [mass for mass in masses if mass["sop_uid"] == sop_uid]
        boxes, confidences = findings.get(sop_uid, NOTHING)
        hit = set(match_boxes(boxes, confidences, [mass["box"] for mass in here]).tolist())
        for k, mass in enumerate(here):
            found[mass["subtle"]].append(k in hit)
    contrasts = {kind: [m["contrast_to_noise"] for m in masses if m["subtle"] == kind] for kind in found}
    return {
        name: {
            "masses": len(found[kind]),
            "contrast_to_noise": [min(contrasts[kind]), max(contrasts[kind])],
            "sensitivity": sum(found[kind]) / len(found[kind]),
        }
        for name, kind in (("subtle", True), ("plain", False))
        if found[kind]
    }


def measure_fusion(
    shipped: Results, opened: Results, images: Sequence[ArchiveImage], truth: Truth, threshold: float, workers: int
) -> dict[str, dict[str, Detections]]:
    """Return the marks of every way, for detected boxes and for mask boxes."""
    as_shipped = SHIPPED if threshold < DEMO.confidence_threshold else fusion.FUSION
    reported = _reported(shipped)
    detected: dict[str, list[Found]] = {}
    for image in images:
        boxes = opened.detections(image.record.sop_uid)
        strict = fusion.ways(boxes, image.shape, DEMO, DEMO.confidence_threshold)[fusion.FUSION]
        candidates = {as_shipped: strict, **fusion.ways(boxes, image.shape, DEMO, threshold)}
        for name, found in candidates.items():
            detected.setdefault(name, []).append(found)
    marks = {name: marked(found, truth) for name, found in detected.items()}
    least = {name: m.froc().threshold_at(SEGMENTED_TO) for name, m in marks.items()}
    kept = {name: [_from(least[name], found) for found in by_image] for name, by_image in detected.items()}
    masked = fusion.mask_boxes(images, kept, load_bundle("demo"), workers)
    for image, (boxes, _) in zip(images, masked[as_shipped], strict=True):
        # What is compared here is what the program reports.
        expected, _ = reported.get(image.record.sop_uid, NOTHING)
        assert np.array_equal(boxes, expected), image.record.sop_uid
    return {"detected boxes": marks, "mask boxes": {name: marked(found, truth) for name, found in masked.items()}}


def _from(least: float, found: Found) -> Found:
    boxes, confidences = found
    return boxes[confidences >= least], confidences[confidences >= least]


def _reported(results: Results) -> dict[str, Found]:
    rows: dict[str, list[list[float]]] = {}
    for row in results.findings().to_pylist():
        rows.setdefault(row["sop_uid"], []).append([row[n] for n in (*CORNERS, "confidence")])
    return {sop_uid: (np.array(found)[:, :4], np.array(found)[:, 4]) for sop_uid, found in rows.items()}


def fusion_case(kind: str, marks: dict[str, Detections]) -> dict[str, Any]:
    """Return the curves of one kind of box, and who wins where."""
    ways = {name: describe(m.froc()) for name, m in marks.items()}
    alone = [name for name in ways if name.endswith("alone")]
    highest = {str(at): max(way["sensitivity_at"][str(at)] for way in ways.values()) for at in AT}
    return {
        "case": f"fusion against single scales, {kind}",
        "reason": "does eq. 1 earn its place, at equal false positives per image, over the whole curve",
        "best_way_by_mean_sensitivity": max(ways, key=lambda name: ways[name]["mean_sensitivity_to_0.30"]),
        "best_single_scale": max(alone, key=lambda name: ways[name]["mean_sensitivity_to_0.30"]),
        "best_ways_at": {
            at: [n for n, way in ways.items() if way["sensitivity_at"][at] == best] for at, best in highest.items()
        },
        "fusion_minus": differences(
            marks[fusion.FUSION], {n: m for n, m in marks.items() if n not in (fusion.FUSION, SHIPPED)}
        ),
        "ways": ways,
    }


def demo_case(results: Results, truth: Path) -> dict[str, Any]:
    measured = evaluate(results.path, truth)
    print(json.dumps(measured, indent=1), flush=True)
    return {
        "case": f"the demo bundle on {measured['n_images']} images",
        "reason": "at its own operating point, λ = 0.6",
        "seed": SEED,
        "masses": masses_of(truth, results),
        **measured,
    }


def print_case(case: dict[str, Any]) -> None:
    print(case["case"])
    for name, way in case.get("ways", {}).items():
        at = "  ".join(f"{value:.3f}" for value in way["sensitivity_at"].values())
        print(f"    {name:48} {at}   mean {way['mean_sensitivity_to_0.30']:.3f}", flush=True)


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path, "nargs": "?"}),
            ("--studies", {"type": int, "default": 100}),
            ("--workers", {"type": int, "default": 2}),
            ("--threshold", {"type": float, "default": DEMO.confidence_threshold, "help": "least confidence of a box"}),
            ("--only", {"choices": CASES, "nargs": "+", "default": CASES}),
            ("--picture", {"type": Path, "help": "where to draw the curves, SVG"}),
        ],
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.data or Path(scratch)) / f"studies-{arguments.studies}-seed-{SEED}"
        images = prepare(folder, arguments.studies, arguments.workers)
        _, studies = np.unique([image.record.study_uid for image in images], return_inverse=True)
        labels = [label_boxes(read_truth(folder / "truth" / f"{i.record.sop_uid}.png", i.shape)) for i in images]
        truth = Truth(labels, studies)
        cases = []
        if "blobs" in arguments.only:
            cases.append(blobs.case(folder / "archive.zarr", truth, arguments.workers))
        if {"demo", "fusion"} & set(arguments.only):
            shipped = screened(folder, arguments.workers)
        if "demo" in arguments.only:
            cases.append(demo_case(shipped, folder / "truth"))
        if "fusion" in arguments.only:
            opened = screened(folder, arguments.workers, arguments.threshold)
            marks = measure_fusion(shipped, opened, images, truth, arguments.threshold, arguments.workers)
            cases += [fusion_case(kind, by_name) for kind, by_name in marks.items()]
            if arguments.picture:
                panels = {k: {n: corners(m.froc()) for n, m in by_name.items()} for k, by_name in marks.items()}
                arguments.picture.write_text(picture.draw(panels, LIMIT))
    for case in cases:
        print_case(case)
    harness.write(arguments.json, cases, PACKAGES, NOTES)


if __name__ == "__main__":
    main()
