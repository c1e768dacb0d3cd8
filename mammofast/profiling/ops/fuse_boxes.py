"""P4's eq. 1 with its threshold: ours on the grid of box edges, the others on a raster."""

from functools import partial

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.errors import ProfilingError
from mammofast.profiling.contest import Contest, Way
from mammofast.profiling.ops.drawing import SHAPE, Boxes, disjoint_boxes, overlapping_boxes
from mammofast.profiling.ops.peers import beside, peer

SCALES = 5
THRESHOLD = 0.6
Scores = npt.NDArray[np.float32]


def _overlapping(count: int, name: str) -> Contest:
    boxes, scores = overlapping_boxes(count, SCALES, np.random.default_rng(count))
    ways, left_out = beside(PEERS, boxes, scores)
    ours = partial(ops.fuse_boxes, boxes.astype(np.float32), scores, SCALES, SHAPE, THRESHOLD)
    return Contest(
        name,
        "what five scales of a detector leave after NMS on an image with few (50) or many (200) suspicious places",
        ours,
        ways,
        smallest=_smallest(THRESHOLD),
        left_out=left_out,
        facts={"fused_boxes": len(ours().boxes)},
    )


def _growth(name: str) -> Contest:
    """Return how the cost grows where boxes do not meet: a whole night's worst image, and no grid to share."""
    few, many = [_disjoint(count) for count in (1000, 4000)]
    calls = [
        partial(ops.fuse_boxes, boxes.astype(np.float32), scores, SCALES, SHAPE, 0.0) for boxes, scores in (few, many)
    ]
    if not np.array_equal(calls[0]().boxes, in_order(few[0])):
        raise ProfilingError(f"{name}: boxes that do not meet did not come back as they were")
    return Contest(
        name,
        "boxes that do not meet should cost hardly more than sorting them: 4 times as many at most 6 times the time",
        calls[0],
        {"4000 boxes": Way(calls[1], lambda _few, fused: np.array_equal(fused.boxes, in_order(many[0])))},
        smallest=_smallest(0.0),
        called="1000 boxes",
    )


def _disjoint(count: int) -> tuple[Boxes, Scores]:
    return disjoint_boxes(count, np.random.default_rng(count))


def _smallest(threshold: float) -> partial[ops.FusedBoxes]:
    return partial(ops.fuse_boxes, np.empty((0, 4), np.float32), np.empty(0, np.float32), SCALES, SHAPE, threshold)


def usual_way(
    boxes: Boxes,
    scores: Scores,
    n_scales: int = SCALES,
    shape: tuple[int, int] = SHAPE,
    threshold: float = THRESHOLD,
) -> Boxes:
    """Eq. 1 as it is written: a full mask for each box, their sum, a threshold, labels, boxes of the labels."""
    from skimage.measure import label, regionprops

    total = np.zeros(shape, np.float32)
    for (x_min, y_min, x_max, y_max), score in zip(boxes, scores, strict=True):
        mask = np.zeros(shape, np.float32)
        mask[y_min:y_max, x_min:x_max] = score
        total += mask
    kept = total >= np.float32(threshold * n_scales * scores.max())
    found = [region.bbox for region in regionprops(label(kept, connectivity=2))]
    return in_order([(x_min, y_min, x_max, y_max) for y_min, x_min, y_max, x_max in found])


def best_raster(boxes: Boxes, scores: Scores) -> Boxes:
    """Sums on the boxes' slices of one canvas, and OpenCV's contours, the fastest way found to boxes of components."""
    import cv2

    total = np.zeros(SHAPE, np.float32)
    for (x_min, y_min, x_max, y_max), score in zip(boxes, scores, strict=True):
        total[y_min:y_max, x_min:x_max] += score
    kept = total >= np.float32(THRESHOLD * SCALES * float(scores.max()))
    contours, hierarchy = cv2.findContours(kept.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [contour for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True) if parent < 0]
    return in_order([(x, y, x + w, y + h) for x, y, w, h in map(cv2.boundingRect, outer)])


def in_order(boxes: npt.ArrayLike) -> Boxes:
    """Return boxes by (y_min, x_min, y_max, x_max)."""
    array = np.asarray(boxes, np.int64).reshape(-1, 4)
    return array[np.lexsort(array.T[[2, 3, 0, 1]])]


def _same(fused: ops.FusedBoxes, found: Boxes) -> bool:
    return np.array_equal(fused.boxes, found)


PEERS = (
    peer("full masks, scikit-image", ("skimage",), usual_way, _same),
    peer("slice sums, OpenCV contours", ("cv2",), best_raster, _same),
)
CASES = {
    **{f"fuse_boxes, {count} boxes, 4096 x 3328": partial(_overlapping, count) for count in (50, 200)},
    "fuse_boxes, disjoint boxes, 1,000 to 4,000": _growth,
}
