"""Boxes found slice by slice, linked into boxes of the volume.

P5 says that nearby boxes "in the space would be merged into one candidate", and no more. Here two boxes belong together
where they overlap enough and no more than so many slices lie between theirs; what belongs together through others
belongs together. A candidate is the smallest box around its members and has the highest of their scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.methods.parameters import is_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """When boxes of different slices are of one mass.

    min_iou: of two boxes, laid on one another; from this on they are linked. max_gap: slices that may lie between.
    min_slices: candidates seen in fewer slices are left out.
    """

    min_iou: float = 0.5
    max_gap: int = 0
    min_slices: int = 1

    def __post_init__(self) -> None:
        if not is_number(self.min_iou) or not 0 < self.min_iou <= 1:
            raise ValueError(f"min_iou: got {self.min_iou!r}, expected a number above 0 and at most 1")
        for name, least in (("max_gap", 0), ("min_slices", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}: got {value!r}, expected a whole number, {least} or more")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One mass candidate of a volume.

    box: (x_min, y_min, z_min, x_max, y_max, z_max), half-open; z in slices. score: the highest of its members'.
    members: their indices, rising.
    """

    box: tuple[float, float, int, float, float, int]
    score: float
    members: tuple[int, ...]


def link_slices(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    slices: npt.NDArray[np.integer],
    rule: Linking,
) -> list[Candidate]:
    """Link the boxes of all slices of a volume.

    Two boxes of one slice are never linked directly: non-maximum suppression has let both stand.

    Parameters
    ----------
    boxes: (n, 4), (x_min, y_min, x_max, y_max), half-open. scores: (n,). slices: (n,), which slice each is of.
    rule: see :class:`Linking`.

    Returns
    -------
    Candidates by falling score, ties by the lowest of their members' indices.

    Raises
    ------
    ValueError
        When the shapes do not agree, or a number is not finite.

    """
    if boxes.ndim != 2 or boxes.shape[1:] != (4,) or not scores.shape == slices.shape == boxes.shape[:1]:
        raise ValueError(
            f"boxes, scores, slices: got shapes {boxes.shape}, {scores.shape} and {slices.shape}, "
            "expected (n, 4), (n,) and (n,)"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes, scores: got NaN or infinity, expected numbers")
    parents = list(range(len(boxes)))
    by_slice = {int(z): np.flatnonzero(slices == z) for z in np.unique(slices)}
    for z, here in by_slice.items():
        for step in range(1, rule.max_gap + 2):
            there = by_slice.get(z + step)
            if there is not None:
                for i, j in np.argwhere(_overlap_enough(boxes[here], boxes[there], rule.min_iou)):
                    _join(parents, int(here[i]), int(there[j]))
    groups: dict[int, list[int]] = {}
    for i in range(len(boxes)):
        groups.setdefault(_root(parents, i), []).append(i)
    candidates = [_candidate(boxes, scores, slices, members) for members in groups.values()]
    seen = [c for c in candidates if len({int(slices[i]) for i in c.members}) >= rule.min_slices]
    return sorted(seen, key=lambda candidate: (-candidate.score, candidate.members[0]))


def _overlap_enough(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], least: float) -> npt.NDArray[np.bool_]:
    """Return whether IoU >= least for all pairs, (n, m), without a division, so that a threshold is met exactly."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inter = sides.clip(0).prod(axis=2)
    areas = [(x[:, 2:] - x[:, :2]).clip(0).prod(axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - inter
    return np.asarray((inter >= least * union) & (union > 0))


def _root(parents: list[int], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


def _join(parents: list[int], i: int, j: int) -> None:
    first, second = sorted((_root(parents, i), _root(parents, j)))
    parents[second] = first


def _candidate(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    slices: npt.NDArray[np.integer],
    members: Sequence[int],
) -> Candidate:
    own, depths = boxes[list(members)], slices[list(members)]
    x_min, y_min = own[:, :2].min(axis=0).tolist()
    x_max, y_max = own[:, 2:].max(axis=0).tolist()
    box = (x_min, y_min, int(depths.min()), x_max, y_max, int(depths.max()) + 1)
    return Candidate(box, float(scores[list(members)].max()), tuple(members))
