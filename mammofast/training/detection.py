"""Training the detector: YOLOv3's assignment of boxes to anchors, boxes learned by complete IoU."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mammofast.models.compact_yolo import CHANNELS
from mammofast.models.yolov3 import ANCHORS_PER_HEAD, STRIDES
from mammofast.training.anchors import shared_corner_iou
from mammofast.training.data import Example
from mammofast.training.schedule import NO_LIMIT, Average, Report, rate

# An anchor answers for a box when its shape fits so well, beside the one that fits best.
_SHAPE_FIT = 0.5
# Predictions that lie on a box so well are not taught to be silent, whoever answers for it.
_IGNORED_IOU = 0.5
_BOX_WEIGHT = 4.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Boxes of a batch, in pixels of the network's input: corners float32 (n, 4), and whose each is, int64 (n,)."""

    boxes: Tensor
    image: Tensor


def detection_loss(outputs: Sequence[Tensor], targets: Targets, anchors: Tensor) -> Tensor:
    """Return the batch's mean loss: box (1 - CIoU), objectness and class (cross-entropy).

    outputs: per stride (n, 3·6, rows, cols). anchors: (9, 2), three per stride in the strides' order.
    """
    total = outputs[0].new_zeros(())
    matched = _assign(targets, anchors)
    for head, (stride, output) in enumerate(zip(STRIDES, outputs, strict=True)):
        n, _, rows, cols = output.shape
        cells = output.float().view(n, ANCHORS_PER_HEAD, CHANNELS, rows, cols).permute(0, 1, 3, 4, 2)
        priors = anchors[head * ANCHORS_PER_HEAD :][:ANCHORS_PER_HEAD]
        wanted = torch.zeros(cells.shape[:4])
        with torch.no_grad():
            ignored = _overlap_any(_boxes(cells, priors, stride), targets) > _IGNORED_IOU
        box, anchor = torch.nonzero(matched[:, head * ANCHORS_PER_HEAD :][:, :ANCHORS_PER_HEAD], as_tuple=True)
        if len(box):
            corners = targets.boxes[box]
            centre = (corners[:, :2] + corners[:, 2:]) / 2 / stride
            col, row = (centre[:, i].long().clamp(0, size - 1) for i, size in ((0, cols), (1, rows)))
            image = targets.image[box]
            wanted[image, anchor, row, col] = 1
            own = cells[image, anchor, row, col]
            predicted = _boxes_at(own, priors[anchor], row, col, stride)
            total = total + _BOX_WEIGHT * (1 - complete_iou(predicted, corners)).sum()
            total = total + functional.binary_cross_entropy_with_logits(
                own[:, 5], torch.ones(len(own)), reduction="sum"
            )
        counted = (wanted > 0) | ~ignored
        silence = functional.binary_cross_entropy_with_logits(cells[..., 4], wanted, reduction="none")
        total = total + (silence * counted).sum()
    return total / len(outputs[0])


def _assign(targets: Targets, anchors: Tensor) -> Tensor:
    """Return bool (boxes, 9): which anchors answer for which box."""
    sizes = (targets.boxes[:, 2:] - targets.boxes[:, :2]).numpy().astype(np.float64)
    if not len(sizes):
        return torch.zeros((0, len(anchors)), dtype=torch.bool)
    fit = shared_corner_iou(sizes, anchors.numpy().astype(np.float64))
    chosen = fit > _SHAPE_FIT
    chosen[np.arange(len(fit)), fit.argmax(axis=1)] = True
    return torch.from_numpy(chosen)


def _boxes_at(t: Tensor, priors: Tensor, row: Tensor, col: Tensor, stride: int) -> Tensor:
    centre = (torch.sigmoid(t[..., :2]) + torch.stack([col, row], dim=-1)) * stride
    half = priors * torch.exp(t[..., 2:4].clamp(-6, 6)) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _boxes(cells: Tensor, priors: Tensor, stride: int) -> Tensor:
    _, _, rows, cols, _ = cells.shape
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    return _boxes_at(cells, priors[:, None, None], row, col, stride)


