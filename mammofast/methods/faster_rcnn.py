"""What Faster R-CNN does between and after its two networks (Ren et al. 2015, arXiv 1506.01497), in plain arrays.

Trunk → proposals → RoI Align → head → boxes. Boxes are (x_min, y_min, x_max, y_max) in pixels of the network's input,
without the "+ 1" of widths in the first implementations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.errors import BrokenImage, Reason

Array = npt.NDArray[np.float32]
Network = Callable[[Array], Sequence[Array]]

# A box grows to this much of its anchor at most, exp of it in each direction: from 16 pixels to 1,000.
_LARGEST_GROWTH = log(1000 / 16)
_UNSCALED = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Anchors:
    """The boxes that proposals start from: every aspect ratio of every scale, at every place of the features.

    stride: pixels for each place. scales: side of a square one in strides. P5's lesions need smaller ones than 8.
    ratios: height over width, the area staying. offset: where in a place's pixels the anchors' centre lies; torchvision
    has 0, and whole-numbered anchors (``rounded``).
    """

    stride: int = 16
    scales: tuple[float, ...] = (8.0, 16.0, 32.0)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    offset: float = 0.5
    rounded: bool = False

    def __post_init__(self) -> None:
        if self.stride < 1 or not self.scales or not self.ratios or min(*self.scales, *self.ratios) <= 0:
            raise ValueError(f"anchors: got {self}, expected a stride, scales and ratios above 0")

    @property
    def count(self) -> int:
        """Anchors at each place."""
        return len(self.scales) * len(self.ratios)

    def at(self, rows: int, cols: int) -> npt.NDArray[np.float64]:
        """Return the anchors of features (rows, cols) as (rows * cols * count, 4): by row, column, ratio, scale."""
        ratio, scale = np.repeat(self.ratios, len(self.scales)), np.tile(self.scales, len(self.ratios))
        half = np.stack([scale / np.sqrt(ratio), scale * np.sqrt(ratio)], axis=1) * self.stride / 2
        shapes = np.concatenate([-half, half], axis=1)
        if self.rounded:
            shapes = np.round(shapes)
        y, x = ((np.arange(size) + self.offset) * self.stride for size in (rows, cols))
        centres = np.stack([*np.meshgrid(x, y)] * 2, axis=-1)
        anchors: npt.NDArray[np.float64] = (centres[:, :, np.newaxis] + shapes).reshape(-1, 4)
        return anchors


@dataclass(frozen=True, slots=True)
class Settings:
    """Thresholds and numbers of the method.

    candidates: best anchors of an image that are looked at; proposals: those of them that go on to the head, after NMS
    at ``proposal_iou``. box_std: what the head's deltas are divided by in training. score_threshold: boxes of a
    smaller score are dropped; the others go through NMS at ``final_iou`` within their class, and the best
    ``detections`` stay.
    """

    anchors: Anchors = Anchors()
    candidates: int = 6000
    proposals: int = 300
    proposal_iou: float = 0.7
    box_std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    score_threshold: float = 0.05
    final_iou: float = 0.3
    detections: int = 100
    roi_size: int = 7
    sampling_ratio: int = 2


class Detections(NamedTuple):
    """Boxes of one image by falling score: float32 (k, 4), float32 (k,) in [0, 1], int64 (k,) of 1 and more."""

    boxes: Array
    scores: Array
    classes: npt.NDArray[np.int64]


def detect(image: Array, trunk: Network, head: Network, settings: Settings) -> list[Detections]:
    """Run Faster R-CNN.

    Parameters
    ----------
    image: float32 (n, channels, rows, cols).
    trunk: image to features, objectness and deltas, as ``mammofast.models.faster_rcnn`` describes them.
    head: features of proposals (k, c, 7, 7) to class logits and deltas. It is run on ``settings.proposals`` at a time,
        zeros where an image has fewer, so that its batch never changes.
    settings: of the network's training.

    Raises
    ------
    ValueError
        When a network's outputs are not of so many anchors, or do not go together.
    BrokenImage
        When they hold NaN or infinity.

    """
    features, objectness, deltas = trunk(image)
    shape = (image.shape[2], image.shape[3])
    found = []
    for i in range(len(image)):
        _check_finite("trunk", features[i])
        proposals, _ = propose(objectness[i], deltas[i], shape, settings)
        place = np.zeros(len(proposals), np.int64)
        size, scale = (settings.roi_size, settings.roi_size), 1 / settings.anchors.stride
        rois = ops.roi_align(features[i : i + 1], proposals, place, size, scale, settings.sampling_ratio)
        batch = np.zeros((settings.proposals, *rois.shape[1:]), np.float32)
        batch[: len(rois)] = rois
        logits, shifts = (output[: len(rois)] for output in head(batch))
        found.append(classify(logits, shifts, proposals, shape, settings))
    return found


def propose(objectness: Array, deltas: Array, shape: tuple[int, int], settings: Settings) -> tuple[Array, Array]:
    """Return the proposals of one image and their scores, best first.

    objectness: logits (2A, h, w), of A anchors to be background, then of A anchors to be something.
    deltas: (4A, h, w), four for each anchor. shape: (rows, cols) of the image that boxes are clipped to; an empty box
    drops out.

    Raises
    ------
    ValueError
        When the outputs are not of so many anchors.
    BrokenImage
        When they hold NaN or infinity.

    """
    count, (rows, cols) = settings.anchors.count, objectness.shape[1:]
    if objectness.shape != (2 * count, rows, cols) or deltas.shape != (4 * count, rows, cols):
        raise ValueError(
            f"proposals: got objectness {objectness.shape} and deltas {deltas.shape}, expected {2 * count} and "
            f"{4 * count} channels of one size for {count} anchors: give the scales and ratios that it was trained with"
        )
    _check_finite("trunk", objectness, deltas)
    background, something = objectness.astype(np.float64).reshape(2, count, rows * cols)
    margin = (something - background).T.ravel()
    best = np.argsort(-margin, kind="stable")[: settings.candidates]
    shifts = deltas.reshape(count, 4, rows * cols).transpose(2, 0, 1).reshape(-1, 4)[best]
    boxes = _clipped(decode(settings.anchors.at(rows, cols)[best], shifts, _UNSCALED), shape)
    scores = (1 / (1 + np.exp(-np.clip(margin[best], -80, 80)))).astype(np.float32)
    boxes, scores = _not_empty(boxes, scores)
    kept = ops.nms(boxes, scores, settings.proposal_iou)[: settings.proposals]
    return boxes[kept], scores[kept]


def classify(logits: Array, deltas: Array, proposals: Array, shape: tuple[int, int], settings: Settings) -> Detections:
    """Return what the head makes of an image's proposals.

    logits: (k, classes), background first. deltas: (k, 4·classes), four for each class. proposals: (k, 4).

    Raises
    ------
    ValueError
        When the outputs do not go together.
    BrokenImage
        When they hold NaN or infinity.

    """
    k, classes = logits.shape
    if deltas.shape != (k, 4 * classes) or len(proposals) != k:
        raise ValueError(f"head: got logits {logits.shape} and deltas {deltas.shape} for {len(proposals)} proposals")
    _check_finite("head", logits, deltas)
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    scores = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    row, kind = np.nonzero(scores[:, 1:] > settings.score_threshold)
    shifts = deltas.reshape(k, classes, 4)[row, kind + 1]
    boxes = _clipped(decode(proposals[row].astype(np.float64), shifts, settings.box_std), shape)
    boxes, confidence, kind = _not_empty(boxes, scores[row, kind + 1], kind)
    kept = ops.nms(boxes, confidence, settings.final_iou, kind)[: settings.detections]
    return Detections(boxes[kept], confidence[kept], kind[kept].astype(np.int64) + 1)


def encode(
    anchors: npt.NDArray[np.floating], boxes: npt.NDArray[np.floating], std: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Return dx, dy, dw, dh (n, 4) that turn anchors into boxes, over std: what a network learns."""
    centre, size = _centre_and_size(anchors)
    target, target_size = _centre_and_size(boxes)
    deltas = np.concatenate([(target - centre) / size, np.log(target_size / size)], axis=1)
    return np.asarray(deltas / np.asarray(std))


def decode(
    anchors: npt.NDArray[np.floating], deltas: npt.NDArray[np.floating], std: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Return the boxes (n, 4) that deltas turn anchors into."""
    centre, size = _centre_and_size(anchors)
    shifts = deltas.astype(np.float64) * np.asarray(std)
    middle = centre + shifts[:, :2] * size
    half = size * np.exp(np.minimum(shifts[:, 2:], _LARGEST_GROWTH)) / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _centre_and_size(
    boxes: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    return (low + high) / 2, high - low


def _clipped(boxes: npt.NDArray[np.float64], shape: tuple[int, int]) -> Array:
    rows, cols = shape
    return boxes.clip(0, [cols, rows, cols, rows]).astype(np.float32)


def _not_empty(boxes: Array, *others: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Return the rows of boxes that have an area."""
    some = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    return boxes[some], *(other[some] for other in others)


def _check_finite(network: str, *outputs: Array) -> None:
    if not all(np.isfinite(output).all() for output in outputs):
        raise BrokenImage(Reason.NOT_FINITE, f"the {network} gave NaN or infinity for this image")
