"""How far apart the outlines of two masks are."""

import numpy as np
import numpy.typing as npt


def hausdorff(
    prediction: npt.ArrayLike,
    truth: npt.ArrayLike,
    spacing: float | tuple[float, ...] = 1.0,
    percentile: float = 100.0,
) -> float:
    """Return the Hausdorff distance between two masks, P2's eq. 13 on pixel coordinates.

    The greatest distance from a pixel of one mask to the nearest pixel of the other, whichever way is greater. P2's
    own values (2.96 at 256 x 256) grow with the square root of the image's size, which no distance in pixels does;
    they are not what this returns.

    Parameters
    ----------
    prediction, truth: arrays of one shape, of any number of dimensions; what is not zero is mass.
    spacing: the size of a pixel along each axis, such as (row, column) spacing in mm; 1 for pixels.
    percentile: of the distances of each way; 95 is the usual "HD95", which forgives stray pixels. Interpolated
        linearly between ranks.

    Returns
    -------
    float, in the unit of ``spacing``. 0 where both masks are empty, infinity where one is.

    """
    from scipy.ndimage import distance_transform_edt

    p, t = np.asarray(prediction) != 0, np.asarray(truth) != 0
    if p.shape != t.shape:
        raise ValueError(f"prediction: got shape {p.shape}, expected the truth's {t.shape}")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile: got {percentile}, expected 0 to 100")
    if not (p.any() and t.any()):
        return float("inf") if p.any() or t.any() else 0.0
    p, t = _cut(p, t)
    sampling = np.broadcast_to(np.asarray(spacing, dtype=np.float64), p.ndim)
    there = distance_transform_edt(~t, sampling=sampling)[p]
    back = distance_transform_edt(~p, sampling=sampling)[t]
    return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))


def _cut(p: npt.NDArray[np.bool_], t: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return both masks without the margins that neither of them reaches: a mammogram is mostly that."""
    window = []
    for axis in range(p.ndim):
        others = tuple(other for other in range(p.ndim) if other != axis)
        reached = np.flatnonzero(np.any(p | t, axis=others))
        window.append(slice(reached[0], reached[-1] + 1))
    return p[tuple(window)], t[tuple(window)]
