"""A graph cut, as P1 compares it: Boykov and Jolly's, by the maximum flow of SciPy."""

import numpy as np
import numpy.typing as npt

from mammofast.evaluation.baselines.breast import Image, Mask, window_around
from mammofast.evaluation.baselines.threshold import searched, threshold, without_small

_BINS = 32
# What a cut between two equal neighbours costs, in the unit of the regions' -log p.
_SMOOTHNESS = 4.0
_SIGMA = 0.1
# SciPy's flows are integers.
_UNITS = 1000
_CERTAIN = 1 << 28


def graph_cut(image: Image, view: str | None = None, told: Mask | None = None) -> Mask:
    """Segment by the minimum cut between mass and breast of Boykov and Jolly (2001).

    Regions' greys are histograms: of mass, of ``told`` or the threshold's result; of the rest, of the frame of a window
    around ``told``, or of all else in the breast without its pectoral muscle. Neighbours (4) are held together the more
    alike they are. ``told`` is mass for certain, the window's frame and what lies outside the breast are not; what does
    not touch the start goes. See :class:`mammofast.evaluation.baselines.Baseline`.
    """
    inside = searched(image, view)
    start = threshold(image, view) if told is None else told & inside
    if not start.any():
        return start
    y, x = window_around(inside if told is None else told)
    rest = inside & ~start
    if told is not None:
        inside = inside & _within(image.shape, y, x)
        rest = rest & _frame(image.shape, y, x)
        inside &= ~rest
    if not rest.any():
        return start
    grey = image[y, x].astype(np.float64)
    low, high = np.percentile(image[inside], [0.5, 99.5])
    grey = np.clip((grey - low) / max(high - low, np.finfo(np.float64).tiny), 0, 1)
    mass, other = (_cost(grey, region[y, x]) for region in (start, rest))
    certain = start[y, x] if told is not None else None
    found = np.zeros(image.shape, np.bool_)
    found[y, x] = _cut(grey, mass, other, inside[y, x], certain)
    return without_small(found & inside, start)


def _within(shape: tuple[int, ...], y: slice, x: slice) -> Mask:
    found = np.zeros(shape, np.bool_)
    found[y, x] = True
    return found


def _frame(shape: tuple[int, ...], y: slice, x: slice) -> Mask:
    """Return the outermost tenth of a window."""
    found = _within(shape, y, x)
    rows, cols = (max((side.stop - side.start) // 10, 1) for side in (y, x))
    found[y.start + rows : y.stop - rows, x.start + cols : x.stop - cols] = False
    return found


def _cost(grey: npt.NDArray[np.float64], region: Mask) -> npt.NDArray[np.float64]:
    """Return -log p of every pixel's grey, by the histogram of a region."""
    index = np.minimum((grey * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(index[region], minlength=_BINS) + 1.0
    return np.asarray(-np.log(counts / counts.sum())[index])


def _cut(
    grey: npt.NDArray[np.float64],
    mass: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
    inside: Mask,
    certain: Mask | None,
) -> Mask:
    """Return the source's side of the minimum cut; mass, other: what each label costs each pixel."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    n = grey.size
    source, sink = n, n + 1
    # Only the difference of the two costs matters: each pixel hangs on one end.
    prefers = np.rint((other - mass) * _UNITS).astype(np.int64)
    prefers[~inside] = -_CERTAIN
    if certain is not None:
        prefers[certain] = _CERTAIN
    flat, numbers = prefers.ravel(), np.arange(n).reshape(grey.shape)
    to_mass, to_rest = np.flatnonzero(flat > 0), np.flatnonzero(flat < 0)
    tails, heads, weights = [np.full(len(to_mass), source), to_rest], [to_mass, np.full(len(to_rest), sink)], []
    weights += [flat[to_mass], -flat[to_rest]]
    for a, b in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        weight = _SMOOTHNESS * np.exp(-((grey[a] - grey[b]) ** 2) / (2 * _SIGMA**2))
        held = np.rint(weight * _UNITS).astype(np.int64).ravel()
        one, two = numbers[a].ravel(), numbers[b].ravel()
        tails += [one, two]
        heads += [two, one]
        weights += [held, held]
    columns = (np.concatenate(part) for part in (weights, tails, heads))
    capacity, tail, head = columns
    graph = csr_array((capacity.astype(np.int32), (tail, head)), shape=(n + 2, n + 2), dtype=np.int32)
    left = (graph - maximum_flow(graph, source, sink).flow).tocsr()
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    found = np.zeros(n + 2, np.bool_)
    found[reached] = True
    return found[:n].reshape(grey.shape)
