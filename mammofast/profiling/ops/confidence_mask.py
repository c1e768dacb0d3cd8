"""P4's eq. 1 as a picture: ours beside sums over arrays."""

from functools import partial

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest
from mammofast.profiling.ops.drawing import SHAPE, Boxes, overlapping_boxes
from mammofast.profiling.ops.peers import beside, peer

SCALES = 5
TOLERANCE = 1e-5  # ours sums units of 2**-20, the others float32
Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.float32]


def _case(count: int, name: str) -> Contest:
    boxes, scores = overlapping_boxes(count, SCALES, np.random.default_rng(count))
    ways, left_out = beside(PEERS, boxes, scores)
    return Contest(
        name,
        "the picture of a report; fusion itself needs no raster",
        partial(ops.confidence_mask, boxes.astype(np.float32), scores, SCALES, SHAPE),
        ways,
        smallest=partial(ops.confidence_mask, np.empty((0, 4), np.float32), scores[:0], SCALES, (1, 1)),
        left_out=left_out,
    )


def full_masks(boxes: Boxes, scores: Scores) -> Mask:
    """Eq. 1 as it is written: a full mask for each box, and their sum."""
    total = np.zeros(SHAPE, np.float32)
    for (x_min, y_min, x_max, y_max), score in zip(boxes, scores, strict=True):
        mask = np.zeros(SHAPE, np.float32)
        mask[y_min:y_max, x_min:x_max] = score
        total += mask
    return np.asarray(total / np.float32(SCALES * scores.max()))


def slice_sums(boxes: Boxes, scores: Scores) -> Mask:
    """Sum on the boxes' slices of one canvas."""
    total = np.zeros(SHAPE, np.float32)
    weights = scores / np.float32(SCALES * scores.max())
    for (x_min, y_min, x_max, y_max), weight in zip(boxes, weights, strict=True):
        total[y_min:y_max, x_min:x_max] += weight
    return total


def _close(ours: Mask, other: Mask) -> bool:
    return bool(np.abs(ours - other).max() <= TOLERANCE)


PEERS = (
    peer("full masks, NumPy", (), full_masks, _close),
    peer("slice sums, NumPy", (), slice_sums, _close),
)
CASES = {f"confidence_mask, {count} boxes, 4096 x 3328": partial(_case, count) for count in (50, 200)}
