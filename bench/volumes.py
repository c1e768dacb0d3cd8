"""P5's networks over a volume: the ``volume`` method beside eager PyTorch, a slice at a time.

    python -m bench.volumes DATA --json bench/results/volumes.json

DATA keeps the bundles between runs. Random weights: what networks cost does not depend on what they have learnt, and
all ways must find the same.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mammofast
from bench import harness
from mammofast import ops
from mammofast.bundles import load_bundle, open_network
from mammofast.compilation.bundle import Choice, compile_bundle
from mammofast.compilation.compiler import Target
from mammofast.compilation.sources import Weights
from mammofast.engine import Engine
from mammofast.methods import faster_rcnn
from mammofast.methods.linking import Candidate, link_slices
from mammofast.methods.parameters import read_parameters
from mammofast.methods.volume import VolumeParameters
from mammofast.methods.volume_inputs import ArrayVolume

EAGER, OURS, OPENVINO = "a slice at a time, eager PyTorch", "batched, ONNX Runtime", "batched, OpenVINO"
BACKENDS = {EAGER: "torch", OURS: "onnxruntime", OPENVINO: "openvino"}
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")
NOTES = (
    "One process, one thread for every way. The volume is in memory; both ways prepare, link and report it.",
    "U-Net++ and Faster R-CNN on ResNet-101 as P5 has them at 320 x 320, 300 proposals a slice, random weights.",
    "Eager PyTorch runs each slice's networks on exactly what that slice needs; proposals, RoI Align, NMS and linking "
    "are the same functions in all ways.",
    "agreement: candidates of each way beside eager PyTorch's; boxes differ by at most so many pixels.",
)


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--slices", {"type": int, "default": 8}),
            ("--rounds", {"type": int, "default": 3}),
            ("--width", {"type": float, "default": 1.0}),
            ("--compile-only", {"action": "store_true"}),
        ],
    )
    torch.set_num_threads(1)
    volume = ArrayVolume(breasts(arguments.slices))
    bundles = {
        name: make_bundle(arguments.data / f"{backend}-{arguments.width}", backend, arguments.width)
        for name, backend in BACKENDS.items()
    }
    if arguments.compile_only:
        return
    ways: dict[str, Callable[[], Any]] = {EAGER: by_slice(bundles[EAGER], volume)}
    screeners = [mammofast.open_bundle(bundles[name]) for name in (OURS, OPENVINO)]
    for name, screener in zip((OURS, OPENVINO), screeners, strict=True):
        ways[name] = lambda screener=screener: screener.screen_volume(volume).findings
    samples: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            found[name] = way()
            samples[name].append(time.perf_counter() - start)
    for screener in screeners:
        screener.close()
    case = harness.report(
        f"a volume of {arguments.slices} slices of 320 x 320",
        "slices per second against slice-at-a-time eager PyTorch with the same networks",
        samples,
        OURS,
        slices=arguments.slices,
        width=arguments.width,
        slices_per_second={name: arguments.slices / statistics.median(values) for name, values in samples.items()},
        agreement={name: agreement(found[EAGER], found[name]) for name in (OURS, OPENVINO)},
    )
    harness.write(arguments.json, [case], PACKAGES, NOTES)


def breasts(slices: int) -> Any:
    """Return two phases of two bright breasts with noise, uint16 (2, slices, 320, 320)."""
    rng = np.random.default_rng(7)
    values = rng.integers(0, 80, (2, slices, 320, 320))
    y, x = np.mgrid[:320, :320]
    for side in (90, 230):
        values[:, :, ((x - side) / 60) ** 2 + ((y - 130) / 80) ** 2 < 1] += 500
    values[1, :, ((x - 90) ** 2 + (y - 130) ** 2) < 100] += 900
    return values.astype(np.uint16)


def make_bundle(folder: Path, backend: str, width: float) -> Path:
    """Compile P5's networks with the same random weights for a backend, unless that is there."""
    if (folder / "manifest.json").exists():
        return folder
    choice = Choice(weights=Weights(random=0), options={"width": width})
    compile_bundle("volume", {"region": choice, "detector": choice}, Target(backend=backend), folder)
    return folder


def by_slice(folder: Path, volume: ArrayVolume) -> Callable[[], list[Candidate]]:
    """Return what finds a volume's candidates a slice at a time, with the networks in PyTorch."""
    bundle = load_bundle(folder)
    region, trunk, head = (open_network(bundle, name) for name in ("region", "trunk", "head"))
    parameters = read_parameters(VolumeParameters, bundle.parameters, "bench")

    def run() -> list[Candidate]:
        rows = parameters.region.rows(volume)
        mask = np.stack([_out(region, "image", row[None], "mask")[0, 0] for row in rows]) >= parameters.region_threshold
        boxes, scores, slices = [], [], []
        for number, row in enumerate(parameters.detection.rows(volume, mask)):
            found = _detect(trunk, head, row, parameters)
            boxes.append(found.boxes)
            scores.append(found.scores)
            slices.append(np.full(len(found.boxes), number))
        return link_slices(np.concatenate(boxes), np.concatenate(scores), np.concatenate(slices), parameters.linking)

    return run


def _detect(trunk: Engine, head: Engine, row: Any, parameters: VolumeParameters) -> faster_rcnn.Detections:
    settings, shape = parameters.rcnn, parameters.detection.shape
    outputs = trunk.run({"image": row[None]})
    proposals, _ = faster_rcnn.propose(outputs["objectness"][0], outputs["deltas"][0], shape, settings)
    place = np.zeros(len(proposals), np.int64)
    rois = ops.roi_align(outputs["features"], proposals, place, (7, 7), 1 / settings.anchors.stride, 2)
    said = head.run({"rois": rois})
    return faster_rcnn.classify(said["classes"], said["deltas"], proposals, shape, settings)


def _out(engine: Engine, source: str, tensor: Any, name: str) -> Any:
    return engine.run({source: np.ascontiguousarray(tensor)})[name]


def agreement(expected: list[Candidate], findings: Any) -> dict[str, float]:
    """Return how many candidates there are, and by how much scores and boxes differ at most where these agree."""
    shown: dict[str, float] = {"eager": len(expected), "ours": len(findings)}
    if len(expected) == len(findings):
        scores = [abs(a.score - b.score) for a, b in zip(expected, findings, strict=True)]
        edges = [
            abs(p - q)
            for a, b in zip(expected, findings, strict=True)
            for p, q in zip((*a.box[:2], *a.box[3:5]), b.box, strict=True)
        ]
        shown |= {"score": max(scores, default=0.0), "box_px": max(edges, default=0.0)}
    return shown


if __name__ == "__main__":
    main()
