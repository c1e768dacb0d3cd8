"""A level set, as P1 compares it: the active contour without edges."""

import numpy as np

from mammofast.evaluation.baselines.breast import Image, Mask, window_around
from mammofast.evaluation.baselines.threshold import searched, threshold, without_small

_ITERATIONS = 120
_SMOOTHING = 1


def level_set(image: Image, view: str | None = None, told: Mask | None = None) -> Mask:
    """Segment by Chan and Vese's active contour without edges (2001), in Márquez-Neila's morphological form (2014).

    It starts at ``told`` and moves in a window around it, or starts at the threshold's result and moves in the whole
    breast without its pectoral muscle; what does not touch its start goes. P1 does not say which level set it took. See
    :class:`mammofast.evaluation.baselines.Baseline`.
    """
    from skimage.segmentation import morphological_chan_vese

    inside = searched(image, view)
    start = threshold(image, view) if told is None else told & inside
    if not start.any():
        return np.zeros(image.shape, np.bool_)
    y, x = window_around(inside if told is None else told)
    # Outside, the mean grey of the breast: air is neither of the two regions.
    seen = np.where(inside, image, image[inside].mean())[y, x].astype(np.float64)
    moved = morphological_chan_vese(seen, _ITERATIONS, init_level_set=start[y, x], smoothing=_SMOOTHING)
    found = np.zeros(image.shape, np.bool_)
    found[y, x] = moved.astype(bool)
    return without_small(found & inside, start)
