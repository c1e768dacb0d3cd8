"""P4's eq. 1 for a batch of images in one launch: ours on the card beside the way over the host that it spares."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.drawing import SHAPE, overlapping_boxes
from mammofast.profiling.ops.fuse_boxes import SCALES, THRESHOLD
from mammofast.profiling.ops.peers import Peer

Array = npt.NDArray[Any]
Fused = list[ops.FusedBoxes]


def _case(images: int, count: int, card: Card, name: str) -> DeviceContest:
    drawn = [overlapping_boxes(count, SCALES, np.random.default_rng(1000 * count + image)) for image in range(images)]
    boxes = np.stack([corners for corners, _ in drawn]).astype(np.float32)
    scores = np.stack([confidences for _, confidences in drawn])
    counts, shapes = np.full(images, count, np.int32), np.tile(np.array(SHAPE, np.int32), (images, 1))
    on_card = [card.put(each) for each in (boxes, scores, counts)]
    ways, left_out = beside_on(card, PEERS, boxes, scores)
    call = partial(card.forms.fuse_boxes, *on_card, SCALES, card.put(shapes), THRESHOLD, count)
    written = images * (count * (16 + 4 + 4) + 4 + 4)
    return DeviceContest(
        name,
        "what a detector found at five scales, fused where it was found: the segmenter's windows follow on the card",
        [call],
        partial(_read, card),
        Way(partial(_on_cpu, boxes, scores), same),
        bytes_moved=boxes.nbytes + scores.nbytes + counts.nbytes + shapes.nbytes + written,
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images, "boxes": count},
    )


def _read(card: Card, result: tuple[Any, ...]) -> Fused:
    boxes, scores, confidence, counts, status = (card.get(each) for each in result)
    if status.any():
        return []
    return [ops.FusedBoxes(b[:n], s[:n], c[:n]) for b, s, c, n in zip(boxes, scores, confidence, counts, strict=True)]


def _on_cpu(boxes: Array, scores: Array) -> Fused:
    return [ops.fuse_boxes(*image, SCALES, SHAPE, THRESHOLD) for image in zip(boxes, scores, strict=True)]


def same(expected: Fused, found: Fused) -> bool:
    """Whether all boxes, scores and confidences are equal to the bit."""
    return len(expected) == len(found) and all(
        np.array_equal(*pair) for images in zip(expected, found, strict=True) for pair in zip(*images, strict=True)
    )


def over_the_host(card: Card, boxes: Array, scores: Array) -> Way:
    """Copy the boxes to the host, fuse them there with this package's CPU kernel, copy what comes out back."""
    on_card = tensors(card, boxes, scores)

    def call() -> list[Any]:
        fused = _on_cpu(*(each.cpu().numpy() for each in on_card))
        counts = np.array([len(each.boxes) for each in fused])
        return list(tensors(card, *(np.concatenate(each) for each in zip(*fused, strict=True)), counts))

    return Way(call, _same_as_list)


def _same_as_list(ours: Fused, other: list[Any]) -> bool:
    *arrays, counts = (each.cpu().numpy() for each in other)
    split = [np.split(each, np.cumsum(counts)[:-1]) for each in arrays]
    return same(ours, [ops.FusedBoxes(*each) for each in zip(*split, strict=True)])


PEERS = (Peer("to the host, fused there, and back", ("torch",), over_the_host),)
CASES = {
    f"fuse_boxes, {images} images of {count}": partial(_case, images, count)
    for images, count in ((64, 50), (1, 50), (64, 200))
}
SMALL = {"fuse_boxes, 3 images of 25": partial(_case, 3, 25)}
