"""Greedy NMS: ours beside lsnms, OpenCV, ONNX Runtime and ensemble-boxes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import ensemble_boxes
import lsnms
import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper

from bench.harness import interleave, report
from mammofast import ops

THRESHOLD = 0.5
SIZES = (100, 1_000, 10_000)
REASONS = {
    "uniform": "4,000 x 4,000 field, sides 50 to 600: boxes all over an image, as a detector gives at a low threshold",
    "clustered": "20 boxes around each place: what a detector gives around what it is sure of, most of it suppressed",
    "spread": "40,000 x 40,000 field: a slide or a mosaic where hardly two boxes meet, the home ground of trees",
}
Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


def cases(rounds: int) -> list[dict[str, Any]]:
    """Return every field at every size."""
    return [_case(field, count, rounds) for field in REASONS for count in SIZES]


def _case(field: str, count: int, rounds: int) -> dict[str, Any]:
    boxes, scores = draw_boxes(field, count, np.random.default_rng(count))
    ways = peers(boxes, scores)
    ways["mammofast"] = partial(ops.nms, boxes, scores, THRESHOLD)
    kept = ways["mammofast"]()
    for name, way in ways.items():
        found = way()
        expected = kept if name != "ensemble-boxes" else scores[kept]
        np.testing.assert_array_equal(found if name != "ensemble-boxes" else found[1], expected, err_msg=name)
    record = report(f"nms, {field}, {count}", REASONS[field], interleave(ways, rounds), "mammofast", kept=len(kept))
    best = min(record["ratio_to_ours"], key=record["ratio_to_ours"].__getitem__)
    return record | {"best_peer": best, "ratio_of_best_peer": record["ratio_to_ours"][best]}


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


def peers(boxes: Boxes, scores: Scores) -> dict[str, Callable[[], Any]]:
    """Return every peer as a call on its own favourite form of the same boxes."""
    count = len(boxes)
    double, double_scores = boxes.astype(np.float64), scores.astype(np.float64)
    corner_and_size = np.concatenate([double[:, :2], double[:, 2:] - double[:, :2]], axis=1)
    # ensemble-boxes clips to [0, 1]; a shift of all boxes changes no overlap.
    unit = (double - double.min()) / (double.max() - double.min())
    labels = np.zeros(count)
    session, feed = _onnxruntime(boxes, scores)
    return {
        "lsnms, Rust": partial(lsnms.nms, boxes, scores, THRESHOLD),
        "lsnms, Numba": partial(lsnms.nms, double, double_scores, THRESHOLD, backend="numba"),
        "cv2.dnn.NMSBoxes": partial(cv2.dnn.NMSBoxes, corner_and_size, scores, 0.0, THRESHOLD),
        "ONNX Runtime NonMaxSuppression": lambda: session.run(None, feed)[0][:, 2],
        "ensemble-boxes": partial(ensemble_boxes.nms, [unit], [double_scores], [labels], iou_thr=THRESHOLD),
    }


def _onnxruntime(boxes: Boxes, scores: Scores) -> tuple[onnxruntime.InferenceSession, dict[str, npt.NDArray[Any]]]:
    count = len(boxes)
    inputs = {
        "boxes": (TensorProto.FLOAT, [1, count, 4]),
        "scores": (TensorProto.FLOAT, [1, 1, count]),
        "most": (TensorProto.INT64, [1]),
        "iou_threshold": (TensorProto.FLOAT, [1]),
    }
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", list(inputs), ["kept"])],
        "nms",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, [None, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {
        "boxes": boxes[None, :, [1, 0, 3, 2]],
        "scores": scores[None, None],
        "most": np.array([count]),
        "iou_threshold": np.array([THRESHOLD], np.float32),
    }
    return session, {name: np.ascontiguousarray(value) for name, value in feed.items()}
