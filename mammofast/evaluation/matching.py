"""Which candidate found which mass."""

import numpy as np
import numpy.typing as npt


def match_boxes(
    boxes: npt.ArrayLike, confidences: npt.ArrayLike, truth: npt.ArrayLike, iou_threshold: float = 0.5
) -> npt.NDArray[np.int64]:
    """Match the candidates of one image to its masses, one to one.

    By falling confidence, ties by lower index, each candidate takes the free mass that it overlaps most, ties by lower
    index, where their IoU is at least the threshold. What finds none is a false positive, a second candidate on a mass
    included.

    Parameters
    ----------
    boxes, truth: (n, 4) and (m, 4), (x_min, y_min, x_max, y_max), half-open. confidences: (n,).

    Returns
    -------
    (n,) the index of each candidate's mass, -1 for false positives.

    """
    candidates = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    masses = np.asarray(truth, dtype=np.float64).reshape(-1, 4)
    ranks = np.asarray(confidences, dtype=np.float64)
    if ranks.shape != (len(candidates),):
        raise ValueError(f"confidences: got shape {ranks.shape}, expected one for each of {len(candidates)} boxes")
    matched = np.full(len(candidates), -1, dtype=np.int64)
    if not masses.size or not candidates.size:
        return matched
    inter, union = _overlaps(candidates, masses)
    # Compared without a division, so that a threshold such as one half is met exactly.
    eligible = (inter >= iou_threshold * union) & (union > 0)
    ious = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    free = np.ones(len(masses), dtype=bool)
    for i in np.argsort(-ranks, kind="stable"):
        open_ious = np.where(eligible[i] & free, ious[i], -1.0)
        best = int(np.argmax(open_ious))
        if open_ious[best] >= 0:
            matched[i] = best
            free[best] = False
    return matched


def _overlaps(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return intersection and union areas of all pairs, each (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (a, b)]
    return inter, areas[0][:, None] + areas[1][None, :] - inter
