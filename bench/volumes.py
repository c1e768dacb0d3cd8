"""P5's networks over a volume: the ``volume`` method beside eager PyTorch, a slice at a time.

    python -m bench.volumes DATA --json bench/results/volumes.json

DATA keeps the bundles between runs. Random weights, but for the last layer of U-Net++, which is fitted to the breasts:
what networks cost does not depend on what they have learnt, where they are run does.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

import mammofast
from bench import harness
from mammofast import ops
from mammofast.bundles import load_bundle
from mammofast.compilation.bundle import Choice, compile_bundle
from mammofast.compilation.compiler import Target
from mammofast.compilation.random_weights import settle
from mammofast.compilation.sources import Weights
from mammofast.engine.torch.file import read_file
from mammofast.methods import faster_rcnn
from mammofast.methods.linking import Candidate, link_slices
from mammofast.methods.parameters import read_parameters
from mammofast.methods.volume import VolumeParameters, hold_any
from mammofast.methods.volume_inputs import ArrayVolume, Input
from mammofast.models import create

EAGER, OURS = "a slice at a time, eager PyTorch", "batched, ONNX Runtime"
SAME = "a slice at a time, eager PyTorch, proposals with breast only"
WAYS = {
    EAGER: ("torch", "fp32"),
    OURS: ("onnxruntime", "fp32"),
    "batched, OpenVINO": ("openvino", "fp32"),
    "batched, OpenVINO in bf16": ("openvino", "bf16"),
}
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")
NOTES = (
    "One process, one thread for every way; CPU seconds, so that nothing else on the machine counts. The volume is in "
    "memory; all ways prepare it, and link what they find.",
    "U-Net++ and Faster R-CNN on ResNet-101 as P5 has them at 320 x 320, 300 proposals a slice; width: factor on all "
    "hidden channels. Random weights, but for the last layer of U-Net++, which is fitted to the breasts.",
    "Eager PyTorch runs the head on all 300 proposals of a slice, as P5 does, or on those with breast in them, as the "
    "method does; proposals, RoI Align, NMS and linking are the same functions in all ways.",
    "agreement: how many candidates each way finds, and how many of them one of eager PyTorch's is like: of the same "
    "slices, no edge more than a pixel away.",
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
    arguments.data.mkdir(parents=True, exist_ok=True)
    region = fit_region(arguments.data / f"region-{arguments.width}.safetensors", arguments.width)
    bundles = {name: make_bundle(arguments.data, *way, arguments.width, region) for name, way in WAYS.items()}
    if arguments.compile_only:
        return
    ways: dict[str, Callable[[], Any]] = {
        EAGER: by_slice(bundles[EAGER], volume, all_proposals=True),
        SAME: by_slice(bundles[EAGER], volume, all_proposals=False),
    }
    screeners = {name: mammofast.open_bundle(folder) for name, folder in bundles.items() if name != EAGER}
    for name, screener in screeners.items():
        ways[name] = lambda screener=screener: screener.screen_volume(volume).findings
    samples: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.process_time()
            found[name] = way()
            samples[name].append(time.process_time() - start)
    for screener in screeners.values():
        screener.close()
    case = harness.report(
        f"a volume of {arguments.slices} slices of 320 x 320",
        "slices per second against slice-at-a-time eager PyTorch with the same networks",
        samples,
        OURS,
        slices=arguments.slices,
        width=arguments.width,
        slices_per_second={name: arguments.slices / statistics.median(values) for name, values in samples.items()},
        agreement={name: agreement(found[SAME], found[name]) for name in screeners},
    )
    harness.write(arguments.json, [case], PACKAGES, NOTES)


def truth() -> Any:
    """Return where the breasts are, 29 % of a slice, bool (320, 320)."""
    y, x = np.mgrid[:320, :320]
    across = np.minimum(abs(x - 90), abs(x - 230))
    return np.asarray((across / 60) ** 2 + ((y - 130) / 80) ** 2 < 1)


def breasts(slices: int) -> Any:
    """Return two phases of two bright breasts with noise, uint16 (2, slices, 320, 320)."""
    rng = np.random.default_rng(7)
    values = rng.integers(0, 80, (2, slices, 320, 320))
    values[:, :, truth()] += 500
    y, x = np.mgrid[:320, :320]
    values[1, :, ((x - 90) ** 2 + (y - 130) ** 2) < 100] += 900
    return values.astype(np.uint16)


def fit_region(path: Path, width: float) -> Path:
    """Write a random U-Net++ whose last layer is fitted, by least squares, to the breasts; unless that is there."""
    if not path.exists():
        torch.manual_seed(0)
        network = create("unet-pp", width=width).eval()
        image = torch.from_numpy(Input(shape=(320, 320), channels=({"phase": 0},)).rows(ArrayVolume(breasts(1))))
        settle(network, image)
        with torch.inference_mode():
            column = network.encoder(image)[::-1]
            features = network.decoder(column[:-1], column[1:])[-1][0].flatten(1).T
            wanted = torch.from_numpy(truth().astype(np.float32)).reshape(-1, 1)
            weights = torch.linalg.lstsq(features - features.mean(dim=0), wanted - wanted.mean()).solution
            least = np.quantile((features @ weights).numpy(), 1 - truth().mean())
        (head,) = network.heads.values()
        head.weight.data[:] = 20 * weights.reshape(head.weight.shape)
        head.bias.data[:] = -20 * float(least)
        save_file(network.state_dict(), path)
    return path


def make_bundle(data: Path, backend: str, precision: str, width: float, region: Path) -> Path:
    """Compile P5's networks for a backend, unless that is there."""
    folder = data / f"{backend}-{precision}-{width}"
    if not (folder / "manifest.json").exists():
        chosen = {
            "region": Choice(weights=Weights(file=region), options={"width": width}),
            "detector": Choice(weights=Weights(random=0), options={"width": width}),
        }
        compile_bundle("volume", chosen, Target(backend=backend, precision=precision), folder)
    return folder


