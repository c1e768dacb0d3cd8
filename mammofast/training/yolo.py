"""What YOLOv3 learns from a batch: which cell and anchor answer for a box, and what a wrong answer costs.

Redmon & Farhadi 2018 (arXiv 1804.02767) as darknet codes it; or boxes learned as a whole by complete IoU (Zheng et al.
2020, arXiv 1911.08287), which needs fewer steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mammofast.models.yolov3 import ANCHORS_PER_HEAD, BOX_CHANNELS, STRIDES
from mammofast.training.anchors import shared_corner_iou

XYWH, COMPLETE_IOU = "xywh", "complete-iou"
# A box's growth past exp of this, in either direction, is no box; it keeps a bad start from becoming infinite.
_LARGEST_GROWTH = 6.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Boxes of a batch, in pixels of the network's input: corners float32 (n, 4), and whose each is, int64 (n,)."""

    boxes: Tensor
    image: Tensor


@dataclass(frozen=True, slots=True)
class YoloLoss:
    """The batch's mean loss per image.

    anchors: (9, 2) widths and heights in pixels of the input, three per stride in the strides' order.
    box: "xywh", cross-entropy of a centre's place in its cell and half the squared error of a side's logarithm, small
    boxes counting up to twice (2 - their part of the image); or "complete-iou", 1 - CIoU.
    box_weight: beside objectness and class, which are cross-entropies.
    shape_fit: an anchor answers for a box where its shape fits better than this (IoU, corner on corner), beside the one
    of all nine that fits best; 1: that one alone, as in darknet.
    ignored_iou: predictions that lie on a box better than this are not taught to be silent, whoever answers for it.
    """

    anchors: tuple[tuple[float, float], ...]
    box: str = XYWH
    box_weight: float = 1.0
    shape_fit: float = 1.0
    ignored_iou: float = 0.5

    def __post_init__(self) -> None:
        if len(self.anchors) != ANCHORS_PER_HEAD * len(STRIDES):
            raise ValueError(f"anchors: got {len(self.anchors)}, expected {ANCHORS_PER_HEAD * len(STRIDES)}")
        if self.box not in (XYWH, COMPLETE_IOU):
            raise ValueError(f"box: got {self.box!r}, expected {XYWH!r} or {COMPLETE_IOU!r}")

    def __call__(self, outputs: Sequence[Tensor], targets: Targets) -> Tensor:
        """Return the loss. outputs: per stride (n, 3·(5 + classes), rows, cols); the first class is the boxes'."""
        anchors = torch.tensor(self.anchors, dtype=torch.float32, device=outputs[0].device)
        answers = assign(targets.boxes, self.anchors, self.shape_fit).to(outputs[0].device)
        total = outputs[0].new_zeros((), dtype=torch.float32)
        for head, (stride, output) in enumerate(zip(STRIDES, outputs, strict=True)):
            own = slice(head * ANCHORS_PER_HEAD, (head + 1) * ANCHORS_PER_HEAD)
            total = total + self._head(output, stride, anchors[own], answers[:, own], targets)
        return total / len(outputs[0])

    def _head(self, output: Tensor, stride: int, anchors: Tensor, answers: Tensor, targets: Targets) -> Tensor:
        n, _, rows, cols = output.shape
        cells = output.float().view(n, ANCHORS_PER_HEAD, -1, rows, cols).permute(0, 1, 3, 4, 2)
        wanted = torch.zeros(cells.shape[:4], device=output.device)
        total = output.new_zeros((), dtype=torch.float32)
        box, anchor = torch.nonzero(answers, as_tuple=True)
        if len(box):
            corners, image = targets.boxes[box], targets.image[box]
            centre = (corners[:, :2] + corners[:, 2:]) / 2 / stride
            col, row = (centre[:, i].long().clamp(0, size - 1) for i, size in ((0, cols), (1, rows)))
            wanted[image, anchor, row, col] = 1
            own = cells[image, anchor, row, col]
            place = torch.stack([col, row], dim=1)
            total = total + self.box_weight * self._boxes(
                own, anchors[anchor], place, corners, stride, (cols * stride, rows * stride)
            )
            kinds = torch.zeros_like(own[:, BOX_CHANNELS:])
            kinds[:, 0] = 1
            total = total + functional.binary_cross_entropy_with_logits(own[:, BOX_CHANNELS:], kinds, reduction="sum")
        with torch.no_grad():
            ignored = _overlap_any(decode(cells, anchors, stride), targets) > self.ignored_iou
        counted = (wanted > 0) | ~ignored
        silence = functional.binary_cross_entropy_with_logits(cells[..., 4], wanted, reduction="none")
        return total + (silence * counted).sum()

    def _boxes(
        self, t: Tensor, anchors: Tensor, place: Tensor, corners: Tensor, stride: int, size: tuple[int, int]
    ) -> Tensor:
        """Return what the answers (n, 4 and more) cost. place: their column and row. size: width and height."""
        if self.box == COMPLETE_IOU:
            return (1 - complete_iou(_corners(t, anchors, place, stride), corners)).sum()
        sides = corners[:, 2:] - corners[:, :2]
        weight = (2 - sides.prod(dim=1) / (size[0] * size[1]))[:, None]
        within = ((corners[:, :2] + corners[:, 2:]) / 2 / stride - place).clamp(0, 1)
        centre = functional.binary_cross_entropy_with_logits(t[:, :2], within, reduction="none")
        growth = (t[:, 2:4] - torch.log(sides / anchors)).square() / 2
        return (weight * (centre + growth)).sum()