def _overlap_any(boxes: Tensor, targets: Targets) -> Tensor:
    """Return each predicted box's largest IoU with a box of its image."""
    best = torch.zeros(boxes.shape[:4])
    for corners, image in zip(targets.boxes, targets.image.tolist(), strict=True):
        best[image] = torch.maximum(best[image], _iou(boxes[image], corners)[0])
    return best


def _iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and union."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    overlap = sides.prod(dim=-1)
    union = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1) - overlap
    return overlap / union.clamp(min=1e-6), union


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return CIoU (Zheng et al. 2020, arXiv 1911.08287) of boxes a and b, both (n, 4) corners."""
    iou, _ = _iou(a, b)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(dim=1)
    angle = [torch.atan2(x[:, 2] - x[:, 0], (x[:, 3] - x[:, 1]).clamp(min=1e-6)) for x in (a, b)]
    v = (4 / np.pi**2) * (angle[0] - angle[1]).square()
    with torch.no_grad():
        weight = v / (1 - iou + v).clamp(min=1e-6)
    return iou - apart / hull.square().sum(dim=1).clamp(min=1e-6) - weight * v


def train_detector(
    network: nn.Module,
    examples: Sequence[Example],
    anchors: npt.NDArray[np.float64],
    *,
    seed: int,
    steps: int = NO_LIMIT,
    batch: int = 16,
    peak: float = 2e-3,
    deadline: float = float("inf"),
    report: Report | None = None,
    snapshot: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Train in place and return the running average of the weights; one random scale per batch.

    deadline: ``time.monotonic()`` at which to stop; the rate falls as the sooner of steps and deadline nears.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 7])
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=5e-4)
    average = Average(network)
    tensor_anchors = torch.from_numpy(anchors).float()
    begun = time.monotonic()
    network.train().to(memory_format=torch.channels_last)
    for step, chosen in enumerate(_batches(len(examples), batch, rng)):
        done = max(step / steps, (time.monotonic() - begun) / (deadline - begun))
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = peak * rate(done, step)
        images, targets = _load([examples[i] for i in chosen], int(rng.integers(len(examples[0].inputs))), rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = network(images.contiguous(memory_format=torch.channels_last))
        loss = detection_loss(outputs, targets, tensor_anchors)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        average.update(network, step)
        if report is not None:
            report(step, float(loss.detach()))
        if snapshot is not None and step % 500 == 499:
            snapshot(average.network, step)
    return average.network


def _batches(count: int, batch: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]


def _load(examples: Sequence[Example], scale: int, rng: np.random.Generator) -> tuple[Tensor, Targets]:
    """Stack a batch at one scale, each image mirrored at random and its greys bent a little."""
    images, boxes, whose = [], [], []
    for i, example in enumerate(examples):
        image = example.inputs[scale].astype(np.float32) / 255
        rows, cols = image.shape
        corners = example.boxes * np.array([cols, rows] * 2, np.float32)
        if rng.random() < 0.5:
            image, corners = image[:, ::-1], _mirrored(corners, 0, cols)
        if rng.random() < 0.5:
            image, corners = image[::-1], _mirrored(corners, 1, rows)
        image = np.clip(image * np.float32(rng.uniform(0.92, 1.08)), 0, 1) ** np.float32(rng.uniform(0.85, 1.18))
        images.append(image)
        boxes.append(corners)
        whose.append(np.full(len(corners), i))
    stacked = torch.from_numpy(np.ascontiguousarray(np.stack(images)[:, None]))
    return stacked, Targets(
        torch.from_numpy(np.concatenate(boxes).astype(np.float32)), torch.from_numpy(np.concatenate(whose))
    )


def _mirrored(corners: npt.NDArray[np.float32], axis: int, size: int) -> npt.NDArray[np.float32]:
    out = corners.copy()
    out[:, axis], out[:, axis + 2] = size - corners[:, axis + 2], size - corners[:, axis]
    return out
