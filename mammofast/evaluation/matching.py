"""Which candidate found which mass."""

import numpy as np
import numpy.typing as npt


def match_boxes(
    boxes: npt.ArrayLike,
    confidences: npt.ArrayLike,
    truth: npt.ArrayLike,
    iou_threshold: float = 0.5,
    *,
    strict: bool = False,
) -> npt.NDArray[np.int64]:
    """Match the candidates of one image or volume to its masses, one to one.

    By falling confidence, ties by lower index, each candidate takes the free mass that it overlaps most, ties by lower
    index, where their IoU is at least the threshold. What finds none is a false positive, a second candidate on a mass
    included.

    Parameters
    ----------
    boxes, truth: (n, 4) and (m, 4), (x_min, y_min, x_max, y_max), half-open; or, of volumes, (n, 6) and (m, 6),
        (x_min, y_min, z_min, x_max, y_max, z_max). confidences: (n,).
    strict: the IoU has to be above the threshold.

    Returns
    -------
    (n,) the index of each candidate's mass, -1 for false positives.

    """
    candidates, masses = _checked("boxes", boxes), _checked("truth", truth)
    ranks = np.asarray(confidences, dtype=np.float64)
    if ranks.shape != (len(candidates),):
        raise ValueError(f"confidences: got shape {ranks.shape}, expected one for each of {len(candidates)} boxes")
    matched = np.full(len(candidates), -1, dtype=np.int64)
    if not masses.size or not candidates.size:
        return matched
    if candidates.shape[1] != masses.shape[1]:
        raise ValueError(f"truth: got {masses.shape[1]} numbers a box, expected {candidates.shape[1]}, as in boxes")
    inter, union = _overlaps(candidates, masses)
    # Compared without a division, so that a threshold such as one half is met exactly.
    overlap = np.greater if strict else np.greater_equal
    eligible = overlap(inter, iou_threshold * union) & (union > 0)
    ious = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    free = np.ones(len(masses), dtype=bool)
    for i in np.argsort(-ranks, kind="stable"):
        open_ious = np.where(eligible[i] & free, ious[i], -1.0)
        best = int(np.argmax(open_ious))
        if open_ious[best] >= 0:
            matched[i] = best
            free[best] = False
    return matched


def _checked(name: str, boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    found = np.asarray(boxes, dtype=np.float64)
    if not found.size:
        return np.empty((0, 4))
    if found.ndim != 2 or found.shape[1] not in (4, 6):
        raise ValueError(f"{name}: got shape {found.shape}, expected (n, 4) or (n, 6)")
    return found


def _overlaps(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return intersection and union, areas or volumes, of all pairs, each (n, m)."""
    (a_low, a_high), (b_low, b_high) = np.split(a, 2, axis=1), np.split(b, 2, axis=1)
    sides = np.minimum(a_high[:, None], b_high[None]) - np.maximum(a_low[:, None], b_low[None])
    inter = np.prod(np.clip(sides, 0, None), axis=2)
    of_a, of_b = (np.prod(np.clip(high - low, 0, None), axis=1) for low, high in ((a_low, a_high), (b_low, b_high)))
    return inter, of_a[:, None] + of_b[None, :] - inter
