"""Greedy NMS: ours beside lsnms, OpenCV, ONNX Runtime and ensemble-boxes."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest, Way
from mammofast.profiling.ops.one_node import feed, session
from mammofast.profiling.ops.peers import Peer, beside

THRESHOLD = 0.5
SIZES = (100, 1_000, 10_000)
REASONS = {
    "uniform": "4,000 x 4,000 field, sides 50 to 600: boxes all over an image, as a detector gives at a low threshold",
    "clustered": "20 boxes around each place: what a detector gives around what it is sure of, most of it suppressed",
    "spread": "40,000 x 40,000 field: a slide or a mosaic where hardly two boxes meet, the home ground of trees",
}
Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


def _case(field: str, count: int, name: str) -> Contest:
    boxes, scores = draw_boxes(field, count, np.random.default_rng(count))
    ways, left_out = beside(PEERS, boxes, scores)
    return Contest(
        name,
        REASONS[field],
        # The op is looked up at each call, as callers do.
        lambda: ops.nms(boxes, scores, THRESHOLD),
        ways,
        smallest=lambda: ops.nms(boxes[:0], scores[:0], THRESHOLD),
        left_out=left_out,
        facts={"kept": len(ops.nms(boxes, scores, THRESHOLD))},
    )


def draw_boxes(field: str, count: int, rng: np.random.Generator) -> tuple[Boxes, Scores]:
    """Return float32 boxes of sides 50 to 600 and scores, no two alike."""
    side = 40_000 if field == "spread" else 4_000
    sides = rng.uniform(50, 600, (count, 2))
    if field == "clustered":
        places = -(-count // 20)
        centres = rng.uniform(0, side, (places, 2)).repeat(20, axis=0)[:count]
        sides = rng.uniform(50, 600, (places, 2)).repeat(20, axis=0)[:count] * rng.uniform(0.8, 1.25, (count, 2))
        low = centres + rng.normal(0, 0.1, (count, 2)) * sides - sides / 2
    else:
        low = rng.uniform(0, side - sides)
    boxes = np.concatenate([low, low + sides], axis=1)
    return boxes.astype(np.float32), ((rng.permutation(count) + 1) / (count + 1)).astype(np.float32)


def by_lsnms_rust(boxes: Boxes, scores: Scores) -> Way:
    """Return lsnms as it is installed today."""
    import lsnms

    return Way(partial(lsnms.nms, boxes, scores, THRESHOLD), np.array_equal)


def by_lsnms_numba(boxes: Boxes, scores: Scores) -> Way:
    """Return lsnms as its paper describes it."""
    import lsnms

    double = boxes.astype(np.float64), scores.astype(np.float64)
    return Way(partial(lsnms.nms, *double, THRESHOLD, backend="numba"), np.array_equal)


def by_opencv(boxes: Boxes, scores: Scores) -> Way:
    """Return OpenCV's, of corners and sizes."""
    import cv2

    double = boxes.astype(np.float64)
    corner_and_size = np.concatenate([double[:, :2], double[:, 2:] - double[:, :2]], axis=1)
    suppress: Any = cv2.dnn.NMSBoxes  # its stubs know no arrays
    return Way(partial(suppress, corner_and_size, scores, 0.0, THRESHOLD), np.array_equal)


def by_onnxruntime(boxes: Boxes, scores: Scores) -> Way:
    """Return the operator NonMaxSuppression."""
    count = len(boxes)
    running = session(
        "NonMaxSuppression",
        {
            "boxes": (np.float32, [1, count, 4]),
            "scores": (np.float32, [1, 1, count]),
            "most": (np.int64, [1]),
            "iou_threshold": (np.float32, [1]),
        },
        (np.int64, [None, 3]),
    )
    inputs = feed(
        boxes=boxes[None, :, [1, 0, 3, 2]],
        scores=scores[None, None],
        most=np.array([count]),
        iou_threshold=np.array([THRESHOLD], np.float32),
    )
    return Way(lambda: running.run(None, inputs)[0][:, 2], np.array_equal)


def by_ensemble_boxes(boxes: Boxes, scores: Scores) -> Way:
    """Return ensemble-boxes', which gives boxes and scores."""
    import ensemble_boxes

    double = boxes.astype(np.float64)
    # It clips to [0, 1]; a shift and a scale of all boxes change no overlap.
    unit = (double - double.min()) / (double.max() - double.min())
    arguments = [unit], [scores.astype(np.float64)], [np.zeros(len(boxes))]
    return Way(
        partial(ensemble_boxes.nms, *arguments, iou_thr=THRESHOLD),
        lambda kept, found: np.array_equal(found[1], scores[kept]),
    )


PEERS = (
    Peer("lsnms, Rust", ("lsnms",), by_lsnms_rust),
    Peer("lsnms, Numba", ("lsnms", "numba"), by_lsnms_numba),
    Peer("cv2.dnn.NMSBoxes", ("cv2",), by_opencv),
    Peer("ONNX Runtime NonMaxSuppression", ("onnxruntime", "onnx"), by_onnxruntime),
    Peer("ensemble-boxes", ("ensemble_boxes",), by_ensemble_boxes),
)
CASES = {f"nms, {field}, {count}": partial(_case, field, count) for field in REASONS for count in SIZES}
