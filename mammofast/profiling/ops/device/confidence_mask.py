"""P4's eq. 1 as a picture on the card: ours beside sums over tensors."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.confidence_mask import SCALES, TOLERANCE
from mammofast.profiling.ops.device.peers import beside_on
from mammofast.profiling.ops.drawing import SHAPE, overlapping_boxes
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.sampling import Call

Array = npt.NDArray[Any]


def _case(images: int, count: int, shrink: int, card: Card, name: str) -> DeviceContest:
    rows, cols = (side // shrink for side in SHAPE)
    drawn = [overlapping_boxes(count, SCALES, np.random.default_rng(count + image)) for image in range(images)]
    boxes = np.stack([corners // shrink for corners, _ in drawn]).astype(np.float32)
    scores = np.stack([confidences for _, confidences in drawn])
    counts = np.full(images, count, np.int32)
    moved = boxes.nbytes + scores.nbytes + counts.nbytes + 4 * images * (rows * cols + 1)
    ways, left_out = beside_on(card, PEERS, boxes, scores, (rows, cols))

    def ours() -> Call:
        on_card = map(card.put, (boxes, scores, counts))
        out = room(card, (images, rows, cols), np.float32)
        return partial(card.forms.confidence_mask, *on_card, SCALES, (rows, cols), out=out)

    return DeviceContest(
        name,
        "the picture of a report; fusion itself needs no raster",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read, card),
        Way(partial(_on_cpu, boxes, scores, (rows, cols)), np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images, "boxes": count},
    )


def _read(card: Card, result: tuple[Any, ...]) -> Array:
    masks, status = (card.get(each) for each in result)
    return masks[:0] if status.any() else masks


def _on_cpu(boxes: Array, scores: Array, shape: tuple[int, int]) -> Array:
    return np.stack([ops.confidence_mask(*image, SCALES, shape) for image in zip(boxes, scores, strict=True)])


def slice_sums(card: Card, boxes: Array, scores: Array, shape: tuple[int, int]) -> Way:
    """Sum on the boxes' slices of one canvas: a launch for each box."""
    import torch

    weights = scores / (SCALES * scores.max(axis=1, keepdims=True))
    problem = list(zip(boxes.astype(int).tolist(), weights.tolist(), strict=True))

    def call() -> Any:
        total = torch.zeros((len(problem), *shape), dtype=torch.float32, device=card.torch_device)
        for canvas, (corners, shares) in zip(total, problem, strict=True):
            for (x_min, y_min, x_max, y_max), share in zip(corners, shares, strict=True):
                canvas[y_min:y_max, x_min:x_max] += share
        return total

    return Way(call, lambda ours, total: bool(np.abs(ours - total.cpu().numpy()).max() <= TOLERANCE))


PEERS = (Peer("torch, slice sums", ("torch",), slice_sums),)
CASES = {
    f"confidence_mask, {images} x 4096 x 3328, {count} boxes": partial(_case, images, count, 1)
    for images, count in ((1, 50), (1, 200), (8, 50))
}
SMALL = {"confidence_mask, 2 x 128 x 104, 10 boxes": partial(_case, 2, 10, 32)}
