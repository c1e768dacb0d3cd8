"""A batch of level pixels at a detector's five scales in half precision: ours in one walk beside torch's ways."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.detection_inputs import HIGH, LOW, SCALES
from mammofast.profiling.ops.device.peers import area_weights, beside_on, tensors
from mammofast.profiling.ops.drawing import mammogram
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.sampling import Call

Pixels = list[npt.NDArray[np.uint16]]
Inputs = list[npt.NDArray[np.float16]]
Shapes = tuple[tuple[int, int], ...]
_DRAWN = 4  # different images; a batch repeats them
_HALF = 1e-3  # two units in the last place of half precision below 1
# torch's area windows end at whole pixels: another function, here only for what it costs.
_OTHER_WEIGHTS = 0.02


def _case(images: int, shape: tuple[int, int], shapes: Shapes, card: Card, name: str) -> DeviceContest:
    rng = np.random.default_rng(images)
    drawn = [mammogram(rng, shape) for _ in range(min(images, _DRAWN))]
    pixels = [drawn[image % _DRAWN] for image in range(images)]
    windows = np.tile([LOW, HIGH], (images, 1))
    written = 2 * images * sum(rows * cols for rows, cols in shapes) + 4 * images
    moved = sum(each.nbytes for each in pixels) + windows.nbytes + written
    ways, left_out = beside_on(card, PEERS, pixels, shapes)

    def ours() -> Call:
        inputs = [room(card, (images, 1, *each), np.float16) for each in shapes]
        on_card = [card.put(each) for each in pixels], [None] * images, card.put(windows)
        out = (*inputs, room(card, (images,), np.int32))
        return partial(card.forms.detection_inputs, *on_card, shapes, dtype=np.float16, out=out)

    return DeviceContest(
        name,
        "what stands between the archive and the detector: 16-bit pixels in, its inputs at all scales out",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read, card),
        Way(partial(_on_cpu, drawn, images, shapes), _same),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images},
    )


def _read(card: Card, result: tuple[list[Any], Any]) -> Inputs:
    inputs, status = result
    return [] if card.get(status).any() else [card.get(each) for each in inputs]


def _on_cpu(drawn: Pixels, images: int, shapes: Shapes) -> Inputs:
    made = [ops.detection_inputs(each, None, LOW, HIGH, shapes) for each in drawn]
    return [
        np.stack([made[image % _DRAWN][scale][None].astype(np.float16) for image in range(images)])
        for scale in range(len(shapes))
    ]


def _same(expected: Inputs, found: Inputs) -> bool:
    return len(expected) == len(found) and all(map(np.array_equal, expected, found))


def _grey(pixels: Any) -> Any:
    return ((pixels.float() - LOW) / (HIGH - LOW)).clamp(0, 1)


def _stacked(card: Card, pixels: Pixels) -> Any:
    # 12 bits: torch counts with few ops on unsigned words.
    return tensors(card, np.stack(pixels).astype(np.int16)[:, None])[0]


def matrix_products(card: Card, pixels: Pixels, shapes: Shapes) -> Way:
    """Map to 0..1 once, then two matrix products of area weights for each scale, in float32."""
    stack = _stacked(card, pixels)
    rows, cols = pixels[0].shape
    down = [tensors(card, area_weights(rows, each[0]), area_weights(cols, each[1]).T) for each in shapes]

    def call() -> list[Any]:
        grey = _grey(stack)
        return [(left @ grey @ right).half() for left, right in down]

    return Way(call, partial(_within, _HALF, np.max))


def interpolate(card: Card, pixels: Pixels, shapes: Shapes) -> Way:
    """Map to 0..1 once, then torch's interpolate in its mode "area" for each scale."""
    from torch.nn import functional

    stack = _stacked(card, pixels)

    def call() -> list[Any]:
        grey = _grey(stack)
        return [functional.interpolate(grey, size=each, mode="area").half() for each in shapes]

    return Way(call, partial(_within, _OTHER_WEIGHTS, np.mean))


def _within(most: float, summed: Any, ours: Inputs, other: list[Any]) -> bool:
    pairs = zip(ours, other, strict=True) if len(ours) == len(other) else ()
    differences = [summed(np.abs(a.astype(np.float32) - b.float().cpu().numpy())) for a, b in pairs]
    return bool(differences) and max(differences) <= most


PEERS = (
    Peer("torch, matrix products of area weights", ("torch",), matrix_products),
    Peer("torch interpolate, area (other weights)", ("torch",), interpolate),
)
CASES = {
    f"detection_inputs, {images} x 2048 x 1664": partial(_case, images, (2048, 1664), SCALES) for images in (1, 8, 32)
}
SMALL = {"detection_inputs, 5 x 128 x 104": partial(_case, 5, (128, 104), ((20, 10), (60, 30)))}
