"""P1's double threshold."""

import numpy as np

from mammofast.evaluation.baselines.breast import Image, Mask, breast, pectoral

# Isolated regions smaller than this part of the largest one go: P1 deletes "isolated small" ones without a number.
SMALL = 0.2


def threshold(image: Image, view: str | None = None, told: Mask | None = None) -> Mask:
    """Segment by P1's double threshold: an iterative one, then the mean grey of what it let pass.

    The iterative threshold is Ridler and Calvard's (1978). ``told`` keeps of the regions found those that it touches;
    a threshold cannot use it otherwise. See :class:`mammofast.evaluation.baselines.Baseline`.
    """
    from skimage.filters import threshold_isodata

    inside = searched(image, view)
    values = image[inside]
    if not values.size or np.ptp(values) == 0:
        return np.zeros(image.shape, np.bool_)
    first = float(threshold_isodata(values))
    second = float(values[values > first].mean())
    return without_small(inside & (image > second), told)


def searched(image: Image, view: str | None) -> Mask:
    """Return where masses are looked for: the breast without the pectoral muscle, and without the skin."""
    from scipy.ndimage import binary_erosion

    inside = breast(image)
    if view == "MLO":
        inside &= ~pectoral(image, inside)
    return np.asarray(binary_erosion(inside, iterations=max(min(image.shape) // 100, 1)))


def without_small(mask: Mask, told: Mask | None) -> Mask:
    """Return a mask without isolated small regions, and without those that ``told`` does not touch."""
    from skimage.measure import label

    components = label(mask)
    counts = np.bincount(components.ravel())
    counts[0] = 0
    if told is not None:
        touched = np.bincount(components[told], minlength=len(counts)) > 0
        counts[~touched] = 0
    kept = counts > SMALL * counts.max(initial=0)
    return np.asarray(kept[components])
