"""What P1 does before its classic baselines: the breast is told from air, and the pectoral muscle is taken out."""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
# Of a mediolateral oblique view, from the corner at the chest wall: how far the muscle can reach, of width and height.
_REACH = (0.6, 0.8)


def breast(image: Image) -> Mask:
    """Return the largest thing that is brighter than air, holes filled; of an image of one value nothing.

    Air is the darker of Otsu's two classes of the lower part of the greys: tissue is far brighter.
    """
    from scipy.ndimage import binary_fill_holes
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    low, high = float(image.min()), float(image.max())
    if high <= low:
        return np.zeros(image.shape, np.bool_)
    # Air is one sharp peak at the bottom: Otsu's threshold of all greys would part gland from fat.
    tissue = image > min(float(threshold_otsu(image)), low + 0.05 * (high - low))
    components = label(tissue)
    counts = np.bincount(components.ravel())
    counts[0] = 0
    return np.asarray(binary_fill_holes(components == counts.argmax()))


def pectoral(image: Image, inside: Mask) -> Mask:
    """Return the pectoral muscle of a mediolateral oblique view, by its place and its grey, as P1 says.

    Of what is brighter than Otsu's threshold of the breast and lies in the triangle at the upper corner of the chest
    wall's side, the part that holds the corner.
    """
    from scipy.ndimage import binary_opening
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    if not inside.any() or np.ptp(image[inside]) == 0:
        return np.zeros(image.shape, np.bool_)
    flipped = _chest_is_right(inside)
    view, body = (image[:, ::-1], inside[:, ::-1]) if flipped else (image, inside)
    rows, cols = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    width, height = _REACH[0] * len(cols), _REACH[1] * len(rows)
    triangle = (x - cols[0]) / width + (y - rows[0]) / height < 1
    bright = body & triangle & (view > threshold_otsu(view[body & triangle]))
    bright = binary_opening(bright, iterations=2)
    components = label(bright)
    corner = components[rows[0] : rows[0] + max(len(rows) // 8, 1), cols[0] : cols[0] + max(len(cols) // 8, 1)]
    held = np.bincount(corner[corner > 0].ravel(), minlength=1)
    found = components == held.argmax() if held.any() else np.zeros(image.shape, np.bool_)
    return np.ascontiguousarray(found[:, ::-1] if flipped else found)


def _chest_is_right(inside: Mask) -> bool:
    """Say whether the breast touches the right edge more than the left."""
    edge = max(inside.shape[1] // 50, 1)
    return int(inside[:, -edge:].sum()) > int(inside[:, :edge].sum())


def window_around(told: Mask) -> tuple[slice, slice]:
    """Return the rows and columns around a place that was pointed out, twice its size away on each side."""
    return tuple(  # type: ignore[return-value]
        slice(max(first - 2 * (last - first), 0), last + 2 * (last - first))
        for first, last in ((int(f.min()), int(f.max()) + 1) for f in np.nonzero(told))
    )
