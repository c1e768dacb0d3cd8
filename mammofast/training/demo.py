"""Make the demo bundle: phantoms, training, calibration, export, manifest.

    python -m mammofast.training.demo --out DIR [--studies N] [--steps SEGMENTER DETECTOR] [--minutes M]

On one processor, with one version of PyTorch and one thread count, the same arguments give the same networks, unless
the minutes run out first: the rate of learning then falls with the clock.

Training phantoms, validation phantoms and the phantoms that ``mammofast phantom`` writes come from random streams whose
first word differs (:class:`mammofast.phantom.plan.Purpose`), so no seed makes one a copy of another.
Every number of the manifest is chosen here: computed (anchors, calibration) or stated with its reason below.
"""

import argparse
import hashlib
import json
import multiprocessing
import pickle
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from mammofast.methods.contrast import Contrast
from mammofast.models.compact_nested_unet import CompactNestedUNet
from mammofast.models.compact_yolo import CHANNELS, CompactYolo
from mammofast.models.yolov3 import ANCHORS_PER_HEAD, STRIDES
from mammofast.phantom.plan import Mix, PlannedView, Purpose, plan_studies
from mammofast.training.anchors import kmeans_anchors
from mammofast.training.calibrate import Choice, choose
from mammofast.training.data import Example, make_example
from mammofast.training.detection import train_detector
from mammofast.training.export import export_detector, export_segmenter, sharpen
from mammofast.training.measure import measure
from mammofast.training.segmentation import train_segmenter

NOTICE = "For trying the software only: trained on phantoms, never on patients."
# The paper's five sizes, rows first.
SCALES = ((320, 160), (512, 256), (640, 320), (832, 416), (960, 480))
# The paper's operating point.
FUSION_THRESHOLD = 0.6
# The usual ones of YOLOv3; the calibration below decides what a confidence of 0.3 means.
CONFIDENCE_THRESHOLD, NMS_IOU = 0.3, 0.45
# The darkest per cent is skin line and noise; above the brightest half per cent lie labels and calcifications.
CONTRAST = Contrast(1.0, 99.5)
# Fused boxes are where most scales agree, so they cut margins; a quarter of a side on each side holds the whole mass.
CROP_MARGIN = 0.25
CROP_SHAPE = (256, 256)
CROPS_PER_MASS = 2
# Where mass and no mass are equally likely; Dice and cross-entropy are both balanced there.
MASK_THRESHOLD = 0.5
# More masses, pairs and subtle ones than in a standard set: there is more to learn from each image.
TRAINING_MIX = Mix(with_mass=0.7, with_two=0.25, subtle=0.35)
# Studies are made in sets, each a seed of its own; sets 1, 2, … train.
SET_STUDIES = 400
VALIDATION_STUDIES = 40
SEED = 0
# Batches for segmenter and detector: half an hour on one core of 2025.
STEPS = (300, 900)
# Of the minutes; the segmenter sees crops, has half the parameters and is soon good.
SEGMENTER_SHARE = 0.25


def make_examples(studies: int, seed: int, purpose: Purpose, workers: int, cache: Path | None) -> list[Example]:
    """Make a set's examples, or read them from ``cache``, which holds pickles that this function wrote."""
    file = None if cache is None else cache / f"{purpose.name.lower()}-{seed}-{studies}.pickle"
    if file is not None and file.exists():
        examples: list[Example] = pickle.loads(file.read_bytes())  # noqa: S301 - our own, on the trainer's machine
        return examples
    mix = TRAINING_MIX if purpose is Purpose.TRAINING else Mix()
    views = [view for study in plan_studies(studies, seed, purpose, mix) for view in study]
    if workers == 1:
        examples = list(map(_example, views))
    else:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            examples = pool.map(_example, views, chunksize=8)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(examples, protocol=5))
    return examples


def _example(view: PlannedView) -> Example:
    return make_example(view, CONTRAST, SCALES, CROP_SHAPE, CROP_MARGIN, CROPS_PER_MASS)


def fit_anchors(examples: list[Example]) -> npt.NDArray[np.float64]:
    """Return nine anchors over the boxes at all five sizes, since the detector is run at all of them."""
    sizes = [(e.boxes[:, 2:] - e.boxes[:, :2]) * [cols, rows] for e in examples for rows, cols in SCALES]
    return np.round(kmeans_anchors(np.concatenate(sizes), ANCHORS_PER_HEAD * len(STRIDES), SEED), 1)


def new_detector() -> CompactYolo:
    """Return an untrained detector that starts out silent: nearly all of its cells must stay so."""
    torch.manual_seed(SEED)
    network = CompactYolo()
    with torch.no_grad():
        for head in network.heads.values():
            bias = head[1].bias.view(ANCHORS_PER_HEAD, CHANNELS)
            bias.zero_()
            bias[:, 4], bias[:, 5] = -6.0, 2.0
    return network


