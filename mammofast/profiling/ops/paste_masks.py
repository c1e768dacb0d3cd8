"""Crops of probabilities pasted at native resolution: ours beside OpenCV's tight way and the full-canvas ways."""

from functools import partial

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.profiling.contest import Contest
from mammofast.profiling.ops.drawing import SHAPE, blurred
from mammofast.profiling.ops.peers import beside, peer

CROP = 256
THRESHOLD = 0.5
# Coordinates of grid_sample are float32 in [-1, 1]: along outlines a few pixels fall on the other side.
GRID_SAMPLE_PART = 1e-3
Mask = npt.NDArray[np.bool_]
Crops = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.int32]


def _case(count: int, name: str) -> Contest:
    crops, boxes = draw_crops(count, np.random.default_rng(count))
    ways, left_out = beside(PEERS, crops, boxes)
    ours = partial(ops.paste_masks, crops, boxes, SHAPE, THRESHOLD)
    return Contest(
        name,
        "the candidates of one image; OpenCV's way is at this machine's limit, the other two are what detectors ship",
        ours,
        ways,
        smallest=partial(ops.paste_masks, crops[:0], boxes[:0], (1, 1), THRESHOLD),
        left_out=left_out,
        facts={"pixels_set": int(ours().sum())},
    )


def draw_crops(count: int, rng: np.random.Generator) -> tuple[Crops, Boxes]:
    """Return soft ragged blobs, and boxes inside the image."""
    rows, cols = SHAPE
    y, x = np.mgrid[-1 : 1 : CROP * 1j, -1 : 1 : CROP * 1j]
    crops = []
    for _ in range(count):
        rough = blurred(rng.standard_normal((CROP, CROP)), 6) * 6
        crops.append(1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.7) + rough)))
    sides = rng.integers(300, 900, (count, 2))
    low = rng.integers(0, np.array([cols, rows]) - sides)
    return np.array(crops, np.float32), np.concatenate([low, low + sides], axis=1).astype(np.int32)


def tight(crops: Crops, boxes: Boxes) -> Mask:
    """Stretch each crop to its box, cut, OR it into the canvas."""
    import cv2

    mask = np.zeros(SHAPE, bool)
    for crop, (x_min, y_min, x_max, y_max) in zip(crops, boxes, strict=True):
        stretched = cv2.resize(crop, (int(x_max - x_min), int(y_max - y_min)), interpolation=cv2.INTER_LINEAR)
        mask[y_min:y_max, x_min:x_max] |= stretched >= THRESHOLD
    return mask


def float_canvases(crops: Crops, boxes: Boxes) -> Mask:
    """Give each crop a canvas of floats, take the largest, cut."""
    import cv2

    total = np.zeros(SHAPE, np.float32)
    for crop, (x_min, y_min, x_max, y_max) in zip(crops, boxes, strict=True):
        canvas = np.zeros(SHAPE, np.float32)
        canvas[y_min:y_max, x_min:x_max] = cv2.resize(crop, (int(x_max - x_min), int(y_max - y_min)))
        np.maximum(total, canvas, out=total)
    return np.asarray(total >= THRESHOLD)


def grid_sample(crops: Crops, boxes: Boxes) -> Mask:
    """Sample every pixel of the canvas from each crop, as Detectron2 pastes masks when it pastes them in one batch."""
    import torch

    rows, cols = SHAPE
    mask = np.zeros(SHAPE, bool)
    for crop, (x_min, y_min, x_max, y_max) in zip(torch.from_numpy(crops), boxes, strict=True):
        y = (torch.arange(rows) + 0.5 - float(y_min)) / float(y_max - y_min) * 2 - 1
        x = (torch.arange(cols) + 0.5 - float(x_min)) / float(x_max - x_min) * 2 - 1
        grid = torch.stack([x[None].expand(rows, cols), y[:, None].expand(rows, cols)], dim=2)
        stretched = torch.nn.functional.grid_sample(
            crop[None, None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        mask |= (stretched[0, 0] >= THRESHOLD).numpy()
    return mask


def _nearly(ours: Mask, other: Mask) -> bool:
    return bool(np.count_nonzero(ours != other) <= GRID_SAMPLE_PART * ours.sum())


PEERS = (
    peer("OpenCV resize, threshold, paste", ("cv2",), tight, np.array_equal),
    peer("a float canvas for each mask (OpenCV)", ("cv2",), float_canvases, np.array_equal),
    peer("torch grid_sample on the full canvas", ("torch",), grid_sample, _nearly),
)
CASES = {
    f"paste_masks, {count} of {CROP} x {CROP}, boxes 300 to 900 pixels": partial(_case, count) for count in (1, 2, 5)
}
