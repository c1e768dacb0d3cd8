"""Crops of probabilities pasted at native resolution: ours beside OpenCV's tight way and the full-canvas ways."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bench.harness import interleave, report
from mammofast import ops

SHAPE = (4096, 3328)
CROP = 256
THRESHOLD = 0.5
# Coordinates of grid_sample are float32 in [-1, 1]: along outlines a few pixels fall on the other side.
GRID_SAMPLE_PART = 1e-3
Mask = npt.NDArray[np.bool_]
Crops = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.int32]


def cases(rounds: int) -> list[dict[str, Any]]:
    """Return one, two and five masks."""
    return [_case(count, rounds) for count in (1, 2, 5)]


def _case(count: int, rounds: int) -> dict[str, Any]:
    rng = np.random.default_rng(count)
    crops, boxes = draw_crops(count, rng)
    ways: dict[str, Callable[[], Mask]] = {
        "mammofast": partial(ops.paste_masks, crops, boxes, SHAPE, THRESHOLD),
        "OpenCV resize, threshold, paste": partial(tight, crops, boxes),
        "a float canvas for each mask (OpenCV)": partial(float_canvases, crops, boxes),
        "torch grid_sample on the full canvas": partial(grid_sample, torch.from_numpy(crops), torch.from_numpy(boxes)),
    }
    results = {name: way() for name, way in ways.items()}
    ours = results.pop("mammofast")
    different = {name: int(np.count_nonzero(found != ours)) for name, found in results.items()}
    assert different.pop("torch grid_sample on the full canvas") <= GRID_SAMPLE_PART * ours.sum(), different
    assert not any(different.values()), different
    return report(
        f"paste_masks, {count} of {CROP} x {CROP}, boxes 300 to 900 pixels",
        "the candidates of one image; OpenCV's way is at this machine's limit, the other two are what detectors ship",
        interleave(ways, rounds),
        "mammofast",
        pixels_set=int(ours.sum()),
        pixels_different_grid_sample=int(
            np.count_nonzero(results["torch grid_sample on the full canvas"] != ours),
        ),
    )


def draw_crops(count: int, rng: np.random.Generator) -> tuple[Crops, Boxes]:
    """Return soft ragged blobs, and boxes inside the image."""
    rows, cols = SHAPE
    y, x = np.mgrid[-1 : 1 : CROP * 1j, -1 : 1 : CROP * 1j]
    crops = []
    for _ in range(count):
        rough = cv2.GaussianBlur(rng.standard_normal((CROP, CROP)), (0, 0), 6) * 6
        crops.append(1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.7) + rough)))
    sides = rng.integers(300, 900, (count, 2))
    low = rng.integers(0, np.array([cols, rows]) - sides)
    return np.array(crops, np.float32), np.concatenate([low, low + sides], axis=1).astype(np.int32)


def tight(crops: Crops, boxes: Boxes) -> Mask:
    """Stretch each crop to its box, cut, OR it into the canvas."""
    mask = np.zeros(SHAPE, bool)
    for crop, (x_min, y_min, x_max, y_max) in zip(crops, boxes, strict=True):
        stretched = cv2.resize(crop, (int(x_max - x_min), int(y_max - y_min)), interpolation=cv2.INTER_LINEAR)
        mask[y_min:y_max, x_min:x_max] |= stretched >= THRESHOLD
    return mask


def float_canvases(crops: Crops, boxes: Boxes) -> Mask:
    """Give each crop a canvas of floats, take the largest, cut."""
    total = np.zeros(SHAPE, np.float32)
    for crop, (x_min, y_min, x_max, y_max) in zip(crops, boxes, strict=True):
        canvas = np.zeros(SHAPE, np.float32)
        canvas[y_min:y_max, x_min:x_max] = cv2.resize(crop, (int(x_max - x_min), int(y_max - y_min)))
        np.maximum(total, canvas, out=total)
    return total >= THRESHOLD


def grid_sample(crops: torch.Tensor, boxes: torch.Tensor) -> Mask:
    """Sample every pixel of the canvas from each crop, as Detectron2 pastes masks when it pastes them in one batch."""
    rows, cols = SHAPE
    mask = np.zeros(SHAPE, bool)
    for crop, (x_min, y_min, x_max, y_max) in zip(crops, boxes.float(), strict=True):
        y = (torch.arange(rows) + 0.5 - y_min) / (y_max - y_min) * 2 - 1
        x = (torch.arange(cols) + 0.5 - x_min) / (x_max - x_min) * 2 - 1
        grid = torch.stack([x[None].expand(rows, cols), y[:, None].expand(rows, cols)], dim=2)
        stretched = functional.grid_sample(
            crop[None, None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        mask |= (stretched[0, 0] >= THRESHOLD).numpy()
    return mask
