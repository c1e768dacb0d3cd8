"""Greedy NMS on the card: ours beside torchvision's, or its algorithm rebuilt where it is not installed."""

from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest
from mammofast.profiling.ops.device.bitmask_nms import bitmask_nms
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.nms import REASONS, SIZES, THRESHOLD, Boxes, Scores, draw_boxes
from mammofast.profiling.ops.peers import Peer

# torchvision's IoU is float32: at the threshold a pair may fall on the other side.
_DIFFERENT_PART = 1e-3
Kept = list[npt.NDArray[np.int64]]  # indices by rank, an array for each image
_BATCH_REASON = "a detector's candidates of a batch of images, one call for all"


def _case(field: str, images: int, count: int, card: Card, name: str) -> DeviceContest:
    drawn = [draw_boxes(field, count, np.random.default_rng(count + image)) for image in range(images)]
    boxes, scores = (np.stack(each) for each in zip(*drawn, strict=True))
    counts = np.full(images, count, np.int32)
    on_card = [card.put(each) for each in (boxes, scores, counts)]
    ways, left_out = beside_on(
        card, PEERS if card.torch_device and find_spec("torchvision") else REBUILT, boxes, scores
    )
    return DeviceContest(
        name,
        REASONS[field] if images == 1 else _BATCH_REASON,
        [partial(card.forms.nms, *on_card, THRESHOLD)],
        partial(_read, card),
        Way(partial(_on_cpu, boxes, scores), _same),
        bytes_moved=boxes.nbytes + scores.nbytes + counts.nbytes + images * (4 * count + 8),
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images, "boxes": count},
    )


def _read(card: Card, result: tuple[Any, ...]) -> Kept:
    indices, counts, status = (card.get(each) for each in result)
    return [] if status.any() else [kept[:n].astype(np.int64) for kept, n in zip(indices, counts, strict=True)]


def _on_cpu(boxes: Boxes, scores: Scores) -> Kept:
    return [ops.nms(*image, THRESHOLD) for image in zip(boxes, scores, strict=True)]


def _same(expected: Kept, found: Kept) -> bool:
    return len(expected) == len(found) and all(map(np.array_equal, expected, found))


def _nearly(count: int, ours: Kept, flat: Any) -> bool:
    """Whether flat indices into all images' boxes, on the card, are those that ours kept."""
    found = np.sort(flat.cpu().numpy() if hasattr(flat, "cpu") else flat.get())
    expected = np.sort(np.concatenate([kept + count * image for image, kept in enumerate(ours)]))
    return len(np.setxor1d(expected, found)) <= _DIFFERENT_PART * len(expected)


def by_torchvision(card: Card, boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> Way:
    """Return torchvision's nms, batched_nms for several images."""
    from torchvision.ops import batched_nms, nms

    images, count = scores.shape
    flat = tensors(card, boxes.reshape(-1, 4), scores.reshape(-1))
    if images == 1:
        return Way(partial(nms, *flat, THRESHOLD), partial(_nearly, count))
    (groups,) = tensors(card, np.arange(images).repeat(count))
    return Way(partial(batched_nms, *flat, groups, THRESHOLD), partial(_nearly, count))


def by_bitmask(card: Card, boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> Way:
    """Return the rebuilt algorithm, one image after the other."""
    import cupy

    count = scores.shape[1]
    calls = [bitmask_nms(*image, THRESHOLD) for image in zip(boxes, scores, strict=True)]

    def call() -> Any:
        return cupy.concatenate([one() + count * image for image, one in enumerate(calls)])

    return Way(call, partial(_nearly, count))


PEERS = (Peer("torchvision", ("torchvision",), by_torchvision),)
REBUILT = (Peer("bitmask of 64-box blocks, rebuilt", ("cupy",), by_bitmask),)
CASES = {
    **{
        f"nms, {field}, {count}": partial(_case, field, 1, count)
        for field in ("uniform", "clustered")
        for count in SIZES
    },
    "nms, 64 images of 100": partial(_case, "clustered", 64, 100),
    "nms, 64 images of 1000": partial(_case, "clustered", 64, 1000),
}
SMALL = {
    "nms, 130 boxes": partial(_case, "uniform", 1, 130),
    "nms, 3 images of 70": partial(_case, "clustered", 3, 70),
}
