"""The demo bundle on OpenVINO, in fp32 and in bf16, beside ONNX Runtime: how fast, and what it does to findings.

    python -m bench.precision DATA --studies 25 --json bench/results/precision.json

DATA keeps the phantoms between runs.
"""

import json
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openvino

import mammofast
from bench import harness
from bench.phantoms import write_phantoms
from bench.screening import box_iou, closest_pairs, mask_iou
from mammofast.archive import ArchiveImage, ingest
from mammofast.bundles import Bundle, load_bundle
from mammofast.engine import load_engine
from mammofast.records import Finding, ImageResult

WAYS = {
    "onnxruntime fp32": ("onnxruntime", "fp32"),
    "openvino fp32": ("openvino", "fp32"),
    "openvino bf16": ("openvino", "bf16"),
}
BASE = "onnxruntime fp32"
# Below SAME a finding is another one; from EQUAL on it is the same but for pixels of its outline.
SAME, EQUAL = 0.5, 0.95
PACKAGES = ("numpy", "onnxruntime", "openvino", "tensorstore")
NOTES = (
    "One process, one thread; every way screens each image in turn, read from one archive in the page cache.",
    "The same weights: copies of the demo bundle whose manifest names another backend and precision.",
    "Findings are matched one to one within an image by box IoU, the closest first.",
    "layers_that_ran: what OpenVINO says its compiled networks compute in, node by node.",
)


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--studies", {"type": int, "default": 25}),
            ("--rounds", {"type": int, "default": 2}),
        ],
    )
    studies = write_phantoms(arguments.data, arguments.studies)
    with tempfile.TemporaryDirectory(dir=arguments.data) as scratch, ExitStack() as stack:
        ingest(studies, Path(scratch) / "archive.zarr")
        images = list(mammofast.open_archive(Path(scratch) / "archive.zarr").images())
        bundles = {name: variant(Path(scratch) / name, *way) for name, way in WAYS.items()}
        screeners = {name: stack.enter_context(mammofast.open_bundle(folder)) for name, folder in bundles.items()}
        samples: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(arguments.rounds):
            results, seconds = run_round(images, screeners)
            for name, value in seconds.items():
                samples[name].append(value)
        layers = {name: layers_that_ran(load_bundle(folder)) for name, folder in bundles.items() if "openvino" in name}
    case = harness.report(
        f"screening {len(images)} images",
        "what the CPU's bf16 arithmetic gains, and what it costs in findings",
        samples,
        BASE,
        images=len(images),
        images_per_second={name: len(images) / statistics.median(values) for name, values in samples.items()},
        findings={name: sum(len(result.findings) for result in found) for name, found in results.items()},
        beside_onnxruntime={name: compare(results[BASE], results[name]) for name in WAYS if name != BASE},
        cpu_has=cpu_features(),
        layers_that_ran=layers,
    )
    shown = ("images_per_second", "findings", "beside_onnxruntime", "cpu_has", "layers_that_ran")
    print(json.dumps({name: case[name] for name in shown}, indent=1))
    harness.write(arguments.json, [case], PACKAGES, NOTES)


def variant(folder: Path, backend: str, precision: str) -> Path:
    """Write a copy of the demo bundle that another backend runs, and return its folder."""
    shutil.copytree(load_bundle("demo").folder, folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for network in manifest["networks"].values():
        network |= {"backend": backend, "precision": precision}
    path.write_text(json.dumps(manifest))
    return folder


def run_round(
    images: Sequence[ArchiveImage], screeners: dict[str, mammofast.Screener]
) -> tuple[dict[str, list[ImageResult]], dict[str, float]]:
    """Return every way's results of all images, and its seconds for them; the first image is screened once before."""
    results: dict[str, list[ImageResult]] = {name: [] for name in screeners}
    seconds = dict.fromkeys(screeners, 0.0)
    for screener in screeners.values():
        screener.screen(images[0])
    for image in images:
        for name, screener in screeners.items():
            start = time.perf_counter()
            results[name].append(screener.screen(image))
            seconds[name] += time.perf_counter() - start
    return results, seconds


def compare(base: Sequence[ImageResult], other: Sequence[ImageResult]) -> dict[str, Any]:
    """Return how the findings of one way differ from those of another, image by image."""
    pairs: list[tuple[Finding, Finding]] = []
    for mine, theirs in zip(base, other, strict=True):
        boxes = [[finding.box for finding in result.findings] for result in (mine, theirs)]
        pairs += [(mine.findings[i], theirs.findings[j]) for i, j in closest_pairs(*boxes, SAME)]
    counts = [sum(len(result.findings) for result in results) for results in (base, other)]
    ious = [box_iou(a.box, b.box) for a, b in pairs]
    overlaps = [mask_iou((a.box, a.mask), (b.box, b.mask)) for a, b in pairs]
    dices = [2 * iou / (1 + iou) for iou in overlaps]
    differences = [abs(a.confidence - b.confidence) for a, b in pairs]
    return {
        f"matched_at_iou_{EQUAL}": 2 * sum(iou >= EQUAL for iou in ious) / max(sum(counts), 1),
        f"matched_at_iou_{SAME}": 2 * len(pairs) / max(sum(counts), 1),
        "lost": counts[0] - len(pairs),
        "gained": counts[1] - len(pairs),
        "images_equal_to_the_bit": sum(a == b for a, b in zip(base, other, strict=True)),
        "box_iou": spread(ious, min),
        "dice": spread(dices, min),
        "confidence_difference": spread(differences, max),
    }


def spread(values: Sequence[float], worst: Any) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "worst": worst(values)} if values else {}


def cpu_features() -> list[str]:
    """Return what this CPU has for bf16; an engine without any of it computes in fp32 whatever it is asked."""
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    return [name for name in ("avx512_bf16", "amx_bf16") if name in flags]


def layers_that_ran(bundle: Bundle) -> dict[str, dict[str, int]]:
    """Count the nodes of OpenVINO's compiled networks by what they compute in."""
    found = {}
    for name, network in bundle.networks.items():
        with load_engine(bundle.read(name), network.backend, "cpu", network.precision) as engine:
            compiled = engine._request.get_compiled_model()  # type: ignore[attr-defined]  # the engine keeps no other
            found[name] = layer_precisions(compiled)
    return found


def layer_precisions(compiled: openvino.CompiledModel) -> dict[str, int]:
    """Count convolutions and all other nodes by precision."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = {key: str(value.astype(str)) for key, value in node.get_rt_info().items() if hasattr(value, "astype")}
        kind = "convolutions" if "onvolution" in info.get("layerType", "") else "others"
        counts[f"{kind} in {info.get('runtimePrecision', 'unknown')}"] += 1
    return dict(sorted(counts.items()))


if __name__ == "__main__":
    main()
