"""P5's networks over a volume: the ``volume`` method beside eager PyTorch, a slice at a time.

    python -m bench.volumes DATA --json bench/results/volumes.json

DATA keeps weights and bundles between runs. The volume is a DCE-MRI phantom at P5's matrix. Weights are random, but for
the last layer of U-Net++, which is fitted to the phantom's breasts: what networks cost does not depend on what they
have learnt; what they are given to look at depends on the breasts. CPU seconds on one thread, every way in turns; with
--cores, slices per second of wall clock with that many cores at work.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from mammofast.compilation.networks import Weights
from mammofast.compilation.random_weights import settle
from mammofast.evaluation import dice
from mammofast.methods import faster_rcnn
from mammofast.methods.linking import Candidate, link_slices
from mammofast.methods.parameters import read_parameters
from mammofast.methods.volume import VolumeParameters, hold_any
from mammofast.methods.volume_inputs import ArrayVolume
from mammofast.models import create
from mammofast.models.weights import load_weights
from mammofast.phantom.dce_mri.case import draw_case
from mammofast.phantom.dce_mri.plan import Matrix, plan_cases
from mammofast.phantom.plan import Purpose

NETWORKS = {"region": "unet-pp", "detector": "faster-rcnn-r101-c4"}
EAGER, OURS = "a slice at a time, eager PyTorch", "batched, ONNX Runtime"
LAST = ", channels last"
SAME = ", the method's proposals only"
BF16 = " in bf16"
OPENVINO = "batched, OpenVINO"
OURS_BF16 = f"{OPENVINO}{BF16}"
BACKENDS = {OURS: ("onnxruntime", "fp32"), OPENVINO: ("openvino", "fp32"), OURS_BF16: ("openvino", "bf16")}
PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")
NOTES = (
    "One process, one thread for every way; CPU seconds, so that nothing else on the machine counts. With --cores, "
    "seconds of wall clock for as many volumes as cores: eager PyTorch with a thread for each core, one volume after "
    "the other, and a screener on each core, as `mammofast screen` has workers.",
    "The volume is a phantom of P5's matrix (320 x 320 pixels of 1 mm, slices over 12 cm), "
    "in memory; its breasts are brightened, so that the last layer of a random U-Net++ can tell them from the chest. "
    "All ways prepare it, and link what they find.",
    "U-Net++ and Faster R-CNN on ResNet-101 as P5 has them at 320 x 320, 300 proposals a slice; width: factor on all "
    "hidden channels. Random weights, but for the last layer of U-Net++, which is fitted to the breasts.",
    "Eager PyTorch looks at all 300 proposals of every slice, as P5 does; with 'the method's proposals only' it looks, "
    "as the method does, at those that hold a pixel of breast, and at slices that have some. seen: how many these are.",
    "Proposals, RoI Align, NMS and linking are the same functions in all ways. Eager PyTorch runs the networks as they "
    "are trained; what is compiled is cut after the head's first convolutions (mammofast/models/faster_rcnn.py). "
    "'channels last' is a memory format that PyTorch has to be asked for; bf16 of it is torch.autocast.",
    "agreement: how many candidates each way finds, and how many of them one of eager PyTorch's, with the method's "
    "proposals, is like: of the same slices, no edge more than a pixel away. Random weights decide by hair's breadths.",
)


@dataclass(frozen=True, slots=True)
class Eager:
    """How PyTorch is run. ours: whether on slices and proposals with breast only."""

    channels_last: bool = False
    ours: bool = False
    bf16: bool = False


EAGER_WAYS = {
    EAGER: Eager(),
    EAGER + LAST: Eager(channels_last=True),
    EAGER + SAME: Eager(ours=True),
    EAGER + LAST + SAME: Eager(channels_last=True, ours=True),
    EAGER + LAST + SAME + BF16: Eager(channels_last=True, ours=True, bf16=True),
}


def main() -> None:
    arguments = harness.parse_arguments(
        __doc__,
        [
            ("data", {"type": Path}),
            ("--slices", {"type": int, "default": 8}),
            ("--rounds", {"type": int, "default": 3}),
            ("--width", {"type": float, "default": 1.0}),
            ("--cores", {"type": int}),
            ("--compile-only", {"action": "store_true"}),
        ],
    )
    torch.set_num_threads(1)
    volume, truth = draw(arguments.slices)
    bundles, weights = prepare(arguments.data, arguments.width)
    if arguments.compile_only:
        return
    if arguments.cores:
        case = measure_cores(bundles, weights, volume, arguments)
    else:
        case = measure(bundles, weights, volume, truth, arguments)
    harness.write(arguments.json, [case], PACKAGES, NOTES)


def measure(bundles: Any, weights: Any, volume: ArrayVolume, truth: Any, arguments: Any) -> dict[str, Any]:
    """Return the case: every way on one thread, in turns."""
    ways: dict[str, Callable[[], Any]] = {
        name: by_slice(bundles[OURS], weights, arguments.width, how, volume) for name, how in EAGER_WAYS.items()
    }
    screeners = {name: mammofast.open_bundle(folder) for name, folder in bundles.items()}
    for name, screener in screeners.items():
        ways[name] = lambda screener=screener: screener.screen_volume(volume)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.process_time()
            found[name] = way()
            samples[name].append(time.process_time() - start)
    for screener in screeners.values():
        screener.close()
    medians = {name: statistics.median(values) for name, values in samples.items()}
    _, seen = found[EAGER + SAME]
    return harness.report(
        f"a volume of {arguments.slices} slices of 320 x 320",
        "slices per second against slice-at-a-time eager PyTorch with the same networks",
        samples,
        OURS,
        slices=arguments.slices,
        width=arguments.width,
        slices_per_second={name: arguments.slices / median for name, median in medians.items()},
        speedup={
            f"{name}, over {ours}": medians[name] / medians[ours]
            for name, how in EAGER_WAYS.items()
            for ours in ([OURS_BF16] if how.bf16 else [OURS, OPENVINO])
        },
        seen={**seen, "region_dice": dice(found[OURS].region, truth)},
        agreement={name: agreement(found[EAGER + SAME][0], found[name].findings) for name in screeners},
    )


def measure_cores(bundles: Any, weights: Any, volume: ArrayVolume, arguments: Any) -> dict[str, Any]:
    """Return the case of all cores at work on as many volumes."""
    cores = arguments.cores
    samples: dict[str, list[float]] = {EAGER: [], EAGER + LAST: [], OURS: []}
    eager = {
        name: by_slice(bundles[OURS], weights, arguments.width, EAGER_WAYS[name], volume)
        for name in samples
        if name != OURS
    }
    screeners = [mammofast.open_bundle(bundles[OURS]) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(arguments.rounds):
            torch.set_num_threads(cores)
            for name, run in eager.items():
                start = time.perf_counter()
                run()
                samples[name].append(cores * (time.perf_counter() - start))
            torch.set_num_threads(1)
            start = time.perf_counter()
            list(pool.map(lambda screener: screener.screen_volume(volume), screeners))
            samples[OURS].append(time.perf_counter() - start)
    for screener in screeners:
        screener.close()
    return harness.report(
        f"{cores} volumes of {arguments.slices} slices of 320 x 320 on {cores} cores",
        "slices per second of the machine",
        samples,
        OURS,
        slices=arguments.slices,
        width=arguments.width,
        slices_per_second={
            name: cores * arguments.slices / statistics.median(values) for name, values in samples.items()
        },
    )


def draw(slices: int) -> tuple[ArrayVolume, Any]:
    """Return a phantom with so many slices over 12 cm, and where its breasts are, bool (slices, 320, 320)."""
    (planned,) = plan_cases(1, 1, Purpose.TRAINING)
    matrix = Matrix(slices, 320, 320, 120 / slices, 1.0)
    case = draw_case(replace(planned, protocol=replace(planned.protocol, matrix=matrix)))
    breast = case.labels > 0
    return ArrayVolume(case.phases + (breast * 1500).astype(np.uint16), case.grid.spacing), breast


def prepare(data: Path, width: float) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the bundles, and the weights that they are made of, by network; what is there is kept."""
    data.mkdir(parents=True, exist_ok=True)
    weights = {role: data / f"{role}-{width}.safetensors" for role in NETWORKS}
    for role, write in (("region", write_region), ("detector", write_detector)):
        if not weights[role].exists():
            torch.manual_seed(0)
            write(weights[role], create(NETWORKS[role], width=width).eval())
    bundles = {}
    for name, (backend, precision) in BACKENDS.items():
        bundles[name] = data / f"{backend}-{precision}-{width}"
        if not (bundles[name] / "manifest.json").exists():
            chosen = {
                role: Choice(weights=Weights(file=file), options={"width": width}) for role, file in weights.items()
            }
            compile_bundle("volume", chosen, Target(backend=backend, precision=precision), bundles[name])
    return bundles, weights


