"""What Faster R-CNN learns from an image (Ren et al. 2015, arXiv 1506.01497): anchors and proposals held to the boxes.

Numbers are the paper's for proposals and those of its first implementations for the second stage.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mammofast.methods.faster_rcnn import Anchors, encode

Boxes = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

POSITIVE, NEGATIVE, NEITHER = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is learned from, of so many boxes that overlap a mass or do not.

    positive_iou, negative_iou: of an anchor with a mass, from which it is one and below which it is background; what
    lies between is neither. anchors: sampled of an image. anchor_positives: their part that are masses, at most.
    proposal_iou: from which a proposal is a mass. proposals, proposal_positives: as for anchors.
    """

    positive_iou: float = 0.7
    negative_iou: float = 0.3
    anchors: int = 256
    anchor_positives: float = 0.5
    proposal_iou: float = 0.5
    proposals: int = 128
    proposal_positives: float = 0.25


def assign_anchors(anchors: Boxes, boxes: Boxes, shape: tuple[int, int], sampling: Sampling) -> tuple[Labels, Labels]:
    """Say what each anchor is.

    An anchor is a mass from ``positive_iou``, and where no other overlaps a mass better; background below
    ``negative_iou`` of all masses; neither otherwise, and neither where it leaves the image.

    Parameters
    ----------
    anchors, boxes: (n, 4) and (m, 4). shape: (rows, cols) of the image.

    Returns
    -------
    labels: (n,) POSITIVE, NEGATIVE or NEITHER. matched: (n,) the box that each overlaps most, 0 where there is none.

    """
    rows, cols = shape
    inside = (anchors >= 0).all(axis=1) & (anchors[:, 2] <= cols) & (anchors[:, 3] <= rows)
    labels = np.full(len(anchors), NEITHER)
    matched = np.zeros(len(anchors), np.int64)
    if not len(boxes):
        labels[inside] = NEGATIVE
        return labels, matched
    iou = overlaps(anchors, boxes)
    matched, best = iou.argmax(axis=1), iou.max(axis=1)
    labels[inside & (best < sampling.negative_iou)] = NEGATIVE
    labels[inside & (best >= sampling.positive_iou)] = POSITIVE
    reachable = np.where(inside[:, None], iou, 0)
    closest = reachable.max(axis=0)
    nearest, whose = np.nonzero((reachable == closest) & (closest > 0))
    labels[nearest] = POSITIVE
    matched[nearest] = whose
    return labels, matched


def assign_proposals(proposals: Boxes, boxes: Boxes, sampling: Sampling) -> tuple[Labels, Labels]:
    """Say what each proposal is: a mass from ``proposal_iou``, background below; see :func:`assign_anchors`."""
    if not len(boxes):
        return np.full(len(proposals), NEGATIVE), np.zeros(len(proposals), np.int64)
    iou = overlaps(proposals, boxes)
    return np.where(iou.max(axis=1) >= sampling.proposal_iou, POSITIVE, NEGATIVE), iou.argmax(axis=1)


def sample(labels: Labels, count: int, positives: float, rng: np.random.Generator) -> Labels:
    """Return the indices of at most ``count`` that are learned from; background takes the room that masses leave."""
    masses, rest = np.flatnonzero(labels == POSITIVE), np.flatnonzero(labels == NEGATIVE)
    masses = rng.permutation(masses)[: int(count * positives)]
    return np.sort(np.concatenate([masses, rng.permutation(rest)[: count - len(masses)]]))


def overlaps(a: Boxes, b: Boxes) -> Boxes:
    """Return the IoU (n, m) of boxes (n, 4) and (m, 4)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (high - low).clip(min=0).prod(axis=2)
    areas = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0))


def proposal_loss(
    objectness: Tensor, deltas: Tensor, anchors: Anchors, boxes: Boxes, shape: tuple[int, int], sampling: Sampling,
    rng: np.random.Generator,
) -> Tensor:  # fmt: skip
    """Return the region proposal network's loss on one image: cross-entropy, and smooth L1 of the masses' anchors.

    objectness: (2A, h, w). deltas: (4A, h, w). boxes: the masses'.
    """
    count = anchors.count
    rows, cols = objectness.shape[1:]
    places = anchors.at(rows, cols)
    labels, matched = assign_anchors(places, boxes, shape, sampling)
    chosen = sample(labels, sampling.anchors, sampling.anchor_positives, rng)
    logits = objectness.float().view(2, count, -1).permute(2, 1, 0).reshape(-1, 2)
    shifts = deltas.float().view(count, 4, -1).permute(2, 0, 1).reshape(-1, 4)
    return _loss(logits, shifts, labels, places, boxes, matched, chosen, (1.0,) * 4, beta=1 / 9)


def head_loss(
    logits: Tensor, deltas: Tensor, labels: Labels, proposals: Boxes, boxes: Boxes, matched: Labels,
    box_std: tuple[float, float, float, float],
) -> Tensor:  # fmt: skip
    """Return the second stage's loss on the proposals of one image that were sampled.

    logits: (k, 2), background first. deltas: (k, 8), four for each class. The others: of the same proposals.
    """
    return _loss(
        logits.float(), deltas.float()[:, 4:], labels, proposals, boxes, matched, np.arange(len(labels)), box_std
    )


def _loss(
    logits: Tensor, deltas: Tensor, labels: Labels, starts: Boxes, boxes: Boxes, matched: Labels, chosen: Labels,
    std: tuple[float, ...], beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Return cross-entropy and smooth L1, both over the number of boxes sampled."""
    if not len(chosen):
        return logits.sum() * 0 + deltas.sum() * 0
    kinds = torch.from_numpy(labels[chosen]).to(logits.device)
    index = torch.from_numpy(chosen).to(logits.device)
    total = functional.cross_entropy(logits[index], kinds)
    masses = chosen[labels[chosen] == POSITIVE]
    if len(masses):
        wanted = torch.from_numpy(encode(starts[masses], boxes[matched[masses]], std)).float().to(deltas.device)
        found = deltas[torch.from_numpy(masses).to(deltas.device)]
        total = total + functional.smooth_l1_loss(found, wanted, reduction="sum", beta=beta) / len(chosen)
    return total
