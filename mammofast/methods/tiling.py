"""Tiles laid so that what they give, put together, is what the network gives for the whole image.

A network whose output is smaller than its input by ``margin`` on each side reads mirrored pixels beyond the image
(Ronneberger et al. 2015, the overlap-tile strategy). One that pads inside itself reads its own zeros there, so that an
outer tile's edge must be the image's, and an inner tile's outputs count only where ``halo`` pixels of input lie around
them. Tiles must begin multiples of ``stride`` apart, or pooling would pair other pixels.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Piece:
    """One tile along one axis, in pixels of the image.

    origin: the first pixel that the network gives a value for; it reads from ``origin - margin`` on.
    start, stop: the pixels whose values are kept.
    """

    origin: int
    start: int
    stop: int


def extended_size(size: int, tile: int, stride: int, margin: int = 0) -> int:
    """Return how many pixels tiles give values for: a tile's, and as many strides more as an axis of ``size`` needs.

    Past its own size the image is continued by mirroring. A "whole-image" inference is one on an input of this size,
    and the margins around it.
    """
    inner = tile - 2 * margin
    return inner + max(size - inner + stride - 1, 0) // stride * stride


def lay_tiles(size: int, tile: int, stride: int, halo: int | None, margin: int = 0) -> list[Piece]:
    """Lay the fewest tiles along an axis, as evenly as strides allow, cut in the middle of what they share.

    Parameters
    ----------
    size: of the axis. tile: of the network's input. stride, halo, margin: the network's; no halo means that it sees the
        whole image, which must then fit one tile.

    Raises
    ------
    ValueError
        When the axis is longer than a tile, and tiles are too short to be laid beside one another.

    """
    inner = tile - 2 * margin
    last = extended_size(size, tile, stride, margin) - inner
    if last == 0:
        return [Piece(0, 0, size)]
    beyond = size if halo is None else max(halo - margin, 0)
    step = (inner - 2 * beyond) // stride * stride
    if step <= 0:
        raise ValueError(
            f"a side of {size} pixels is longer than a tile, and tiles of {tile} pixels with a margin of {margin} and "
            f"a halo of {halo or 'the whole image'} leave no stride of {stride} to keep; expected tiles of at least "
            f"{min(size, 2 * beyond + stride) + 2 * margin} pixels"
        )
    count = -(-last // step) + 1
    origins = [last * i // (count - 1) // stride * stride for i in range(count)]
    cuts = [0, *((one + other + inner) // 2 for one, other in pairwise(origins)), size]
    return [Piece(origin, *kept) for origin, kept in zip(origins, pairwise(cuts), strict=True)]


def mirrored(start: int, stop: int, size: int) -> npt.NDArray[np.intp]:
    """Return which of ``size`` pixels stands at each of start..stop, mirrored at both ends, which are not repeated."""
    if size == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (size - 1)
    index = np.arange(start, stop, dtype=np.intp) % period
    return np.minimum(index, period - index)
