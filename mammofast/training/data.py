"""Training examples from phantoms, made by the very functions that make the networks' inputs when screening."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.methods.contrast import Contrast
from mammofast.phantom.display import Display
from mammofast.phantom.plan import PlannedView
from mammofast.phantom.view import View
from mammofast.records import Box, GreyTable, Window, tight_box

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Example:
    """What one phantom view gives to learn from.

    inputs: the detector's inputs at each scale, times 255, uint8 (rows, cols).
    boxes: of its masses, float32 (n, 4), parts of the image's width and height.
    crops, masks: the segmenter's inputs times 255 and the truth in them, 0 or 1, uint8 (m, rows, cols).
    """

    inputs: tuple[Bytes, ...]
    boxes: npt.NDArray[np.float32]
    crops: Bytes
    masks: Bytes


def mass_box(view: View, k: int) -> Box:
    """Return the native box of the k-th mass, to a base pixel."""
    step = view.detector.step
    x_min, y_min, x_max, y_max = tight_box(view.inside[k] > 0)
    return (step * x_min, step * y_min, step * x_max, step * y_max)


def make_example(
    planned: PlannedView,
    contrast: Contrast,
    scales: Sequence[tuple[int, int]],
    crop_shape: tuple[int, int],
    crop_margin: float,
    crops_per_mass: int,
) -> Example:
    """Make the example of a view: its coarse image at every scale, and windows around its masses."""
    view = planned.draw()
    rng = planned.stream(1)
    display = Display.draw(rng)
    table = GreyTable(0, display.shown())
    pixels = display.store(view.coarse())
    low, high = contrast.window(pixels, table)
    inputs = ops.detection_inputs(pixels, table, low, high, scales)
    size = np.array([view.detector.cols, view.detector.rows] * 2, np.float32)
    boxes = np.array([mass_box(view, k) for k in range(len(view.inside))], np.float32).reshape(-1, 4) / size
    windows = [
        _candidate(mass_box(view, k), view, crop_margin, rng)
        for k in range(len(view.inside))
        for _ in range(crops_per_mass)
    ]
    labels = view.truth() > 0
    stored = [display.store(view.render(window)) for window in windows]
    n = len(windows)
    crops = np.zeros((0, *crop_shape), np.float32)
    if n:
        crops = ops.segmentation_inputs(stored, [table] * n, [low] * n, [high] * n, crop_shape)[:, 0]
    return Example(
        inputs=tuple(_bytes(image) for image in inputs),
        boxes=boxes,
        crops=_bytes(crops),
        masks=np.array([_nearest(labels, w, crop_shape) for w in windows], np.uint8).reshape(n, *crop_shape),
    )


def _candidate(box: Box, view: View, margin: float, rng: np.random.Generator) -> Window:
    """Return the window that an imprecise detection of a box would be segmented in."""
    width, height = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + rng.uniform(-0.12, 0.12) * width
    y = (box[1] + box[3]) / 2 + rng.uniform(-0.12, 0.12) * height
    half_x = width * rng.uniform(0.75, 1.3) * (0.5 + margin)
    half_y = height * rng.uniform(0.75, 1.3) * (0.5 + margin)
    return (
        max(round(x - half_x), 0),
        max(round(y - half_y), 0),
        min(round(x + half_x), view.detector.cols),
        min(round(y + half_y), view.detector.rows),
    )


def _nearest(labels: npt.NDArray[np.bool_], window: Window, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    x_min, y_min, x_max, y_max = window
    rows = y_min + ((np.arange(shape[0]) + 0.5) * (y_max - y_min) / shape[0]).astype(int)
    cols = x_min + ((np.arange(shape[1]) + 0.5) * (x_max - x_min) / shape[1]).astype(int)
    return np.asarray(labels[np.ix_(rows, cols)], dtype=bool)


def _bytes(image: npt.NDArray[np.float32]) -> Bytes:
    return np.rint(image * 255).astype(np.uint8)
