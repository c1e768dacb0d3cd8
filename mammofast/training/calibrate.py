"""Where the detector's confidence is cut and how steeply it rises, chosen on phantoms of their own.

Fusion divides by the strongest box of the image: a mass that all scales see at confidence 0.5 would be lost beside one
at 0.9. A steep objectness makes fusion what the paper calls it, a majority vote of scales.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mammofast import ops
from mammofast.evaluation.matching import match_boxes
from mammofast.models.compact_yolo import CHANNELS
from mammofast.models.yolov3 import ANCHORS_PER_HEAD
from mammofast.records import Box
from mammofast.training.data import Example

# False positives allowed to the fused candidates of validation phantoms, some way under the target of 0.30.
_FP_PER_IMAGE = 0.22
_HIT_IOU = 0.5
_FRAME = 1 << 12
_SLOPES = (1.0, 2.0, 3.0, 4.0)
_CENTRES = np.arange(-3.0, 3.01, 0.25)
_WEAKEST_LOGIT = -4.0
# Of one image at one scale; a trained detector has a few dozen that are not silent.
_MOST_BOXES = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """slope, centre: for :func:`sharpen`. sensitivity, fp_per_image: of the fused candidates, on validation."""

    slope: float
    centre: float
    sensitivity: float
    fp_per_image: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """Boxes of one image at one scale, in the common frame, with their logits."""

    boxes: npt.NDArray[np.float32]
    objectness: npt.NDArray[np.float64]
    category: npt.NDArray[np.float64]


def choose(
    network: nn.Module,
    examples: Iterable[Example],
    anchors: npt.NDArray[np.float64],
    strides: Sequence[int],
    threshold: float,
    nms_iou: float,
    fusion_threshold: float,
) -> Choice:
    """Return the most sensitive choice among those within the allowed false positives; the steeper of equals."""
    network.eval()
    cases = [(_predict(network, e, anchors, strides), _truth(e)) for e in examples]
    choices = []
    for slope in _SLOPES:
        for centre in _CENTRES:
            hits = misses = masses = 0
            for scales, truth in cases:
                candidates = _fuse(scales, slope, float(centre), threshold, nms_iou, fusion_threshold)
                found = int(np.sum(match_boxes(candidates, np.zeros(len(candidates)), truth, _HIT_IOU) >= 0))
                hits, masses, misses = hits + found, masses + len(truth), misses + len(candidates) - found
            choices.append(Choice(slope, float(centre), hits / max(masses, 1), misses / len(cases)))
    allowed = [c for c in choices if c.fp_per_image <= _FP_PER_IMAGE] or choices
    return max(allowed, key=lambda c: (c.sensitivity, -c.fp_per_image, c.slope))


def _truth(example: Example) -> list[Box]:
    return [(int(b[0]), int(b[1]), int(b[2]), int(b[3])) for b in example.boxes * _FRAME]


def _predict(
    network: nn.Module, example: Example, anchors: npt.NDArray[np.float64], strides: Sequence[int]
) -> list[_Scale]:
    scales = []
    priors = [(float(w), float(h)) for w, h in anchors]
    for image in example.inputs:
        tensor = torch.from_numpy(image.astype(np.float32)[None, None] / 255)
        with torch.no_grad():
            heads = [head[0].numpy() for head in network(tensor)]
        boxes, _ = ops.decode_yolo(heads, strides, priors, threshold=0.0)
        logits = np.concatenate([_logits(head) for head in heads])
        kept = np.argsort(-logits[:, 0], kind="stable")[:_MOST_BOXES]
        kept = np.sort(kept[logits[kept, 0] > _WEAKEST_LOGIT])
        to_frame = np.array([_FRAME / image.shape[1], _FRAME / image.shape[0]] * 2)
        scales.append(_Scale((boxes[kept] * to_frame).astype(np.float32), logits[kept, 0], logits[kept, 1]))
    return scales


def _logits(head: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return objectness and class logits in the decoder's order: anchor, row, column."""
    cells = head.reshape(ANCHORS_PER_HEAD, CHANNELS, -1).astype(np.float64)
    return cells[:, 4:6].transpose(0, 2, 1).reshape(-1, 2)


def _fuse(
    scales: Sequence[_Scale], slope: float, centre: float, threshold: float, nms_iou: float, fusion_threshold: float
) -> list[Box]:
    boxes, scores = [], []
    for scale in scales:
        confidence = _sigmoid(slope * (scale.objectness - centre)) * _sigmoid(scale.category)
        chosen = confidence >= threshold
        b, s = scale.boxes[chosen], confidence[chosen].astype(np.float32)
        kept = ops.nms(b, s, nms_iou)
        boxes.append(b[kept])
        scores.append(s[kept])
    fused = ops.fuse_boxes(
        np.concatenate(boxes), np.concatenate(scores), len(scales), (_FRAME, _FRAME), fusion_threshold
    )
    return [(int(b[0]), int(b[1]), int(b[2]), int(b[3])) for b in fused.boxes]


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -80, 80))), dtype=np.float64)
