"""Crops of probabilities as masks, whole images of them or a bit a pixel: ours beside torch's ways."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.drawing import SHAPE
from mammofast.profiling.ops.paste_masks import GRID_SAMPLE_PART, THRESHOLD, Boxes, Crops, draw_crops
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.sampling import Call

Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int]
_OF_AN_IMAGE = 2  # candidates
_DRAWN = 64  # different crops; a batch repeats them


def _drawn(count: int, shrink: int) -> tuple[Crops, Boxes, Shape]:
    """Return crops, boxes and an image's shape; at full size where shrink is 1."""
    crops, boxes = draw_crops(min(count, _DRAWN), np.random.default_rng(count))
    again = np.arange(count) % len(crops)
    crops = np.ascontiguousarray(crops[again, ::shrink, ::shrink])
    return crops, boxes[again] // shrink, (SHAPE[0] // shrink, SHAPE[1] // shrink)


def _dense(images: int, shrink: int, card: Card, name: str) -> DeviceContest:
    count = images * _OF_AN_IMAGE
    crops, boxes, (rows, cols) = _drawn(count, shrink)
    image_of = np.arange(count, dtype=np.int32) // _OF_AN_IMAGE
    moved = crops.nbytes + boxes.nbytes + image_of.nbytes + images * (rows * cols + 4)
    ways, left_out = beside_on(card, DENSE, crops, boxes, image_of, (rows, cols))

    def ours() -> Call:
        on_card = map(card.put, (crops, boxes, image_of))
        out = room(card, (images, rows, cols), np.bool_), room(card, (images,), np.int32)
        return partial(card.forms.paste_masks, *on_card, images, (rows, cols), THRESHOLD, out=out)

    return DeviceContest(
        name,
        "native-resolution masks of a batch of images, for pictures and for components",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read_dense, card),
        Way(partial(_dense_on_cpu, crops, boxes, image_of, (rows, cols)), np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images, "crops": count},
    )


def _read_dense(card: Card, result: tuple[Any, Any]) -> Mask:
    masks, status = (card.get(each) for each in result)
    return masks[:0] if status.any() else masks


def _dense_on_cpu(crops: Crops, boxes: Boxes, image_of: npt.NDArray[np.int32], shape: Shape) -> Mask:
    images = range(image_of[-1] + 1)
    return np.stack([ops.paste_masks(crops[image_of == i], boxes[image_of == i], shape, THRESHOLD) for i in images])


def tight(card: Card, crops: Crops, boxes: Boxes, image_of: npt.NDArray[np.int32], shape: Shape) -> Way:
    """Stretch each crop to its box, cut, OR it into its image's canvas."""
    import torch
    from torch.nn import functional

    on_card = tensors(card, crops[:, None, None])[0]
    places = list(zip(image_of.tolist(), boxes.tolist(), strict=True))

    def call() -> Any:
        masks = torch.zeros((places[-1][0] + 1, *shape), dtype=torch.bool, device=card.torch_device)
        for crop, (image, (x_min, y_min, x_max, y_max)) in zip(on_card, places, strict=True):
            stretched = functional.interpolate(crop, size=(y_max - y_min, x_max - x_min), mode="bilinear")
            masks[image, y_min:y_max, x_min:x_max] |= stretched[0, 0] >= THRESHOLD
        return masks

    return Way(call, _nearly)


def grid_sample(card: Card, crops: Crops, boxes: Boxes, image_of: npt.NDArray[np.int32], shape: Shape) -> Way:
    """Sample every pixel of the canvas from each crop, as Detectron2 pastes masks when it pastes them in one batch."""
    import torch
    from torch.nn import functional

    on_card = tensors(card, crops[:, None, None])[0]
    places = list(zip(image_of.tolist(), boxes.tolist(), strict=True))
    rows, cols = (torch.arange(side, device=card.torch_device) + 0.5 for side in shape)

    def call() -> Any:
        masks = torch.zeros((places[-1][0] + 1, *shape), dtype=torch.bool, device=card.torch_device)
        for crop, (image, (x_min, y_min, x_max, y_max)) in zip(on_card, places, strict=True):
            y, x = (rows - y_min) / (y_max - y_min) * 2 - 1, (cols - x_min) / (x_max - x_min) * 2 - 1
            grid = torch.stack([x[None].expand(shape), y[:, None].expand(shape)], dim=2)
            stretched = functional.grid_sample(crop, grid[None], padding_mode="zeros", align_corners=False)
            masks[image] |= stretched[0, 0] >= THRESHOLD
        return masks

    return Way(call, _nearly)


