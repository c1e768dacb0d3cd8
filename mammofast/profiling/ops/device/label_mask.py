"""Connected components of native-resolution masks on the card: ours beside CuPy's."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.device.peers import beside_on
from mammofast.profiling.ops.label_mask import REASONS, canonical, draw_mask
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.sampling import Call

Mask = npt.NDArray[np.bool_]


def _case(kind: str, step: int, card: Card, name: str) -> DeviceContest:
    mask = np.ascontiguousarray(draw_mask(kind, np.random.default_rng(3))[::step, ::step])
    expected = ops.label_mask(mask)
    ways, left_out = beside_on(card, PEERS, mask)
    found = (*expected, np.zeros(1, np.int32), np.zeros(1, np.int32))  # and a count and a status
    moved = mask.nbytes + sum(each.nbytes for each in found)
    capacity = len(expected.areas)

    def ours() -> Call:
        out = tuple(room(card, each.shape if each.shape == (1,) else (1, *each.shape), each.dtype) for each in found)
        return partial(card.forms.label_mask, card.put(mask[None]), capacity, out=out)

    return DeviceContest(
        name,
        REASONS[kind],
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read, card),
        Way(lambda: expected, same),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        facts={"components": len(expected.areas), "pixels_set": int(mask.sum())},
    )


def _read(card: Card, result: tuple[Any, ...]) -> ops.LabelledMask:
    labels, boxes, areas, counts, status = (card.get(each)[0] for each in result)
    counts = 0 if status else counts
    return ops.LabelledMask(labels, boxes[:counts], areas[:counts])


def same(expected: ops.LabelledMask, found: ops.LabelledMask) -> bool:
    """Whether labels, boxes and areas are equal."""
    pairs = (expected.labels, found.labels), (expected.boxes, found.boxes), (expected.areas, found.areas)
    return all(np.array_equal(*pair) for pair in pairs)


def by_cupy(card: Card, mask: Mask) -> Way:
    """Return cupyx.scipy.ndimage.label, which gives labels alone, and areas by bincount."""
    import cupy
    from cupyx.scipy import ndimage

    on_card, corners = cupy.asarray(mask), cupy.ones((3, 3), dtype=np.int32)

    def call() -> tuple[Any, Any]:
        labels, _ = ndimage.label(on_card, corners)
        return labels, cupy.bincount(labels.ravel())[1:]

    return Way(call, _same_labels)


def _same_labels(ours: ops.LabelledMask, found: tuple[Any, Any]) -> bool:
    labels, areas = (each.get() for each in found)
    kinds = np.unique(labels)
    if not np.array_equal(kinds[kinds > 0], np.arange(1, len(areas) + 1)):
        return False
    labels, _, areas = canonical((labels, np.zeros((len(areas), 4), np.int64), areas))
    return np.array_equal(labels, ours.labels) and np.array_equal(areas, ours.areas)


PEERS = (Peer("CuPy label, bincount (no boxes)", ("cupy", "cupyx"), by_cupy),)
CASES = {f"label_mask, {kind}": partial(_case, kind, 1) for kind in REASONS}
SMALL = {f"label_mask, {kind}, every 32nd pixel": partial(_case, kind, 32) for kind in ("half", "noise")}