def write_bundle(
    out: Path, detector: CompactYolo, segmenter: torch.nn.Module, anchors: npt.NDArray[np.float64]
) -> None:
    """Export both networks into ``out`` and write the manifest that hashes them."""
    out.mkdir(parents=True, exist_ok=True)
    export_detector(detector, out / "detector.onnx")
    export_segmenter(segmenter, CROP_SHAPE, out / "segmenter.onnx")
    manifest = {
        "format": 1,
        "name": "demo",
        "method": "two_stage",
        "notice": NOTICE,
        "accepts": {"presentation_intent": ["FOR PRESENTATION"]},
        "networks": {name: _network(out / f"{name}.onnx") for name in ("detector", "segmenter")},
        "parameters": {
            "grey": {"modality": True, "voi": True, "invert": True},
            "contrast": {"low_percentile": CONTRAST.low_percentile, "high_percentile": CONTRAST.high_percentile},
            "scales": SCALES,
            "anchors": anchors.tolist(),
            "strides": STRIDES,
            "confidence_threshold": CONFIDENCE_THRESHOLD,
            "nms_iou": NMS_IOU,
            "fusion_threshold": FUSION_THRESHOLD,
            "crop_margin": CROP_MARGIN,
            "crop_shape": CROP_SHAPE,
            "mask_threshold": MASK_THRESHOLD,
            "box": "mask",
        },
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _network(path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "backend": "onnxruntime",
        "precision": "fp32",
        "target": "cpu",
        "versions": {"torch": torch.__version__.partition("+")[0], "onnx": onnx.__version__},
    }


def calibrate(detector: CompactYolo, anchors: npt.NDArray[np.float64], validation: list[Example]) -> Choice:
    """Choose where and how steeply the detector fires, and set it so."""
    choice = choose(detector, validation, anchors, STRIDES, CONFIDENCE_THRESHOLD, NMS_IOU, FUSION_THRESHOLD)
    sharpen(detector, choice.slope, choice.centre)
    return choice


class _Progress:
    """Counts steps and says the mean loss now and then; call it with step and loss."""

    def __init__(self, name: str, every: int = 100) -> None:
        self.steps = 0
        self._name, self._every, self._begun = name, every, time.monotonic()
        self._losses: list[float] = []

    def __call__(self, step: int, loss: float) -> None:
        self.steps = step + 1
        self._losses.append(loss)
        if len(self._losses) == self._every:
            mean = sum(self._losses) / self._every
            seconds = time.monotonic() - self._begun
            print(f"{self._name}: step {self.steps}, {seconds:.0f} s, loss {mean:.3f}", file=sys.stderr, flush=True)
            self._losses.clear()


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(prog="python -m mammofast.training.demo", description="Make the demo bundle.")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--studies", type=int, default=2 * SET_STUDIES, help="phantom studies to train on")
    parser.add_argument("--steps", type=int, nargs=2, default=STEPS, metavar=("SEGMENTER", "DETECTOR"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most, for training both networks")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, and processes that make phantoms")
    parser.add_argument("--cache", type=Path, help="a folder that keeps the examples for another run")
    parser.add_argument("--check", type=int, default=20, help="studies to measure the bundle on; 0 for none")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    make = partial(make_examples, workers=args.threads, cache=args.cache)
    sets = [min(SET_STUDIES, args.studies - done) for done in range(0, args.studies, SET_STUDIES)]
    examples = [e for seed, n in enumerate(sets, start=1) for e in make(n, seed, Purpose.TRAINING)]
    anchors = fit_anchors(examples)
    seconds = 60 * args.minutes

    crops, masks = (np.concatenate([getattr(e, name) for e in examples]) for name in ("crops", "masks"))
    taught = _Progress("segmenter")
    deadline = time.monotonic() + SEGMENTER_SHARE * seconds
    torch.manual_seed(SEED)
    segmenter = train_segmenter(
        CompactNestedUNet(), crops, masks, seed=SEED, steps=args.steps[0], deadline=deadline, report=taught
    )
    segmenter_steps = taught.steps
    taught = _Progress("detector")
    deadline = time.monotonic() + (1 - SEGMENTER_SHARE) * seconds
    detector = train_detector(
        new_detector(), examples, anchors, seed=SEED, steps=args.steps[1], deadline=deadline, report=taught
    )
    detector_steps = taught.steps
    del examples, crops, masks
    choice = calibrate(detector, anchors, make(VALIDATION_STUDIES, 1, Purpose.VALIDATION))
    print(choice, file=sys.stderr)
    write_bundle(args.out, detector, segmenter, anchors)
    record = {
        "made_by": "python -m mammofast.training.demo",
        "studies": args.studies,
        "threads": args.threads,
        "steps": {"segmenter": segmenter_steps, "detector": detector_steps},
        "calibration": asdict(choice) | {"studies": VALIDATION_STUDIES},
    }
    if args.check:
        views = [v for study in plan_studies(args.check, 2, Purpose.VALIDATION) for v in study]
        record["measured"] = {"studies": args.check} | measure(args.out, views).as_dict()
    (args.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