def write_region(path: Path, network: Any) -> None:
    """Write a random U-Net++ whose last layer is fitted, by least squares, to the breasts."""
    volume, truth = draw(8)
    parameters = VolumeParameters(region=INPUT, detection=INPUT)
    rows = torch.from_numpy(parameters.region.rows(volume))
    settle(network, rows[3:4])
    with torch.inference_mode():
        column = network.encoder(rows)[::-1]
        features = network.decoder(column[:-1], column[1:])[-1].movedim(1, -1).flatten(0, 2)
        wanted = torch.from_numpy(truth.astype(np.float32)).reshape(-1, 1)
        mean = features.mean(dim=0)
        weights = torch.linalg.lstsq(features - mean, wanted - wanted.mean()).solution
        least = np.quantile((features @ weights).numpy(), 1 - truth.mean())
    (head,) = network.heads.values()
    head.weight.data[:] = 20 * weights.reshape(head.weight.shape)
    head.bias.data[:] = -20 * float(least)
    save_file(network.state_dict(), path)


INPUT: dict[str, Any] = {"shape": [320, 320], "channels": [{"phase": 0}]}


def write_detector(path: Path, network: Any) -> None:
    """Write a random Faster R-CNN whose layers keep the scale of what a slice gives them."""
    volume, _ = draw(8)
    parameters = VolumeParameters(region=INPUT, detection=INPUT)
    row = parameters.region.rows(volume)[3:4].repeat(3, axis=1)
    settle(network.trunk_and_proposals, torch.from_numpy(row))
    network.trunk_and_proposals.deltas.weight.data *= 0.2  # proposals as large as their anchors, more or less
    with torch.inference_mode():
        features = network.trunk_and_proposals(torch.from_numpy(row))[0]
    settle(network.head, features.unfold(2, 7, 4).unfold(3, 7, 4).movedim(1, 3).flatten(0, 2))
    save_file(network.state_dict(), path)


