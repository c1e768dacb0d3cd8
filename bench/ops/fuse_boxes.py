"""P4's eq. 1 with its threshold: ours on the grid of box edges, the others on a raster."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from skimage.measure import label, regionprops

from bench.harness import interleave, report
from mammofast import ops

SHAPE = (4096, 3328)
SCALES = 5
THRESHOLD = 0.6
Boxes = npt.NDArray[np.int64]


def cases(rounds: int) -> list[dict[str, Any]]:
    """Return fusion as detectors feed it, and how its cost grows."""
    return [*(_overlapping(count, rounds) for count in (50, 200)), _growth(rounds)]


def _overlapping(count: int, rounds: int) -> dict[str, Any]:
    boxes, scores = overlapping_boxes(count, np.random.default_rng(count))
    ways: dict[str, Callable[[], Any]] = {
        "mammofast": partial(ours, boxes, scores),
        "full masks, scikit-image": partial(usual_way, boxes, scores),
        "slice sums, OpenCV contours": partial(best_raster, boxes, scores),
    }
    results = {name: way() for name, way in ways.items()}
    fused = results.pop("mammofast")
    for name, found in results.items():
        np.testing.assert_array_equal(found, fused, err_msg=name)
    args = (boxes.astype(np.float32), scores, SCALES, SHAPE, THRESHOLD)
    ways["mammofast"] = partial(ops.fuse_boxes, *args)
    return report(
        f"fuse_boxes, {count} boxes, 4096 x 3328",
        "what five scales of a detector leave after NMS on an image with few (50) or many (200) suspicious places",
        interleave(ways, rounds),
        "mammofast",
        fused_boxes=len(fused),
    )


def _growth(rounds: int) -> dict[str, Any]:
    """Return how the cost grows where boxes do not meet: a whole night's worst image, and no grid to share."""
    ways = {}
    for count in (1000, 4000):
        boxes, scores = disjoint_boxes(count, np.random.default_rng(count))
        np.testing.assert_array_equal(ours(boxes, scores, 0.0), best_raster(boxes, scores, 0.0))
        args = (boxes.astype(np.float32), scores, SCALES, SHAPE, 0.0)
        ways[f"{count} boxes"] = partial(ops.fuse_boxes, *args)
    return report(
        "fuse_boxes, disjoint boxes, 1,000 to 4,000",
        "boxes that do not meet should cost hardly more than sorting them: 4 times as many at most 6 times the time",
        interleave(ways, rounds),
        "1000 boxes",
    )


def overlapping_boxes(count: int, rng: np.random.Generator) -> tuple[Boxes, npt.NDArray[np.float32]]:
    """Return boxes in bunches of five around a place, one of each scale, 150 to 900 pixels wide."""
    rows, cols = SHAPE
    bunches = count // SCALES
    centres = rng.uniform((300, 300), (cols - 300, rows - 300), (bunches, 2)).repeat(SCALES, axis=0)
    sides = rng.uniform(150, 900, (bunches, 1)).repeat(SCALES, axis=0) * rng.uniform(0.8, 1.25, (count, 2))
    centres += rng.normal(0, 0.1, (count, 2)) * sides
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    boxes = np.clip(np.rint(corners), 0, [cols, rows, cols, rows]).astype(np.int64)
    return boxes, rng.uniform(0.3, 1, count).astype(np.float32)


def disjoint_boxes(count: int, rng: np.random.Generator) -> tuple[Boxes, npt.NDArray[np.float32]]:
    """Return boxes each well inside a cell of its own of a regular grid."""
    rows, cols = SHAPE
    across = int(np.ceil(np.sqrt(count)))
    cell = np.array([cols // across, rows // across])
    places = rng.permutation(across * across)[:count]
    low = np.stack([places % across, places // across], axis=1) * cell + rng.integers(2, 6, (count, 2))
    sides = rng.integers(cell // 3, cell - 10, (count, 2))
    return np.concatenate([low, low + sides], axis=1), rng.uniform(0.3, 1, count).astype(np.float32)


def ours(boxes: Boxes, scores: npt.NDArray[np.float32], threshold: float = THRESHOLD) -> Boxes:
    return ops.fuse_boxes(boxes.astype(np.float32), scores, SCALES, SHAPE, threshold).boxes.astype(np.int64)


def usual_way(
    boxes: Boxes,
    scores: npt.NDArray[np.float32],
    n_scales: int = SCALES,
    shape: tuple[int, int] = SHAPE,
    threshold: float = THRESHOLD,
) -> Boxes:
    """Eq. 1 as it is written: a full mask for each box, their sum, a threshold, labels, boxes of the labels."""
    total = np.zeros(shape, np.float32)
    for (x_min, y_min, x_max, y_max), score in zip(boxes, scores, strict=True):
        mask = np.zeros(shape, np.float32)
        mask[y_min:y_max, x_min:x_max] = score
        total += mask
    kept = total >= np.float32(threshold * n_scales * scores.max())
    found = [region.bbox for region in regionprops(label(kept, connectivity=2))]
    return _sorted([(x_min, y_min, x_max, y_max) for y_min, x_min, y_max, x_max in found])


def best_raster(boxes: Boxes, scores: npt.NDArray[np.float32], threshold: float = THRESHOLD) -> Boxes:
    """Sums on the boxes' slices of one canvas, and OpenCV's contours, the fastest way found to boxes of components."""
    total = np.zeros(SHAPE, np.float32)
    for (x_min, y_min, x_max, y_max), score in zip(boxes, scores, strict=True):
        total[y_min:y_max, x_min:x_max] += score
    cut = np.float32(max(threshold * SCALES * float(scores.max()), np.finfo(np.float32).tiny))
    contours, hierarchy = cv2.findContours((total >= cut).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [contour for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True) if parent < 0]
    return _sorted([(x, y, x + w, y + h) for x, y, w, h in map(cv2.boundingRect, outer)])


def _sorted(found: list[tuple[int, ...]]) -> Boxes:
    return np.array(sorted(found, key=lambda box: (box[1], box[0], box[3], box[2])), np.int64).reshape(-1, 4)
