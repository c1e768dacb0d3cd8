"""Other libraries' ways on a card, and what torch's share: tensors there, and area weights as matrices."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.ops.peers import Peer, beside

_TORCH = {"torch", "torchvision"}


def beside_on(card: Card, peers: Iterable[Peer], *problem: Any) -> tuple[dict[str, Way], tuple[str, ...]]:
    """Return the ways of the peers that can run on the card, and the names of those that cannot; none on a card alone.

    A peer's ``prepare`` takes the card and then the problem.
    """
    if card.alone:
        return {}, ()
    peers = tuple(peers)
    unfit = [each for each in peers if card.torch_device is None and _TORCH & set(each.needs)]
    ways, left_out = beside([each for each in peers if each not in unfit], card, *problem)
    return ways, (*left_out, *(each.name for each in unfit))


def tensors(card: Card, *arrays: npt.NDArray[Any]) -> tuple[Any, ...]:
    """Return arrays as tensors where torch's ways run."""
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(array)).to(card.torch_device) for array in arrays)


def area_weights(before: int, after: int) -> npt.NDArray[np.float32]:
    """Return the matrix (after, before) that shrinks an axis by exact coverage, as OpenCV's INTER_AREA does."""
    edges = np.arange(after + 1) * (before / after)
    cells = np.arange(before)
    low, high = np.maximum(edges[:-1, None], cells), np.minimum(edges[1:, None], cells + 1)
    return np.asarray(np.clip(high - low, 0, None) * (after / before), np.float32)
