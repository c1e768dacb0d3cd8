"""Candidates of many images as one segmenter's batch: ours on the card beside torch's ops."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.device.peers import area_weights, beside_on, tensors
from mammofast.profiling.ops.drawing import mammogram
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.ops.segmentation_inputs import DIFFERENT_PART, HIGH, LOW
from mammofast.profiling.sampling import Call

Crops = list[npt.NDArray[np.uint16]]
Batch = npt.NDArray[np.float16]
_OF_AN_IMAGE = 8  # candidates
_LEVELS = 256


def _case(count: int, sides: tuple[int, int], shape: tuple[int, int], card: Card, name: str) -> DeviceContest:
    rng = np.random.default_rng(count)
    pixels = mammogram(rng, (16 * (sides[1] // 8), 16 * (sides[1] // 8)))
    sizes = rng.integers(*sides, (count, 2))
    corners = rng.integers(0, np.array(pixels.shape) - sizes)
    crops = [pixels[y : y + h, x : x + w].copy() for (y, x), (h, w) in zip(corners, sizes, strict=True)]
    image_of = (np.arange(count) // _OF_AN_IMAGE).tolist()
    windows = np.tile([LOW, HIGH], (image_of[-1] + 1, 1))
    moved = sum(each.nbytes for each in crops) + windows.nbytes + count * (2 * shape[0] * shape[1] + 4)
    ways, left_out = beside_on(card, PEERS, crops, shape)

    def ours() -> Call:
        on_card = [card.put(each) for each in crops], [None] * count, card.put(windows)
        out = room(card, (count, 1, *shape), np.float16), room(card, (count,), np.int32)
        return partial(card.forms.segmentation_inputs, *on_card, image_of, shape, dtype=np.float16, out=out)

    return DeviceContest(
        name,
        f"the candidates of several images, {sides[0]} to {sides[1]} pixels wide, stretched and equalized",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read, card),
        Way(partial(_on_cpu, crops, shape), np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=count,
        unit="windows",
        facts={"images": len(windows)},
    )


def _read(card: Card, result: tuple[Any, Any]) -> Batch:
    inputs, status = (card.get(each) for each in result)
    return inputs[:0] if status.any() else inputs


def _on_cpu(crops: Crops, shape: tuple[int, int]) -> Batch:
    count = len(crops)
    batch = ops.segmentation_inputs(crops, [None] * count, [LOW] * count, [HIGH] * count, shape)
    return batch.astype(np.float16)


def matrix_products(card: Card, crops: Crops, shape: tuple[int, int]) -> Way:
    """Map to 0..1 and shrink by two matrix products, crop by crop; equalize all histograms at once."""
    import torch

    # 12 bits: torch counts with few ops on unsigned words.
    on_card = [tensors(card, crop.astype(np.int16))[0] for crop in crops]
    down = [tensors(card, area_weights(len(c), shape[0]), area_weights(c.shape[1], shape[1]).T) for c in crops]
    ones = torch.ones((len(crops), shape[0] * shape[1]), device=card.torch_device)

    def call() -> Any:
        grey = [((crop.float() - LOW) / (HIGH - LOW)).clamp(0, 1) for crop in on_card]
        small = torch.stack([left @ each @ right for each, (left, right) in zip(grey, down, strict=True)])
        levels = (255 * small + 0.5).floor().long().flatten(1)
        histogram = torch.zeros((len(crops), _LEVELS), device=card.torch_device).scatter_add_(1, levels, ones)
        first = (histogram > 0).float().argmax(dim=1, keepdim=True)
        lowest = histogram.gather(1, first)
        scale = 255 / (ones.shape[1] - lowest)
        table = ((histogram.cumsum(1) - lowest) * scale).round().clamp(0, 255)
        return (table.gather(1, levels) / 255).view(len(crops), 1, *shape).half()

    return Way(call, _nearly)


def _nearly(ours: Batch, other: Any) -> bool:
    found = other.float().cpu().numpy()
    if ours.shape != found.shape:
        return False
    # A grey level that lies between two of 256 may fall on either side; equalizing then moves that pixel.
    return bool(np.count_nonzero(np.abs(ours.astype(np.float32) - found) > 1e-3) <= DIFFERENT_PART * ours.size)


PEERS = (Peer("torch, matrix products, scatter_add", ("torch",), matrix_products),)
CASES = {
    f"segmentation_inputs, {count} windows to 256 x 256": partial(_case, count, (300, 900), (256, 256))
    for count in (8, 64, 256)
}
SMALL = {"segmentation_inputs, 9 windows to 32 x 24": partial(_case, 9, (40, 90), (32, 24))}
