"""What is told of the components of native-resolution masks on the card: probabilities summed, bits taken."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.label_mask import REASONS, draw_mask
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.sampling import Call

_ONE = 2**30  # of the sums
_MOST_TAKEN = 1024  # a pipeline's room for findings of one image
Labels = npt.NDArray[np.int32]
Sums = npt.NDArray[np.int64]


def _labelled(kind: str, step: int) -> ops.LabelledMask:
    return ops.label_mask(np.ascontiguousarray(draw_mask(kind, np.random.default_rng(3))[::step, ::step]))


def _sums(kind: str, step: int, card: Card, name: str) -> DeviceContest:
    labels, _, areas = _labelled(kind, step)
    rows, cols = labels.shape
    values = np.random.default_rng(4).random((-(-rows // 4), -(-cols // 4)), dtype=np.float32)
    region = (0, 0, cols, rows)
    moved = labels.nbytes + values.nbytes + 8 * len(areas)
    ways, left_out = beside_on(card, SUM_PEERS, labels, values, len(areas))

    def ours() -> Call:
        out = room(card, (len(areas),), np.int64)
        return partial(card.forms.component_sums, card.put(labels), card.put(values), region, len(areas), out=out)

    return DeviceContest(
        name,
        f"how probable each component is, of a map of a quarter of the rows and columns; {REASONS[kind]}",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        card.get,
        Way(partial(_sums_on_cpu, labels, values, len(areas)), np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        facts={"components": len(areas)},
    )


def _places(length: int, size: int) -> npt.NDArray[np.int64]:
    """Return which of a map's ``size`` pixels each of ``length`` pixels' centres lies in."""
    return (2 * np.arange(length, dtype=np.int64) + 1) * size // (2 * length)


def _sums_on_cpu(labels: Labels, values: npt.NDArray[np.float32], count: int) -> Sums:
    units = np.floor(values.astype(np.float64) * _ONE + 0.5).astype(np.int64)
    sums = np.zeros(count + 1, np.int64)
    places = np.ix_(*(_places(*each) for each in zip(labels.shape, values.shape, strict=True)))
    np.add.at(sums, labels.ravel(), units[places].ravel())
    return sums[1:]


def index_add(card: Card, labels: Labels, values: npt.NDArray[np.float32], count: int) -> Way:
    """Stretch the map, then add by index; integers, so that the order of adding does not show."""
    import torch

    rows, cols = (_places(*each) for each in zip(labels.shape, values.shape, strict=True))
    numbers, on_card, y, x = tensors(card, labels.astype(np.int64), values, rows, cols)

    def call() -> Any:
        units = torch.floor(on_card.double() * _ONE + 0.5).long()[y][:, x]
        sums = torch.zeros(count + 1, dtype=torch.int64, device=units.device)
        return sums.index_add_(0, numbers.flatten(), units.flatten())[1:]

    return Way(call, lambda ours, found: np.array_equal(ours, found.cpu().numpy()))


def _bits(kind: str, step: int, card: Card, name: str) -> DeviceContest:
    found = _labelled(kind, step)
    numbers = np.argsort(-found.areas, kind="stable")[:_MOST_TAKEN].astype(np.int32)
    boxes = np.ascontiguousarray(found.boxes[numbers], np.int32)
    expected = _bits_on_cpu(found.labels, numbers, boxes)
    inside = 4 * int(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
    moved = inside + expected.nbytes + numbers.nbytes + boxes.nbytes
    ways, left_out = beside_on(card, BIT_PEERS, found.labels, numbers, boxes)

    def ours() -> Call:
        out = room(card, expected.shape, np.uint8)
        return partial(card.forms.component_bits, card.put(found.labels), numbers, boxes, out=out)

    return DeviceContest(
        name,
        f"the masks that a pipeline downloads, of the {_MOST_TAKEN} largest components at most; {REASONS[kind]}",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        lambda result: card.get(result[0]),
        Way(lambda: expected, np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        facts={"components": len(numbers)},
    )


def _bits_on_cpu(labels: Labels, numbers: Labels, boxes: Labels) -> npt.NDArray[np.uint8]:
    masks = [labels[y0:y1, x0:x1] == n + 1 for n, (x0, y0, x1, y1) in zip(numbers, boxes, strict=True)]
    return np.concatenate([np.packbits(mask, axis=1).ravel() for mask in masks])


def slices(card: Card, labels: Labels, numbers: Labels, boxes: Labels) -> Way:
    """Compare slice by slice: a byte a pixel, as torch packs no bits."""
    (on_card,) = tensors(card, labels)

    def call() -> list[Any]:
        return [on_card[y0:y1, x0:x1] == n + 1 for n, (x0, y0, x1, y1) in zip(numbers, boxes, strict=True)]

    return Way(call, _same_bits)


def _same_bits(ours: npt.NDArray[np.uint8], found: list[Any]) -> bool:
    packed = [np.packbits(mask.cpu().numpy(), axis=1).ravel() for mask in found]
    return np.array_equal(ours, np.concatenate(packed))


SUM_PEERS = (Peer("torch index_add", ("torch",), index_add),)
BIT_PEERS = (Peer("torch, slice by slice, bytes", ("torch",), slices),)
PEERS = SUM_PEERS + BIT_PEERS
CASES = {
    **{f"components, sums, {kind}": partial(_sums, kind, 1) for kind in REASONS},
    **{f"components, bits, {kind}": partial(_bits, kind, 1) for kind in REASONS},
}
SMALL = {
    "components, sums, half, every 32nd pixel": partial(_sums, "half", 32),
    "components, bits, half, every 32nd pixel": partial(_bits, "half", 32),
}
