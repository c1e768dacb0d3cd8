"""A detector's raw outputs of a batch to boxes above a score: ours in one launch beside torch's elementwise ops."""

from functools import partial
from typing import Any

import numpy as np

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, sets_beyond_cache
from mammofast.profiling.ops.decode_yolo import (
    ANCHORS,
    STRIDES,
    THRESHOLD,
    TOLERANCE,
    Decoded,
    Heads,
    draw_heads,
    elementwise,
)
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.peers import Peer

CAPACITY = 1024


def _case(images: int, rows: int, cols: int, card: Card, name: str) -> DeviceContest:
    heads = draw_heads(images, rows, cols, np.random.default_rng(images))
    ways, left_out = beside_on(card, PEERS, heads)
    kept = sum(len(scores) for _, scores in _on_cpu(heads))
    moved = sum(head.nbytes for head in heads) + kept * 20 + images * 8
    return DeviceContest(
        name,
        "a detector's logits at one scale: all are read, a few boxes come out",
        [
            partial(card.forms.decode_yolo, [card.put(head) for head in heads], STRIDES, ANCHORS, THRESHOLD, CAPACITY)
            for _ in range(sets_beyond_cache(card, moved))
        ],
        partial(_read, card),
        Way(partial(_on_cpu, heads), _same),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images, "boxes_kept": kept},
    )


def _read(card: Card, result: tuple[Any, ...]) -> list[Decoded]:
    boxes, scores, counts, status = (card.get(each) for each in result)
    return [] if status.any() else [(b[:n], s[:n]) for b, s, n in zip(boxes, scores, counts, strict=True)]


def _on_cpu(heads: Heads) -> list[Decoded]:
    return [ops.decode_yolo(list(image), STRIDES, ANCHORS, THRESHOLD) for image in zip(*heads, strict=True)]


def _same(expected: list[Decoded], found: list[Decoded]) -> bool:
    return len(expected) == len(found) and all(
        np.array_equal(*pair) for images in zip(expected, found, strict=True) for pair in zip(*images, strict=True)
    )


def by_torch(card: Card, heads: Heads) -> Way:
    """Return torch's elementwise ops on the card."""
    return Way(elementwise(tensors(card, *heads), THRESHOLD), _nearly)


def _nearly(ours: list[Decoded], other: tuple[Any, Any, Any]) -> bool:
    image, boxes, scores = (each.cpu().numpy() for each in other)
    if not np.array_equal(image, np.arange(len(ours)).repeat([len(each) for _, each in ours])):
        return False
    pairs = (np.concatenate([each for each, _ in ours]), boxes), (np.concatenate([each for _, each in ours]), scores)
    return all(np.allclose(*pair, rtol=TOLERANCE, atol=TOLERANCE) for pair in pairs)


PEERS = (Peer("torch, elementwise", ("torch",), by_torch),)
CASES = {
    f"decode_yolo, {images} images of {rows} x {cols}": partial(_case, images, rows, cols)
    for images, rows, cols in ((1, 960, 480), (32, 320, 160), (32, 960, 480))
}
SMALL = {"decode_yolo, 2 images of 96 x 64": partial(_case, 2, 96, 64)}
