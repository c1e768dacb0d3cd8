"""What five scales found and kept of a batch put into one list an image: ours beside torch's gather and concatenate."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mammofast.ops.device import DecodedBatch, KeptBatch
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.peers import Peer

SCALES = 5


class _Scale(NamedTuple):
    """boxes: float32 (n, capacity, 4); scores: float32 and indices: int32 (n, capacity); counts: int32 (n,)."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]


Collected = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int32]]]  # of each image


def _drawn(images: int, capacity: int) -> list[_Scale]:
    rng = np.random.default_rng(images)
    drawn = []
    for _ in range(SCALES):
        counts = rng.integers(0, capacity // 2, images).astype(np.int32)
        indices = np.stack([rng.permutation(capacity) for _ in range(images)]).astype(np.int32)
        indices[np.arange(capacity) >= counts[:, None]] = -1
        shape = (images, capacity)
        drawn.append(_Scale(rng.random((*shape, 4), np.float32), rng.random(shape, np.float32), indices, counts))
    return drawn


def _case(images: int, capacity: int, card: Card, name: str) -> DeviceContest:
    drawn = _drawn(images, capacity)
    kept = sum(int(scale.counts.sum()) for scale in drawn)
    together = SCALES * capacity
    zeros = card.put(np.zeros(images, np.int32))
    full = card.put(np.full(images, capacity, np.int32))
    parts = [
        (
            DecodedBatch(card.put(scale.boxes), card.put(scale.scores), full, zeros),
            KeptBatch(card.put(scale.indices), card.put(scale.counts), zeros),
        )
        for scale in drawn
    ]
    shapes = (((together, 4), np.float32), ((together,), np.float32), ((together,), np.int32), ((), np.int32))
    out = tuple(room(card, (images, *shape), dtype) for shape, dtype in (*shapes, shapes[-1]))
    ways, left_out = beside_on(card, PEERS, drawn)
    return DeviceContest(
        name,
        "what stands between the detector's suppression and eq. 1: boxes of all scales, without a look from the host",
        [partial(card.forms.collect_boxes, parts, together, out=out)],
        partial(_read, card),
        Way(partial(_on_cpu, drawn), _same),
        # Of each box that is kept its index, itself and its score; of each place its box, score and part; the rest.
        bytes_moved=kept * (4 + 20) + images * together * 24 + images * (SCALES * (4 + 8) + 8),
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images, "boxes_kept": kept},
    )


def _read(card: Card, result: tuple[Any, ...]) -> Collected:
    boxes, scores, parts, counts, status = (card.get(each) for each in result)
    if status.any():
        return []
    return [(boxes[i, :n], scores[i, :n], parts[i, :n]) for i, n in enumerate(counts)]


def _on_cpu(drawn: list[_Scale]) -> Collected:
    found = []
    for image in range(len(drawn[0].counts)):
        kept = [scale.indices[image, : scale.counts[image]] for scale in drawn]
        found.append(
            (
                np.concatenate([scale.boxes[image, each] for scale, each in zip(drawn, kept, strict=True)]),
                np.concatenate([scale.scores[image, each] for scale, each in zip(drawn, kept, strict=True)]),
                np.repeat(np.arange(len(kept), dtype=np.int32), [len(each) for each in kept]),
            )
        )
    return found


def _same(expected: Collected, found: Collected) -> bool:
    return len(expected) == len(found) and all(
        all(map(np.array_equal, one, other)) for one, other in zip(expected, found, strict=True)
    )


def gather(card: Card, drawn: list[_Scale]) -> Way:
    """Index and concatenate image by image; how many boxes each has, the host knows already."""
    import torch

    on_card = [tensors(card, scale.boxes, scale.scores, scale.indices.astype(np.int64)) for scale in drawn]
    counts = [scale.counts.tolist() for scale in drawn]

    def one(image: int) -> tuple[Any, Any, Any]:
        kept = [scale[2][image, : n[image]] for scale, n in zip(on_card, counts, strict=True)]
        boxes = torch.cat([scale[0][image, each] for scale, each in zip(on_card, kept, strict=True)])
        scores = torch.cat([scale[1][image, each] for scale, each in zip(on_card, kept, strict=True)])
        parts = torch.cat([torch.full_like(each, part, dtype=torch.int32) for part, each in enumerate(kept)])
        return boxes, scores, parts

    return Way(lambda: [one(image) for image in range(len(counts[0]))], _same_tensors)


def _same_tensors(ours: Collected, found: list[tuple[Any, ...]]) -> bool:
    return _same(ours, [tuple(each.cpu().numpy() for each in image) for image in found])


PEERS = (Peer("torch index, concatenate", ("torch",), gather),)
CASES = {
    "collect_boxes, 8 images of 5 x 1000": partial(_case, 8, 1000),
    "collect_boxes, 64 images of 5 x 1000": partial(_case, 64, 1000),
}
SMALL = {"collect_boxes, 3 images of 5 x 40": partial(_case, 3, 40)}
