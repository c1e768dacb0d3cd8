"""Anchor boxes by k-means over 1 - IoU (Redmon & Farhadi 2017, arXiv 1612.08242), seeded and always ending."""

import numpy as np
import numpy.typing as npt

_MOST_ROUNDS = 300


def kmeans_anchors(sizes: npt.NDArray[np.floating], count: int, seed: int) -> npt.NDArray[np.float64]:
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
        When there are fewer boxes than anchors, or a side is not above 0.

    """
    sizes = np.asarray(sizes, dtype=np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or len(sizes) < count or not (sizes > 0).all():
        raise ValueError(f"sizes: got shape {sizes.shape}, expected (n >= {count}, 2) of positive widths and heights")
    centres = _spread_start(sizes, count, np.random.default_rng(seed))
    assigned = np.full(len(sizes), -1)
    for _ in range(_MOST_ROUNDS):
        fit = shared_corner_iou(sizes, centres)
        nearest = fit.argmax(axis=1)
        if np.array_equal(nearest, assigned):
            break
        assigned = nearest
        misfits = iter(np.argsort(fit.max(axis=1), kind="stable"))
        for k in range(count):
            members = sizes[assigned == k]
            centres[k] = np.median(members, axis=0) if len(members) else sizes[next(misfits)]
    order = np.lexsort((centres[:, 0], centres.prod(axis=1)))
    return centres[order]


def shared_corner_iou(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the IoU (n, m) of sizes (n, 2) and (m, 2), boxes laid corner on corner."""
    overlap = np.minimum(a[:, None], b[None]).prod(axis=2)
    return np.asarray(overlap / (a.prod(axis=1)[:, None] + b.prod(axis=1)[None] - overlap), dtype=np.float64)


def _spread_start(sizes: npt.NDArray[np.floating], count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw starts as k-means++ does: the worse the fit so far, the likelier."""
    centres = sizes[[rng.integers(len(sizes))]]
    while len(centres) < count:
        distance = 1 - shared_corner_iou(sizes, centres).max(axis=1)
        weights = distance**2 if distance.any() else np.ones(len(sizes))
        centres = np.concatenate([centres, sizes[[rng.choice(len(sizes), p=weights / weights.sum())]]])
    return centres.astype(np.float64)
