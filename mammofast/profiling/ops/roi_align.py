"""RoI Align of a stride-16 map of 1,024 channels: ours beside ONNX Runtime's."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest, Way
from mammofast.profiling.ops.one_node import feed, session
from mammofast.profiling.ops.peers import Peer, beside

CHANNELS, ROWS, COLS = 1024, 63, 38  # a mammogram of 1,000 x 600 pixels in a C4 network
SCALE, GRID = 1 / 16, (7, 7)
TOLERANCE = 1e-6
Array = npt.NDArray[Any]


def _case(count: int, ratio: int, name: str) -> Contest:
    rng = np.random.default_rng(count)
    features = rng.standard_normal((1, CHANNELS, ROWS, COLS), dtype=np.float32)
    boxes, index = draw_boxes(count, rng), np.zeros(count, np.int64)
    ways, left_out = beside(PEERS, features, boxes, index, ratio)
    return Contest(
        name,
        f"{CHANNELS} channels of {ROWS} x {COLS}, {GRID[0]} x {GRID[1]} bins: one image in Faster R-CNN C4",
        partial(ops.roi_align, features, boxes, index, GRID, SCALE, ratio),
        ways,
        smallest=partial(ops.roi_align, features[:, :1, :1, :1], boxes[:0], index[:0], GRID, SCALE, ratio),
        left_out=left_out,
    )


def draw_boxes(count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return boxes of the image, sides 20 to 400 pixels, clipped to it as proposals are."""
    limits = np.array([COLS, ROWS]) / SCALE
    half = np.exp(rng.uniform(np.log(10), np.log(200), (count, 2)))
    centres = rng.uniform(0, limits, (count, 2))
    return np.concatenate([(centres - half).clip(0), (centres + half).clip(None, limits)], axis=1).astype(np.float32)


def by_onnxruntime(features: Array, boxes: Array, index: Array, ratio: int) -> Way:
    """Return the operator RoiAlign."""
    running = session(
        "RoiAlign",
        {
            "features": (np.float32, [None, CHANNELS, ROWS, COLS]),
            "boxes": (np.float32, [None, 4]),
            "index": (np.int64, [None]),
        },
        (np.float32, [None, CHANNELS, *GRID]),
        output_height=GRID[0],
        output_width=GRID[1],
        spatial_scale=SCALE,
        sampling_ratio=ratio,
        coordinate_transformation_mode="half_pixel",
    )
    inputs = feed(features=features, boxes=boxes, index=index)
    largest = float(np.abs(features).max())
    return Way(
        lambda: running.run(None, inputs)[0],
        lambda ours, other: bool(np.abs(ours - other).max() <= TOLERANCE * largest),
    )


PEERS = (Peer("ONNX Runtime RoiAlign", ("onnxruntime", "onnx"), by_onnxruntime),)
CASES = {
    # Few and many boxes, and the adaptive sampling (0) that older networks were trained with.
    f"roi_align, {count} boxes, sampling ratio {ratio}": partial(_case, count, ratio)
    for count, ratio in ((1, 2), (30, 2), (300, 2), (300, 0))
}