def _nearly(ours: Mask, other: Any) -> bool:
    found = other.cpu().numpy()
    return found.shape == ours.shape and bool(np.count_nonzero(ours != found) <= GRID_SAMPLE_PART * ours.sum())


def _packed(count: int, shrink: int, card: Card, name: str) -> DeviceContest:
    crops, boxes, _ = _drawn(count, shrink)
    shapes = [(int(rows), int(cols)) for cols, rows in boxes[:, 2:] - boxes[:, :2]]
    n_bytes = sum(rows * -(-cols // 8) for rows, cols in shapes)
    ways, left_out = beside_on(card, PACKED, crops, shapes)
    moved = crops.nbytes + n_bytes + count * (4 + 16 + 4)

    def ours() -> Call:
        out = tuple(room(card, *each) for each in (((n_bytes,), np.uint8), *_known_of(count)))
        return partial(card.forms.paste_packed, card.put(crops), shapes, THRESHOLD, out=out)

    return DeviceContest(
        name,
        "what a pipeline downloads of its candidates: each in its own window, a bit a pixel",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read_packed, card, shapes),
        Way(partial(_packed_on_cpu, crops, shapes), _same),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=count,
        unit="crops",
        facts={"crops": count},
    )


def _known_of(count: int) -> tuple[tuple[tuple[int, ...], type], ...]:
    """Return the shapes and types of areas, boxes and status."""
    return ((count,), np.int32), ((count, 4), np.int32), ((count,), np.int32)


def _read_packed(card: Card, shapes: list[Shape], result: Any) -> list[Any]:
    """Return the masks, then areas and boxes."""
    bits, areas, boxes, status = (card.get(each) for each in (result.bits, result.areas, result.boxes, result.status))
    if status.any():
        return []
    parts = (bits[a:b] for a, b in zip(result.offsets[:-1], result.offsets[1:], strict=True))
    masks = [
        np.unpackbits(part.reshape(rows, -1), axis=1, count=cols).view(np.bool_)
        for part, (rows, cols) in zip(parts, shapes, strict=True)
    ]
    return [*masks, areas, boxes]


def _packed_on_cpu(crops: Crops, shapes: list[Shape]) -> list[Any]:
    places = [np.array([[0, 0, cols, rows]]) for rows, cols in shapes]
    masks = [
        ops.paste_masks(crop[None], place, shape, THRESHOLD)
        for crop, place, shape in zip(crops, places, shapes, strict=True)
    ]
    areas = np.array([mask.sum() for mask in masks], np.int32)
    return [*masks, areas, np.array([_holding(mask) for mask in masks], np.int32)]


def _holding(mask: Mask) -> tuple[int, int, int, int]:
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)


def _same(expected: list[Any], found: list[Any]) -> bool:
    return len(expected) == len(found) and all(map(np.array_equal, expected, found))


def one_by_one(card: Card, crops: Crops, shapes: list[Shape]) -> Way:
    """Stretch and cut each crop, a byte a pixel: what there is to pack and to download."""
    from torch.nn import functional

    on_card = tensors(card, crops[:, None, None])[0]

    def call() -> list[Any]:
        stretched = (functional.interpolate(c, size=s, mode="bilinear") for c, s in zip(on_card, shapes, strict=True))
        return [each[0, 0] >= THRESHOLD for each in stretched]

    return Way(call, _nearly_all)


def _nearly_all(ours: list[Any], other: list[Any]) -> bool:
    return len(ours) == len(other) + 2 and all(map(_nearly, ours, other))


DENSE = (
    Peer("torch interpolate, threshold, OR", ("torch",), tight),
    Peer("torch grid_sample on the full canvas", ("torch",), grid_sample),
)
PACKED = (Peer("torch interpolate, threshold (bytes)", ("torch",), one_by_one),)
PEERS = (*DENSE, *PACKED)
CASES = {
    **{f"paste_masks, {images} dense": partial(_dense, images, 1) for images in (1, 32)},
    **{f"paste_masks, {count} packed": partial(_packed, count, 1) for count in (64, 512)},
}
SMALL = {
    "paste_masks, 3 dense, small": partial(_dense, 3, 32),
    "paste_masks, 7 packed, small": partial(_packed, 7, 16),
}
