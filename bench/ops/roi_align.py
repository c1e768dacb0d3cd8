"""RoI Align of a stride-16 map of 1,024 channels: ours beside ONNX Runtime's."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper

from bench.harness import interleave, report
from mammofast import ops

CHANNELS, ROWS, COLS = 1024, 63, 38  # a mammogram of 1,000 x 600 pixels in a C4 network
SCALE, GRID = 1 / 16, (7, 7)
TOLERANCE = 1e-6
Features = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.float32]


def cases(rounds: int) -> list[dict[str, Any]]:
    """Return few and many boxes, and the adaptive sampling that older networks were trained with."""
    return [_case(count, ratio, rounds) for count, ratio in ((1, 2), (30, 2), (300, 2), (300, 0))]


def _case(count: int, ratio: int, rounds: int) -> dict[str, Any]:
    rng = np.random.default_rng(count)
    features = rng.standard_normal((1, CHANNELS, ROWS, COLS), dtype=np.float32)
    boxes, index = draw_boxes(count, rng), np.zeros(count, np.int64)
    session = onnx_session(ratio)
    feed = {"features": features, "boxes": boxes, "index": index}
    ways = {
        "mammofast": partial(ops.roi_align, features, boxes, index, GRID, SCALE, ratio),
        "ONNX Runtime RoiAlign": lambda: session.run(None, feed)[0],
    }
    ours, theirs = ways["mammofast"](), ways["ONNX Runtime RoiAlign"]()
    largest = float(np.abs(ours - theirs).max())
    assert largest <= TOLERANCE * np.abs(features).max(), largest
    return report(
        f"roi_align, {count} boxes, sampling ratio {ratio}",
        f"{CHANNELS} channels of {ROWS} x {COLS}, {GRID[0]} x {GRID[1]} bins: one image in Faster R-CNN C4",
        interleave(ways, rounds),
        "mammofast",
        largest_difference=largest,
    )


def draw_boxes(count: int, rng: np.random.Generator) -> Boxes:
    """Return boxes of the image, sides 20 to 400 pixels, clipped to it as proposals are."""
    limits = np.array([COLS, ROWS]) / SCALE
    half = np.exp(rng.uniform(np.log(10), np.log(200), (count, 2)))
    centres = rng.uniform(0, limits, (count, 2))
    return np.concatenate([(centres - half).clip(0), (centres + half).clip(None, limits)], axis=1).astype(np.float32)


def onnx_session(sampling_ratio: int) -> onnxruntime.InferenceSession:
    """Return a network of the one node."""
    inputs = {
        "features": (TensorProto.FLOAT, [None, CHANNELS, ROWS, COLS]),
        "boxes": (TensorProto.FLOAT, [None, 4]),
        "index": (TensorProto.INT64, [None]),
    }
    node = helper.make_node(
        "RoiAlign",
        list(inputs),
        ["aligned"],
        output_height=GRID[0],
        output_width=GRID[1],
        spatial_scale=SCALE,
        sampling_ratio=sampling_ratio,
        coordinate_transformation_mode="half_pixel",
    )
    graph = helper.make_graph(
        [node],
        "roi_align",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info("aligned", TensorProto.FLOAT, [None, CHANNELS, *GRID])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
