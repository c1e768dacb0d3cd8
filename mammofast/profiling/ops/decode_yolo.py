"""A detector's raw outputs decoded to boxes above a score: ours in one pass beside torch's elementwise ops."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest
from mammofast.profiling.ops.peers import beside, peer

STRIDES = (8, 16, 32)
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
SHAPE = (832, 416)
THRESHOLD, LOW_THRESHOLD = 0.25, 0.005
TOLERANCE = 1e-4  # torch computes in float32
_CHANNELS = 6
Heads = list[npt.NDArray[np.float32]]
Decoded = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # boxes, scores


def _case(threshold: float, name: str) -> Contest:
    heads = draw_heads(1, *SHAPE, np.random.default_rng(0))
    ways, left_out = beside(PEERS, heads, threshold)
    ours = partial(ops.decode_yolo, [head[0] for head in heads], STRIDES, ANCHORS, threshold)
    smallest = [np.zeros((3 * _CHANNELS, 32 // stride, 32 // stride), np.float32) for stride in STRIDES]
    return Contest(
        name,
        "one image at one of a detector's scales: all logits are read, few boxes come out, or two in five",
        ours,
        ways,
        smallest=partial(ops.decode_yolo, smallest, STRIDES, ANCHORS, 1.0),
        left_out=left_out,
        facts={"boxes_kept": len(ours()[1])},
    )


def draw_heads(images: int, rows: int, cols: int, rng: np.random.Generator) -> Heads:
    """Return logits (images, 18, rows / stride, cols / stride), of which a few boxes in a thousand pass."""
    heads = []
    for stride in STRIDES:
        logits = rng.normal(0, 1, (images, 3, _CHANNELS, rows // stride, cols // stride)).astype(np.float32)
        logits[:, :, 4] = 2 * logits[:, :, 4] - 5
        heads.append(logits.reshape(images, -1, rows // stride, cols // stride))
    return heads


def elementwise(heads: Sequence[Any], threshold: float) -> Callable[[], tuple[Any, Any, Any]]:
    """Return a call that decodes all boxes of torch's heads with its elementwise ops, and takes those that pass.

    It gives the image, the corners and the score of each.
    """
    import torch

    place = heads[0].device
    priors = torch.tensor(ANCHORS, dtype=torch.float32, device=place).split(3)

    def one(head: Any, stride: int, sizes: Any) -> tuple[Any, Any]:
        images, _, rows, cols = head.shape
        t = head.view(images, 3, _CHANNELS, rows, cols)
        y, x = torch.meshgrid(torch.arange(rows, device=place), torch.arange(cols, device=place), indexing="ij")
        centres = torch.stack([(t[:, :, 0].sigmoid() + x) * stride, (t[:, :, 1].sigmoid() + y) * stride], dim=-1)
        half = torch.exp(t[:, :, 2:4].permute(0, 1, 3, 4, 2)) * sizes[:, None, None] / 2
        corners = torch.cat([centres - half, centres + half], dim=-1)
        return corners.flatten(1, 3), (t[:, :, 4].sigmoid() * t[:, :, 5].sigmoid()).flatten(1)

    def call() -> tuple[Any, Any, Any]:
        boxes, scores = zip(*map(one, heads, STRIDES, priors), strict=True)
        every, confidence = torch.cat(boxes, dim=1), torch.cat(scores, dim=1)
        image, index = torch.nonzero(confidence >= threshold, as_tuple=True)
        return image, every[image, index], confidence[image, index]

    return call


def by_torch(heads: Heads, threshold: float) -> Decoded:
    """Decode one image."""
    import torch

    _, boxes, scores = elementwise([torch.from_numpy(head) for head in heads], threshold)()
    return boxes.numpy(), scores.numpy()


def _close(ours: Decoded, other: Decoded) -> bool:
    return all(a.shape == b.shape and np.allclose(a, b, TOLERANCE, TOLERANCE) for a, b in zip(ours, other, strict=True))


PEERS = (peer("torch, elementwise", ("torch",), by_torch, _close),)
CASES = {
    "decode_yolo, 832 x 416, few boxes": partial(_case, THRESHOLD),
    "decode_yolo, 832 x 416, many boxes": partial(_case, LOW_THRESHOLD),
}
