"""Where a detector's confidence is cut and how steeply it rises, chosen on images that trained nothing.

Fusion divides by the strongest box of the image: a mass that all scales see at confidence 0.5 would be lost beside one
at 0.9. A steep objectness makes fusion what the paper calls it, a majority vote of scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mammofast import ops
from mammofast.evaluation import match_boxes
from mammofast.methods.two_stage import BOX_MASK, TwoStageParameters
from mammofast.models.yolov3 import ANCHORS_PER_HEAD, BOX_CHANNELS, last_convolutions

Pixels = npt.NDArray[np.uint8]
# An image at each size, times 255, and its masses' boxes (k, 4) as parts of its width and height.
Case = tuple[Sequence[Pixels], npt.NDArray[np.floating]]

# False positives allowed to the candidates: one in five studies of four images. Images without a mass are counted, as
# nearly all images of a screening are: beside a mass fusion silences what it would report elsewhere.
_FP_PER_IMAGE = 0.05
_FEWEST_EMPTY = 10
# A candidate finds a mass at this IoU; where the segmenter has the last word on the box, it need only lie on it.
_HIT_IOU, _HIT_IOU_BEFORE_MASK = 0.5, 0.25
_FRAME = 1 << 12
_SLOPES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_CENTRES = np.arange(-4.0, 3.01, 0.25)
_WEAKEST_LOGIT = -5.0
# Of one image at one scale; a trained detector has a few dozen that are not silent.
_MOST_BOXES = 200
_OBJECTNESS = BOX_CHANNELS - 1
# A class whose confidence is 1 to all digits.
_CERTAIN = 20.0


@dataclass(frozen=True, slots=True)
class Choice:
    """slope, centre: for :func:`sharpen`. sensitivity, fp_per_image: of the fused candidates that it was chosen by, the
    latter in images without a mass, or in all where there are too few of these.
    """

    slope: float
    centre: float
    sensitivity: float
    fp_per_image: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """Boxes of one image at one scale, in the common frame, with their logits."""

    boxes: npt.NDArray[np.float32]
    objectness: npt.NDArray[np.float64]


def calibrate(network: nn.Module, cases: Sequence[Case], method: TwoStageParameters, channels: int = 1) -> Choice:
    """Choose slope and centre and set the detector so, in place.

    The choice is the most sensitive one among those within the allowed false positives; of equals the one with fewer
    of these, then the gentler, which keeps more of the ranking.

    channels: how often the grey channel is repeated for the network.
    """
    network.eval()
    predicted = [([_predict(network, image, method, channels) for image in images], truth) for images, truth in cases]
    choices = [_rate(predicted, slope, float(centre), method) for slope in _SLOPES for centre in _CENTRES]
    allowed = [c for c in choices if c.fp_per_image <= _FP_PER_IMAGE] or choices
    choice = max(allowed, key=lambda c: (c.sensitivity, -c.fp_per_image, -c.slope))
    sharpen(network, choice.slope, choice.centre)
    return choice


def sharpen(network: nn.Module, slope: float, centre: float) -> None:
    """Replace the objectness logit x by slope·(x - centre), in the last convolutions: the ranking stays.

    What is something is a mass, the one class there is, so that the confidence is the objectness.
    """
    with torch.no_grad():
        for last in last_convolutions(network):
            weight = last.weight.view(ANCHORS_PER_HEAD, -1, last.in_channels)
            bias = last.bias.view(ANCHORS_PER_HEAD, -1)
            weight[:, _OBJECTNESS] *= slope
            bias[:, _OBJECTNESS] = slope * (bias[:, _OBJECTNESS] - centre)
            weight[:, BOX_CHANNELS] = 0
            bias[:, BOX_CHANNELS] = _CERTAIN


def _predict(network: nn.Module, image: Pixels, method: TwoStageParameters, channels: int) -> _Scale:
    device = next(network.parameters()).device
    tensor = torch.from_numpy(image.astype(np.float32) / 255).expand(1, channels, -1, -1)
    with torch.no_grad():
        heads = [head[0].float().cpu().numpy() for head in network(tensor.to(device))]
    boxes, _ = ops.decode_yolo(heads, method.strides, method.anchors, threshold=0.0)
    objectness = np.concatenate([_objectness(head) for head in heads])
    kept = np.argsort(-objectness, kind="stable")[:_MOST_BOXES]
    kept = np.sort(kept[objectness[kept] > _WEAKEST_LOGIT])
    to_frame = np.array([_FRAME / image.shape[1], _FRAME / image.shape[0]] * 2)
    return _Scale((boxes[kept] * to_frame).astype(np.float32), objectness[kept])


def _objectness(head: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return objectness logits in the decoder's order: anchor, row, column."""
    cells = head.reshape(ANCHORS_PER_HEAD, BOX_CHANNELS + 1, -1).astype(np.float64)
    return cells[:, _OBJECTNESS].reshape(-1)


def _rate(
    predicted: Sequence[tuple[Sequence[_Scale], npt.NDArray[np.floating]]],
    slope: float,
    centre: float,
    method: TwoStageParameters,
) -> Choice:
    hit_iou = _HIT_IOU_BEFORE_MASK if method.box == BOX_MASK else _HIT_IOU
    hits = masses = 0
    misses: list[tuple[bool, int]] = []
    for scales, truth in predicted:
        candidates = _fuse(scales, slope, centre, method)
        found = int(np.sum(match_boxes(candidates.boxes, candidates.confidence, truth * _FRAME, hit_iou) >= 0))
        hits, masses = hits + found, masses + len(truth)
        misses.append((not len(truth), len(candidates.boxes) - found))
    empty = [count for is_empty, count in misses if is_empty]
    counted = empty if len(empty) >= _FEWEST_EMPTY else [count for _, count in misses]
    return Choice(slope, centre, hits / max(masses, 1), sum(counted) / max(len(counted), 1))


def _fuse(scales: Sequence[_Scale], slope: float, centre: float, method: TwoStageParameters) -> ops.FusedBoxes:
    boxes, scores = [], []
    for scale in scales:
        confidence = (1 / (1 + np.exp(-np.clip(slope * (scale.objectness - centre), -80, 80)))).astype(np.float32)
        chosen = confidence >= method.confidence_threshold
        kept = ops.nms(scale.boxes[chosen], confidence[chosen], method.nms_iou)
        boxes.append(scale.boxes[chosen][kept])
        scores.append(confidence[chosen][kept])
    pooled = np.concatenate(boxes), np.concatenate(scores)
    return ops.fuse_boxes(*pooled, len(scales), (_FRAME, _FRAME), method.fusion_threshold)