def by_slice(folder: Path, volume: ArrayVolume, all_proposals: bool) -> Callable[[], list[Candidate]]:
    """Return what finds a volume's candidates a slice at a time, with the networks in PyTorch."""
    bundle = load_bundle(folder)
    region, trunk, head = (read_file(bundle.read(name))[1] for name in ("region", "trunk", "head"))
    parameters = read_parameters(VolumeParameters, bundle.parameters, "bench")

    def run() -> list[Candidate]:
        rows = parameters.region.rows(volume)
        mask = np.stack([run_eager(region, row[None])[0][0, 0] for row in rows]) >= parameters.region_threshold
        boxes, scores, slices = [], [], []
        for number, row in enumerate(parameters.detection.rows(volume, mask)):
            found = detect(trunk, head, row, None if all_proposals else mask[number], parameters)
            boxes.append(found.boxes)
            scores.append(found.scores)
            slices.append(np.full(len(found.boxes), number))
        return link_slices(np.concatenate(boxes), np.concatenate(scores), np.concatenate(slices), parameters.linking)

    return run


def detect(
    trunk: nn.Module, head: nn.Module, row: Any, mask: Any, parameters: VolumeParameters
) -> faster_rcnn.Detections:
    """Run Faster R-CNN on one slice; where there is a mask, on proposals that hold some of it."""
    settings, shape = parameters.rcnn, parameters.detection.shape
    features, objectness, deltas = run_eager(trunk, row[None])
    proposals, _ = faster_rcnn.propose(objectness[0], deltas[0], shape, settings)
    proposals = proposals if mask is None else proposals[hold_any(mask, proposals)]
    place = np.zeros(len(proposals), np.int64)
    rois = ops.roi_align(features, proposals, place, (7, 7), 1 / settings.anchors.stride, 2)
    return faster_rcnn.classify(*run_eager(head, rois), proposals, shape, settings)


def run_eager(network: nn.Module, batch: Any) -> list[Any]:
    """Run a network as PyTorch users do."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(np.ascontiguousarray(batch)))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def agreement(expected: list[Candidate], findings: Any) -> dict[str, int]:
    """Return how many candidates there are, and how many of the findings are the same ones."""
    boxes = np.array([[*each.box[:2], *each.box[3:5], each.box[2], each.box[5]] for each in expected]).reshape(-1, 6)
    same = 0
    for each in findings:
        apart = np.abs(boxes - [*each.box, each.z_min, each.z_max])
        same += bool(((apart[:, :4] <= 1).all(axis=1) & (apart[:, 4:] == 0).all(axis=1)).any())
    return {"eager": len(expected), "ours": len(findings), "same": same}


if __name__ == "__main__":
    main()