def by_slice(
    bundle: Path, weights: dict[str, Path], width: float, how: Eager, volume: ArrayVolume
) -> Callable[[], tuple[list[Candidate], dict[str, int]]]:
    """Return what finds a volume's candidates a slice at a time with PyTorch, and says how much it looked at."""
    networks = {}
    for role, name in NETWORKS.items():
        networks[role] = create(name, width=width).eval()
        load_weights(networks[role], weights[role])
        if how.channels_last:
            networks[role].to(memory_format=torch.channels_last)
    region, trunk, head = networks["region"], networks["detector"].trunk_and_proposals, networks["detector"].head
    parameters = read_parameters(VolumeParameters, load_bundle(bundle).parameters, "bench")
    settings, shape = parameters.rcnn, parameters.detection.shape

    def run() -> tuple[list[Candidate], dict[str, int]]:
        logits = [run_eager(region, row[None], how)[0][0, 0] for row in parameters.region.rows(volume)]
        mask = np.stack([1 / (1 + np.exp(-each)) for each in logits]) >= parameters.region_threshold
        boxes, scores, slices = [], [], []
        seen = {"slices": 0, "proposals": 0, "of_slices": len(mask), "of_proposals": 0}
        for number, row in enumerate(parameters.detection.rows(volume, mask)):
            if how.ours and not mask[number].any():
                continue
            features, objectness, deltas = run_eager(trunk, row[None], how)
            proposals, _ = faster_rcnn.propose(objectness[0], deltas[0], shape, settings)
            seen["of_proposals"] += len(proposals)
            if how.ours:
                proposals = proposals[hold_any(mask[number], proposals)]
            seen["slices"] += 1
            seen["proposals"] += len(proposals)
            place = np.zeros(len(proposals), np.int64)
            rois = ops.roi_align(features, proposals, place, (7, 7), 1 / settings.anchors.stride, 2)
            found = faster_rcnn.classify(*run_eager(head, rois, how), proposals, shape, settings)
            boxes.append(found.boxes)
            scores.append(found.scores)
            slices.append(np.full(len(found.boxes), number))
        joined = (np.concatenate(each) for each in (boxes, scores, slices))
        return link_slices(*joined, parameters.linking), seen

    return run


def run_eager(network: nn.Module, batch: Any, how: Eager) -> list[Any]:
    """Run a network as PyTorch users do."""
    order = torch.channels_last if how.channels_last else torch.contiguous_format
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=how.bf16):
        outputs = network(torch.from_numpy(np.ascontiguousarray(batch)).contiguous(memory_format=order))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [np.ascontiguousarray(output.float().numpy()) for output in outputs]


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
