"""YOLO heads of a batch to boxes above a score: ours in one launch beside torch's elementwise ops."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.methods import yolo
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, sets_beyond_cache
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.peers import Peer

STRIDES = (8, 16, 32)
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
THRESHOLD = 0.25
CAPACITY = 1024
# The card's exp is another than the C library's: a unit in the last place of float32.
_LAST_PLACES = 1
_TORCH = 1e-4  # torch computes in float32
Heads = list[npt.NDArray[np.float32]]
Decoded = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


def _case(images: int, rows: int, cols: int, card: Card, name: str) -> DeviceContest:
    heads = draw_heads(images, rows, cols, np.random.default_rng(images))
    anchors = [(float(width), float(height)) for width, height in ANCHORS]
    ways, left_out = beside_on(card, PEERS, heads)
    kept = sum(len(scores) for _, scores in _on_cpu(heads))
    moved = sum(head.nbytes for head in heads) + kept * 20 + images * 8
    return DeviceContest(
        name,
        "a detector's logits at one scale: all are read, a few boxes come out",
        [
            partial(card.forms.decode, [card.put(head) for head in heads], STRIDES, anchors, THRESHOLD, CAPACITY)
            for _ in range(sets_beyond_cache(card, moved))
        ],
        partial(_read, card),
        Way(partial(_on_cpu, heads), _close),
        bytes_moved=moved,
        equality=f"boxes and scores within {_LAST_PLACES} unit in the last place",
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images, "boxes_kept": kept},
    )


def draw_heads(images: int, rows: int, cols: int, rng: np.random.Generator) -> Heads:
    """Return logits (images, 18, rows / stride, cols / stride), of which about one box in 500 passes."""
    heads = []
    for stride in STRIDES:
        logits = rng.normal(0, 1, (images, 3, yolo.CHANNELS, rows // stride, cols // stride)).astype(np.float32)
        logits[:, :, 4] = 2 * logits[:, :, 4] - 5
        heads.append(logits.reshape(images, -1, rows // stride, cols // stride))
    return heads


def _read(card: Card, result: tuple[Any, ...]) -> Decoded:
    boxes, scores, counts, status = (card.get(each) for each in result)
    return [] if status.any() else [(b[:n], s[:n]) for b, s, n in zip(boxes, scores, counts, strict=True)]


def _on_cpu(heads: Heads) -> Decoded:
    return [yolo.decode(image, STRIDES, ANCHORS, THRESHOLD) for image in zip(*heads, strict=True)]


def _close(expected: Decoded, found: Decoded) -> bool:
    if [len(scores) for _, scores in expected] != [len(scores) for _, scores in found]:
        return False
    places = [
        np.abs(a - b) / np.spacing(np.maximum(np.abs(a), np.float32(1e-3)))
        for images in zip(expected, found, strict=True)
        for a, b in zip(*images, strict=True)
    ]
    return max((float(each.max()) for each in places if each.size), default=0.0) <= _LAST_PLACES


def elementwise(card: Card, heads: Heads) -> Way:
    """Decode all boxes with torch's elementwise ops, in float32, then take those above the threshold."""
    import torch

    on_card = tensors(card, *heads)
    priors = [tensors(card, np.array(ANCHORS[3 * i : 3 * i + 3], np.float32))[0] for i in range(len(STRIDES))]

    def one(head: Any, stride: int, sizes: Any) -> tuple[Any, Any]:
        images, _, rows, cols = head.shape
        t = head.view(images, 3, yolo.CHANNELS, rows, cols)
        y, x = torch.meshgrid(
            torch.arange(rows, device=card.torch_device), torch.arange(cols, device=card.torch_device), indexing="ij"
        )
        centres = torch.stack([(t[:, :, 0].sigmoid() + x) * stride, (t[:, :, 1].sigmoid() + y) * stride], dim=-1)
        half = torch.exp(t[:, :, 2:4].permute(0, 1, 3, 4, 2)) * sizes[:, None, None] / 2
        corners = torch.cat([centres - half, centres + half], dim=-1)
        return corners.flatten(1, 3), (t[:, :, 4].sigmoid() * t[:, :, 5].sigmoid()).flatten(1)

    def call() -> tuple[Any, Any, Any]:
        boxes, scores = zip(*map(one, on_card, STRIDES, priors), strict=True)
        every, confidence = torch.cat(boxes, dim=1), torch.cat(scores, dim=1)
        image, index = torch.nonzero(confidence >= THRESHOLD, as_tuple=True)
        return image, every[image, index], confidence[image, index]

    return Way(call, _nearly)


def _nearly(ours: Decoded, other: tuple[Any, Any, Any]) -> bool:
    image, boxes, scores = (each.cpu().numpy() for each in other)
    if not np.array_equal(image, np.arange(len(ours)).repeat([len(each) for _, each in ours])):
        return False
    pairs = (np.concatenate([each for each, _ in ours]), boxes), (np.concatenate([each for _, each in ours]), scores)
    return all(np.allclose(*pair, rtol=_TORCH, atol=_TORCH) for pair in pairs)


PEERS = (Peer("torch, elementwise", ("torch",), elementwise),)
CASES = {
    f"decode, {images} images of {rows} x {cols}": partial(_case, images, rows, cols)
    for images, rows, cols in ((1, 960, 480), (32, 320, 160), (32, 960, 480))
}
SMALL = {"decode, 2 images of 96 x 64": partial(_case, 2, 96, 64)}
