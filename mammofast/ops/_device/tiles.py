"""Tiles cut from images, and what a network gives for them put together, a batch at a time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels
from mammofast.ops._device.preprocessing import is_half

Place = tuple[int, int]


def cut_tiles(
    images: Sequence[CudaArray],
    origins: Sequence[Place],
    shape: Sequence[int],
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    *,
    dtype: npt.DTypeLike = np.float16,
    stream: int = LEGACY_STREAM,
    out: CudaArray | None = None,
) -> CudaArray:
    """Cut a tile from each image, which is mirrored beyond its edges, and scale it to a network's input.

    Parameters
    ----------
    images : k times float32 (rows, cols), at least one pixel; the same one may come again
    origins : k times (row, column) of a tile's first pixel, which may lie outside the image
    shape : (rows, cols) of the tiles
    mean, std : of each channel, at most 8
    dtype : float16 or float32
    out : the result, to write to

    Returns
    -------
    inputs : (k, channels, rows, cols), ``(pixel - mean) / std`` in float32; float16 rounded to nearest, ties to even

    Raises
    ------
    ValueError
        For wrong shapes or types.
    """
    rows, cols = _checks.shape("shape", shape, low=1)
    native = kernels("images")
    if len(mean) != len(std) or not 1 <= len(mean) <= native.MOST_CHANNELS:
        got = f"{len(mean)} and {len(std)} of them"
        raise _checks.fail("mean, std", got, f"one for each of 1 to {native.MOST_CHANNELS} channels")
    places = _places("origins", origins, len(images), 2)
    half = is_half(dtype)
    return native.cut_tiles(list(images), places, rows, cols, mean, std, half, stream, out)  # type: ignore[no-any-return]


def stitch_tiles(
    tiles: CudaArray,
    maps: Sequence[CudaArray],
    origins: Sequence[Place],
    kept: Sequence[tuple[int, int, int, int]],
    limits: tuple[float, float] = (-np.inf, np.inf),
    *,
    stream: int = LEGACY_STREAM,
    out: CudaArray | None = None,
) -> CudaArray:
    """Put what is kept of each tile to its place in a map.

    Parameters
    ----------
    tiles : float32 or float16 (k, rows, cols)
    maps : k times float32 (rows, cols), written there; the same one may come again
    origins : k times (row, column) of the map where a tile's first value is
    kept : k times (row_begin, row_end, col_begin, col_end) of the map, inside the tile
    limits : the smallest and the largest value that are as they should be
    out : the status, to write to

    Returns
    -------
    status : int32 (k,), ``NOT_FINITE`` for NaN or Inf in a tile, ``UNSOUND`` for a value outside the limits, whether
        kept or not

    Raises
    ------
    ValueError
        For wrong shapes or types, and what is kept outside a tile or its map.
    """
    places = np.hstack([_places("origins", origins, len(maps), 2), _places("kept", kept, len(maps), 4)])
    low, high = map(float, limits)
    return kernels("tiles").stitch_tiles(tiles, list(maps), places, low, high, stream, out)  # type: ignore[no-any-return]


def _places(name: str, places: Sequence[Sequence[int]], count: int, size: int) -> npt.NDArray[np.int32]:
    if len(places) != count or any(len(place) != size for place in places):
        raise _checks.fail(name, repr(places), f"{size} integers for each of {count} tiles")
    return np.array(places, dtype=np.int32).reshape(count, size)
