"""RoI Align on the card: ours beside torchvision's."""

from functools import partial
from typing import Any

import numpy as np

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.ops.roi_align import CHANNELS, COLS, GRID, ROWS, SCALE, TOLERANCE, Array, draw_boxes
from mammofast.profiling.sampling import Call

RATIO = 2


def _case(images: int, count: int, channels: int, card: Card, name: str) -> DeviceContest:
    rng = np.random.default_rng(count)
    features = rng.standard_normal((images, channels, ROWS, COLS), dtype=np.float32)
    boxes = draw_boxes(images * count, rng)
    index = np.arange(images, dtype=np.int64).repeat(count)
    ways, left_out = beside_on(card, PEERS, features, boxes, index)
    written = 4 * images * (count * channels * GRID[0] * GRID[1] + 1)
    moved = features.nbytes + boxes.nbytes + index.nbytes + written

    def ours() -> Call:
        on_card = card.put(features), card.put(boxes), card.put(index)
        out = room(card, (len(boxes), channels, *GRID), np.float32), room(card, (images,), np.int32)
        return partial(card.forms.roi_align, *on_card, GRID, SCALE, RATIO, out=out)

    return DeviceContest(
        name,
        f"{channels} channels of {ROWS} x {COLS}, {GRID[0]} x {GRID[1]} bins: Faster R-CNN C4",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read, card),
        Way(partial(ops.roi_align, features, boxes, index, GRID, SCALE, RATIO), np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=images * count,
        unit="boxes",
        facts={"images": images, "boxes": count},
    )


def _read(card: Card, result: tuple[Any, ...]) -> Array:
    aligned, status = (card.get(each) for each in result)
    return aligned[:0] if status.any() else aligned


def by_torchvision(card: Card, features: Array, boxes: Array, index: Array) -> Way:
    """Return torchvision's roi_align, aligned."""
    from torchvision.ops import roi_align

    rois = np.concatenate([index[:, None].astype(np.float32), boxes], axis=1)
    on_card = tensors(card, features, rois)
    largest = float(np.abs(features).max())
    return Way(
        partial(roi_align, *on_card, GRID, SCALE, RATIO, aligned=True),
        lambda ours, other: bool(np.abs(ours - other.cpu().numpy()).max() <= TOLERANCE * largest),
    )


PEERS = (Peer("torchvision", ("torchvision",), by_torchvision),)
CASES = {
    f"roi_align, {images} x {count} boxes": partial(_case, images, count, CHANNELS)
    for images, count in ((1, 30), (1, 300), (4, 300))
}
SMALL = {"roi_align, 2 x 5 boxes": partial(_case, 2, 5, 3)}
