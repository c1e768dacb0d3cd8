"""A batch of overlapping tiles cut from mirrored images, and put together again: ours beside torch, padding, slices."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.methods.tiling import Piece, lay_tiles, mirrored
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.sampling import Call

Image = npt.NDArray[np.float32]
Places = list[tuple[Piece, Piece]]
MEAN, STD = (0.48, 0.46, 0.41), (0.23, 0.22, 0.22)  # three channels, as networks trained on photographs want them
STRIDE, HALO = 8, 64
_HALF = 2e-3  # a unit in the last place of half precision below 4


def _laid(side: int, tile: int, margin: int) -> Places:
    pieces = lay_tiles(side, tile, STRIDE, HALO, margin)
    return [(rows, cols) for rows in pieces for cols in pieces]


def _cut(side: int, tile: int, margin: int, card: Card, name: str) -> DeviceContest:
    image = np.random.default_rng(side).random((side, side), dtype=np.float32)
    places = _laid(side, tile, margin)
    origins = [(rows.origin - margin, cols.origin - margin) for rows, cols in places]
    written = len(places) * len(MEAN) * tile * tile * 2
    ways, left_out = beside_on(card, CUT_PEERS, image, origins, tile)

    def ours() -> Call:
        out = room(card, (len(places), len(MEAN), tile, tile), np.float16)
        images = [card.put(image)] * len(places)
        options = {"dtype": np.float16, "out": out}
        return partial(card.forms.cut_tiles, images, origins, (tile, tile), MEAN, STD, **options)

    return DeviceContest(
        name,
        "what a tiled method's network reads of one image: mirrored beyond its edges, scaled, in half precision",
        [ours() for _ in range(sets_beyond_cache(card, image.nbytes + written))],
        card.get,
        Way(partial(_cut_on_cpu, image, origins, tile), np.array_equal),
        bytes_moved=image.nbytes + written,
        others=ways,
        left_out=left_out,
        items=len(places),
        unit="tiles",
        facts={"tiles": len(places)},
    )


def _cut_on_cpu(image: Image, origins: list[tuple[int, int]], tile: int) -> npt.NDArray[np.float16]:
    def one(top: int, left: int) -> Image:
        rows, cols = (mirrored(start, start + tile, size) for start, size in zip((top, left), image.shape, strict=True))
        part = image[np.ix_(rows, cols)]
        return np.stack([(part - np.float32(m)) / np.float32(s) for m, s in zip(MEAN, STD, strict=True)])

    return np.stack([one(*origin) for origin in origins]).astype(np.float16)


def padding_and_slices(card: Card, image: Image, origins: list[tuple[int, int]], tile: int) -> Way:
    """Mirror the whole image once, then slice, scale and stack."""
    import torch
    from torch.nn import functional

    (on_card,) = tensors(card, image[None, None])
    mean, std = (torch.tensor(each, device=on_card.device)[:, None, None] for each in (MEAN, STD))
    before = -min(min(origin) for origin in origins)
    after = max(0, max(max(origin) for origin in origins) + tile - image.shape[0])

    def call() -> Any:
        wide = functional.pad(on_card, (before, after, before, after), mode="reflect")[0]
        parts = [wide[:, y + before : y + before + tile, x + before : x + before + tile] for y, x in origins]
        return torch.stack([((part - mean) / std).half() for part in parts])

    return Way(call, _nearly)


def _nearly(ours: npt.NDArray[np.float16], found: Any) -> bool:
    return np.allclose(ours.astype(np.float32), found.float().cpu().numpy(), rtol=0, atol=_HALF)


def _stitch(side: int, tile: int, margin: int, card: Card, name: str) -> DeviceContest:
    places = _laid(side, tile, margin)
    inner = tile - 2 * margin
    values = np.random.default_rng(side).random((len(places), inner, inner), dtype=np.float32).astype(np.float16)
    moved = values.nbytes + 4 * side * side + 4 * len(places)
    ways, left_out = beside_on(card, STITCH_PEERS, values, places, side)

    def ours() -> Call:
        whole, tiles = room(card, (side, side), np.float32), card.put(values)
        origins = [(rows.origin, cols.origin) for rows, cols in places]
        kept = [(rows.start, rows.stop, cols.start, cols.stop) for rows, cols in places]
        status = room(card, (len(places),), np.int32)

        def call() -> tuple[Any, Any]:
            maps = [whole] * len(places)
            return whole, card.forms.stitch_tiles(tiles, maps, origins, kept, (0.0, 1.0), out=status)

        return call

    return DeviceContest(
        name,
        "what a network gave for an image's tiles, their halos left out, into one map; every value looked at",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read, card),
        Way(partial(_stitched, values, places, side), np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        facts={"tiles": len(places)},
    )


def _read(card: Card, result: tuple[Any, Any]) -> Image | None:
    whole, status = result
    return None if card.get(status).any() else card.get(whole)


def _stitched(values: npt.NDArray[np.float16], places: Places, side: int) -> Image:
    whole = np.full((side, side), np.nan, np.float32)
    _put(whole, values, places)
    return whole


def _put(whole: Any, values: Any, places: Places) -> None:
    for tile, (rows, cols) in zip(values, places, strict=True):
        y, x = slice(rows.start - rows.origin, rows.stop - rows.origin), slice(cols.start - cols.origin, None)
        whole[rows.start : rows.stop, cols.start : cols.stop] = tile[y, x][:, : cols.stop - cols.start]


def slices(card: Card, values: npt.NDArray[np.float16], places: Places, side: int) -> Way:
    """Copy slice by slice; that all values are sound is one more pass."""
    import torch

    (tiles,) = tensors(card, values)
    whole = torch.empty((side, side), device=tiles.device)

    def call() -> tuple[Any, Any]:
        _put(whole, tiles, places)
        return whole, ((tiles >= 0) & (tiles <= 1)).flatten(1).all(dim=1)

    return Way(call, _same_map)


def _same_map(ours: Image, found: tuple[Any, Any]) -> bool:
    whole, sound = (each.cpu().numpy() for each in found)
    return bool(sound.all()) and np.array_equal(ours, whole)


CUT_PEERS = (Peer("torch pad, slices, stack", ("torch",), padding_and_slices),)
STITCH_PEERS = (Peer("torch, slice by slice", ("torch",), slices),)
PEERS = CUT_PEERS + STITCH_PEERS
CASES = {
    "tiles, cut, 1024 of 2048 x 2048": partial(_cut, 2048, 1024, 0),
    "tiles, cut, 572 of 2048 x 2048, margin 92": partial(_cut, 2048, 572, 92),
    "tiles, stitch, 1024 to 2048 x 2048": partial(_stitch, 2048, 1024, 0),
    "tiles, stitch, 388 to 2048 x 2048": partial(_stitch, 2048, 572, 92),
}
SMALL = {
    "tiles, cut, 192 of 400 x 400, margin 20": partial(_cut, 400, 192, 20),
    "tiles, stitch, 152 to 400 x 400": partial(_stitch, 400, 192, 20),
}
