"""Anchor boxes by k-means over 1 - IoU (Redmon & Farhadi 2017, arXiv 1612.08242), the same on every machine.

Sizes are counted in sixteenths of a pixel, so that areas and overlaps are exact and an IoU, one division, is rounded
alike everywhere; the start is drawn with whole-numbered weights. Nothing is a sum whose order could matter.
"""

import numpy as np
import numpy.typing as npt

Sizes = npt.NDArray[np.float64]

_MOST_ROUNDS = 300
_UNIT = 1 / 16
# Sizes beyond it would make areas that a double does not hold exactly.
_LARGEST = float(1 << 20)
_WEIGHT_BITS = 20


def kmeans_anchors(sizes: npt.NDArray[np.floating], count: int, seed: int) -> Sizes:
    """Cluster box sizes.

    Parameters
    ----------
    sizes: (n, 2) widths and heights in pixels of the network's input. count: anchors wanted. seed: of the start.

    Returns
    -------
    (count, 2) widths and heights, by rising area, then width. Each is the median of its cluster; a box between two
    clusters goes to the lower; an empty cluster starts again at the box that fits its own worst.

    Raises
    ------
    ValueError
        When there are fewer boxes than anchors, or a side is below a sixteenth of a pixel or beyond 2²⁰.

    """
    sizes = np.asarray(sizes, dtype=np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or len(sizes) < count:
        raise ValueError(f"sizes: got shape {sizes.shape}, expected (n >= {count}, 2), widths and heights")
    if not ((sizes >= _UNIT) & (sizes <= _LARGEST)).all():
        raise ValueError(f"sizes: expected widths and heights from {_UNIT} to {_LARGEST:.0f} pixels")
    exact: Sizes = np.rint(sizes / _UNIT) * _UNIT
    centres = _spread_start(exact, count, np.random.default_rng(seed))
    assigned = np.full(len(exact), -1)
    for _ in range(_MOST_ROUNDS):
        fit = shared_corner_iou(exact, centres)
        nearest = fit.argmax(axis=1)
        if np.array_equal(nearest, assigned):
            break
        assigned = nearest
        misfits = iter(np.argsort(fit.max(axis=1), kind="stable"))
        for k in range(count):
            members = exact[assigned == k]
            centres[k] = np.median(members, axis=0) if len(members) else exact[next(misfits)]
    order = np.lexsort((centres[:, 0], centres.prod(axis=1)))
    return centres[order]


def mean_best_iou(sizes: npt.NDArray[np.floating], anchors: npt.NDArray[np.floating]) -> float:
    """Return the mean over boxes of the IoU with the anchor that fits best, as Redmon & Farhadi's table 1 does."""
    return float(shared_corner_iou(np.asarray(sizes), np.asarray(anchors)).max(axis=1).mean())


def shared_corner_iou(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Sizes:
    """Return the IoU (n, m) of sizes (n, 2) and (m, 2), boxes laid corner on corner."""
    overlap = np.minimum(a[:, None], b[None]).prod(axis=2)
    return np.asarray(overlap / (a.prod(axis=1)[:, None] + b.prod(axis=1)[None] - overlap), dtype=np.float64)


def _spread_start(sizes: Sizes, count: int, rng: np.random.Generator) -> Sizes:
    """Draw starts as k-means++ does: the worse the fit so far, the likelier."""
    centres = sizes[[rng.integers(len(sizes))]]
    while len(centres) < count:
        distance = 1 - shared_corner_iou(sizes, centres).max(axis=1)
        weights = np.floor(distance * distance * (1 << _WEIGHT_BITS)).astype(np.int64)
        total = weights.cumsum()
        if total[-1]:
            chosen = int(np.searchsorted(total, rng.integers(total[-1]), side="right"))
        else:
            chosen = int(rng.integers(len(sizes)))
        centres = np.concatenate([centres, sizes[[chosen]]])
    return centres