def assign(boxes: Tensor, anchors: Sequence[Sequence[float]], shape_fit: float) -> Tensor:
    """Return bool (boxes, anchors): which anchors answer for which box (n, 4), see :class:`YoloLoss`."""
    sizes: npt.NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).cpu().numpy().astype(np.float64)
    if not len(sizes):
        return torch.zeros((0, len(anchors)), dtype=torch.bool)
    fit = shared_corner_iou(sizes, np.asarray(anchors, dtype=np.float64))
    chosen = fit > shape_fit
    chosen[np.arange(len(fit)), fit.argmax(axis=1)] = True
    return torch.from_numpy(chosen)


def decode(cells: Tensor, anchors: Tensor, stride: int) -> Tensor:
    """Return the corners (n, 3, rows, cols, 4) that a head's cells (n, 3, rows, cols, 4 and more) say."""
    _, _, rows, cols, _ = cells.shape
    row, col = torch.meshgrid(
        torch.arange(rows, device=cells.device), torch.arange(cols, device=cells.device), indexing="ij"
    )
    return _corners(cells, anchors[:, None, None], torch.stack([col, row], dim=-1), stride)


def _corners(t: Tensor, anchors: Tensor, place: Tensor, stride: int) -> Tensor:
    centre = (torch.sigmoid(t[..., :2]) + place) * stride
    half = anchors * torch.exp(t[..., 2:4].clamp(-_LARGEST_GROWTH, _LARGEST_GROWTH)) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _overlap_any(boxes: Tensor, targets: Targets) -> Tensor:
    """Return each predicted box's largest IoU with a box of its image."""
    best = torch.zeros(boxes.shape[:4], device=boxes.device)
    for corners, image in zip(targets.boxes, targets.image.tolist(), strict=True):
        best[image] = torch.maximum(best[image], _iou(boxes[image], corners))
    return best


def _iou(a: Tensor, b: Tensor) -> Tensor:
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    overlap = sides.prod(dim=-1)
    union = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1) - overlap
    return overlap / union.clamp(min=1e-6)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return CIoU (Zheng et al. 2020) of boxes a and b, both (n, 4) corners."""
    iou = _iou(a, b)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(dim=1)
    angle = [torch.atan2(x[:, 2] - x[:, 0], (x[:, 3] - x[:, 1]).clamp(min=1e-6)) for x in (a, b)]
    v = (4 / np.pi**2) * (angle[0] - angle[1]).square()
    with torch.no_grad():
        weight = v / (1 - iou + v).clamp(min=1e-6)
    return iou - apart / hull.square().sum(dim=1).clamp(min=1e-6) - weight * v
