"""An image's coarse levels: ours in one pass beside OpenCV, scikit-image and torch, a pass for each."""

from functools import partial

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.archive.layout import coarse_levels
from mammofast.profiling.contest import Contest
from mammofast.profiling.ops.drawing import SHAPE, mammogram
from mammofast.profiling.ops.peers import beside, peer

LEVELS = coarse_levels(*SHAPE)
Pixels = npt.NDArray[np.uint16]


def _case(name: str) -> Contest:
    pixels = mammogram(np.random.default_rng(7))
    ways, left_out = beside(PEERS, pixels)
    return Contest(
        name,
        "ingest makes the levels that detection and viewers read, once for each image",
        partial(ops.pool, pixels, LEVELS),
        ways,
        smallest=partial(ops.pool, pixels[:1, :1], LEVELS),
        left_out=left_out,
        unit="images",
    )


def by_opencv(pixels: Pixels) -> list[Pixels]:
    """Take INTER_AREA, which reads 16 bits as they are."""
    import cv2

    rows, cols = SHAPE
    return [cv2.resize(pixels, (cols >> k, rows >> k), interpolation=cv2.INTER_AREA) for k in LEVELS]


def by_skimage(pixels: Pixels) -> list[Pixels]:
    """Take local means, in double."""
    from skimage.transform import downscale_local_mean

    return [_rounded(downscale_local_mean(pixels, (1 << k, 1 << k))) for k in LEVELS]


def by_torch(pixels: Pixels) -> list[Pixels]:
    """Take average pooling, each level from the one before, in float32: sums of 12 bits are exact in it."""
    import torch

    means, done, level = [], torch.from_numpy(pixels.astype(np.float32))[None], 0
    for k in LEVELS:
        done, level = torch.nn.functional.avg_pool2d(done, 1 << (k - level)), k
        means.append(_rounded(done[0].numpy()))
    return means


def _rounded(means: npt.NDArray[np.floating]) -> Pixels:
    return np.asarray(np.floor(means + 0.5), np.uint16)


def _same(ours: list[Pixels], other: list[Pixels]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(ours, other, strict=True))


def _halves_aside(ours: list[Pixels], other: list[Pixels]) -> bool:
    # OpenCV rounds halves to even, ours up.
    return all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(ours, other, strict=True))


PEERS = (
    peer("OpenCV resize, INTER_AREA", ("cv2",), by_opencv, _halves_aside),
    peer("torch avg_pool2d, level from level", ("torch",), by_torch, _same),
    peer("scikit-image downscale_local_mean", ("skimage",), by_skimage, _same),
)
CASES = {f"pool, levels {' '.join(map(str, LEVELS))} of 4096 x 3328": _case}
