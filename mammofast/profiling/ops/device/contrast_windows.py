"""Which stored values of each image become black and white: percentiles without its pixels leaving the card."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.methods.contrast import Contrast
from mammofast.profiling.contest import Way
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.contest import DeviceContest, room, sets_beyond_cache
from mammofast.profiling.ops.device.peers import beside_on, tensors
from mammofast.profiling.ops.drawing import mammogram
from mammofast.profiling.ops.peers import Peer
from mammofast.profiling.sampling import Call

Pixels = list[npt.NDArray[np.uint16]]
Windows = npt.NDArray[np.float64]
LOW, HIGH = 1.0, 99.5
_DRAWN = 4  # different images; a batch repeats them


def _case(images: int, shape: tuple[int, int], card: Card, name: str) -> DeviceContest:
    rng = np.random.default_rng(images)
    drawn = [mammogram(rng, shape) for _ in range(min(images, _DRAWN))]
    pixels = [drawn[image % _DRAWN] for image in range(images)]
    moved = sum(each.nbytes for each in pixels) + images * (16 + 4)
    ways, left_out = beside_on(card, PEERS, pixels)

    def ours() -> Call:
        out = room(card, (images, 2), np.float64), room(card, (images,), np.int32)
        on_card = [card.put(each) for each in pixels]
        return partial(card.forms.contrast_windows, on_card, [None] * images, (LOW, HIGH), out=out)

    return DeviceContest(
        name,
        "what every method does first with an image on the card: its percentiles, air left out",
        [ours() for _ in range(sets_beyond_cache(card, moved))],
        partial(_read, card),
        Way(partial(_on_cpu, pixels), np.array_equal),
        bytes_moved=moved,
        others=ways,
        left_out=left_out,
        items=images,
        unit="images",
        facts={"images": images},
    )


def _read(card: Card, result: tuple[Any, Any]) -> Windows | None:
    windows, status = (card.get(each) for each in result)
    return None if status.any() else windows


def _on_cpu(pixels: Pixels) -> Windows:
    return np.array([Contrast(LOW, HIGH).window(each, None) for each in pixels])


def bincount(card: Card, pixels: Pixels) -> Way:
    """Count, add up and search, one image after the other."""
    import torch

    on_card = tensors(card, *(each.astype(np.int32) for each in pixels))
    parts = torch.tensor([LOW / 100, HIGH / 100], dtype=torch.float64, device=on_card[0].device)

    def one(image: Any) -> Any:
        counts = torch.bincount(image.flatten(), minlength=1 << 12)
        counts[torch.argmax((counts > 0).int())] = 0  # the smallest value is air
        below = counts.cumsum(0).double()
        return torch.searchsorted(below, parts * below[-1]).double()

    return Way(lambda: torch.stack([one(image) for image in on_card]), _same)


def _same(ours: Windows, found: Any) -> bool:
    return np.array_equal(ours, found.cpu().numpy())


PEERS = (Peer("torch bincount, cumsum, searchsorted", ("torch",), bincount),)
CASES = {f"contrast_windows, {images} x 2048 x 1664": partial(_case, images, (2048, 1664)) for images in (1, 8, 32)}
SMALL = {"contrast_windows, 3 x 128 x 104": partial(_case, 3, (128, 104))}
