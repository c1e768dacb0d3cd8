"""The ops in plain NumPy: short, slow and meant to be obviously right. Tests hold every kernel against them.

They take the same arguments as the ops, and check none of them. All agree with the kernels to the bit, except
:func:`pool` of floats and :func:`roi_align`, whose sums may be taken in another order, and :func:`decode_yolo`, whose
exponential is NumPy's.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.ops._boxes import FusedBoxes
from mammofast.ops._masks import LabelledMask
from mammofast.records import GreyTable

Array = npt.NDArray[Any]


def nms(boxes: Array, scores: Array, iou_threshold: float, groups: Array | None = None) -> Array:
    """Take the best box that is left, strike what it overlaps, repeat."""
    x_min, y_min, x_max, y_max = boxes.astype(np.float64).T
    area = (x_max - x_min) * (y_max - y_min)
    group = np.zeros(len(boxes), dtype=np.int64) if groups is None else groups
    left = np.lexsort((np.arange(len(boxes)), -scores.astype(np.float64)))
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.minimum(x_max[best], x_max[left]) - np.maximum(x_min[best], x_min[left])
        height = np.minimum(y_max[best], y_max[left]) - np.maximum(y_min[best], y_min[left])
        inter = np.maximum(width, 0) * np.maximum(height, 0)
        union = area[best] + area[left] - inter
        iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
        left = left[(iou <= iou_threshold) | (group[left] != group[best])]
    return np.array(kept, dtype=np.int64)


def decode_yolo(
    heads: Sequence[Array],
    strides: Sequence[int],
    anchors: Sequence[Sequence[float]],
    threshold: float,
    frame: Sequence[int] | None = None,
) -> tuple[Array, Array]:
    """Work out every score of a head, then the boxes of those that reach the threshold."""
    boxes, scores = [], []
    for i, (head, stride) in enumerate(zip(heads, strides, strict=True)):
        rows, cols = head.shape[1:]
        cells = head.reshape(3, 6, rows, cols).astype(np.float64)
        score = _sigmoid(cells[:, 4]) * _sigmoid(cells[:, 5])
        anchor, row, col = np.nonzero(score >= threshold)
        t = cells[anchor, :4, row, col]
        x, y = (_sigmoid(t[:, 0]) + col) * stride, (_sigmoid(t[:, 1]) + row) * stride
        # Past exp(20) a box is larger than any image; the clip keeps an overflow from becoming infinite.
        half = np.exp(np.clip(t[:, 2:4], -20, 20)) * np.asarray(anchors[3 * i : 3 * i + 3])[anchor] / 2
        box = np.stack([x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1]], axis=1).astype(np.float32)
        if frame is not None:
            box = (box * ([frame[1] / (cols * stride), frame[0] / (rows * stride)] * 2)).astype(np.float32)
        boxes.append(box)
        scores.append(score[anchor, row, col])
    return np.concatenate(boxes), np.concatenate(scores).astype(np.float32)


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logistic function; past 80 it is 0 or 1 to all that fusion counts in."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -80, 80))))


def fuse_boxes(
    boxes: Array, scores: Array, n_scales: int, shape: Sequence[int], threshold: float | Decimal
) -> FusedBoxes:
    """Draw the sum of all votes on a dense raster, threshold it, flood each component."""
    votes, strongest = _draw_votes(boxes, scores, shape)
    num, den = Decimal(str(threshold)).as_integer_ratio()
    smallest = -(-num * n_scales * strongest // den)  # in Python's integers, which do not overflow
    kept = (votes > 0) & (votes >= min(smallest, 2**62))
    found = []
    while kept.any():
        component = _flood(kept)
        ys, xs = zip(*component, strict=True)
        box = min(ys), min(xs), max(ys) + 1, max(xs) + 1
        found.append((box, int(votes[ys, xs].max())))
        kept[ys, xs] = False
    found.sort()
    peaks = np.array([peak for _, peak in found], dtype=np.float64)
    return FusedBoxes(
        np.array([(x0, y0, x1, y1) for (y0, x0, y1, x1), _ in found], dtype=np.int32).reshape(-1, 4),
        (peaks / max(n_scales * strongest, 1)).astype(np.float32),
        (peaks / (n_scales * 2**20)).astype(np.float32),
    )


def confidence_mask(boxes: Array, scores: Array, n_scales: int, shape: Sequence[int]) -> Array:
    """Divide the dense sum of votes."""
    votes, strongest = _draw_votes(boxes, scores, shape)
    return (votes / max(n_scales * strongest, 1)).astype(np.float32)


def _draw_votes(boxes: Array, scores: Array, shape: Sequence[int]) -> tuple[npt.NDArray[np.int64], int]:
    """Sum of the votes over each pixel in units of 2^-20, and the strongest vote that counts (0: none)."""
    rows, cols = shape
    votes = np.zeros((rows, cols), dtype=np.int64)
    strongest = 0
    for box, score in zip(boxes.astype(np.float64), scores.astype(np.float64), strict=True):
        x0, y0, x1, y1 = np.clip(np.floor(box + 0.5), 0, [cols, rows, cols, rows]).astype(int)
        vote = int(np.floor(score * 2**20 + 0.5))
        if x0 < x1 and y0 < y1 and vote:
            votes[y0:y1, x0:x1] += vote
            strongest = max(strongest, vote)
    return votes, strongest


def _flood(kept: npt.NDArray[np.bool_]) -> set[tuple[int, int]]:
    """Pixels 8-connected to the first kept one."""
    y, x = np.argwhere(kept)[0].tolist()
    seen, edge = {(y, x)}, [(y, x)]
    while edge:
        y, x = edge.pop()
        for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
            inside = 0 <= near[0] < kept.shape[0] and 0 <= near[1] < kept.shape[1]
            if inside and kept[near] and near not in seen:
                seen.add(near)
                edge.append(near)
    return seen


def paste_masks(crops: Array, boxes: Array, shape: Sequence[int], threshold: float = 0.5) -> npt.NDArray[np.bool_]:
    """Stretch every crop to its whole box, cut out what lies inside the image."""
    mask = np.zeros(tuple(shape), dtype=bool)
    for crop, (x0, y0, x1, y1) in zip(crops, boxes.tolist(), strict=True):
        if x0 == x1 or y0 == y1:
            continue
        wide = _stretch(crop.T, x1 - x0).T
        painted = _stretch(wide, y1 - y0) >= np.float32(threshold)
        top, left = max(y0, 0), max(x0, 0)
        part = painted[top - y0 : max(shape[0] - y0, 0), left - x0 : max(shape[1] - x0, 0)]
        mask[top : top + part.shape[0], left : left + part.shape[1]] |= part
    return mask


def _stretch(rows: Array, size: int) -> Array:
    """Bilinear between pixel centres along the first axis, edges repeated."""
    low, high, weight = _bilinear_taps(len(rows), size)
    columns = weight[:, np.newaxis]
    return rows[low] * (1 - columns) + rows[high] * columns


def _bilinear_taps(source: int, target: int) -> tuple[Array, Array, npt.NDArray[np.float32]]:
    """Low and high source pixel of each target pixel, and the weight of the high one."""
    twice = np.clip((2 * np.arange(target) + 1) * source - target, 0, (source - 1) * 2 * target)  # exact, * 2 target
    low = twice // (2 * target)
    weight = (twice - low * 2 * target) / (2 * target)
    return low, np.minimum(low + 1, source - 1), weight.astype(np.float32)


def label_mask(mask: Array) -> LabelledMask:
    """Flood from the first pixel that is left, repeat."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    boxes, areas = [], []
    while (left := mask & (labels == 0)).any():
        ys, xs = zip(*_flood(left), strict=True)
        boxes.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
        areas.append(len(xs))
        labels[ys, xs] = len(boxes)
    return LabelledMask(labels, np.array(boxes, dtype=np.int32).reshape(-1, 4), np.array(areas, dtype=np.int64))


def roi_align(
    features: Array,
    boxes: Array,
    batch_index: Array,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int = 2,
) -> Array:
    """Look at every sample, average."""
    aligned = np.zeros((len(boxes), features.shape[1], *output_size), dtype=np.float32)
    for roi, box, image in zip(aligned, boxes, batch_index, strict=True):
        x, x_samples = _roi_samples(box[[0, 2]], output_size[1], spatial_scale, sampling_ratio)
        y, y_samples = _roi_samples(box[[1, 3]], output_size[0], spatial_scale, sampling_ratio)
        for row, col in np.ndindex(*output_size):
            values = [_sampled(features[image], v, u) for v in y[row] for u in x[col]]
            if values:
                roi[:, row, col] = np.sum(values, axis=0) / (x_samples * y_samples)
    return aligned


def _roi_samples(side: Array, bins: int, spatial_scale: float, sampling_ratio: int) -> tuple[Array, int]:
    """Positions (bins, samples) along one side of a box, in float32 as all kernels have them, and samples a bin."""
    with np.errstate(over="ignore", invalid="ignore"):  # a box that float32 cannot hold lies nowhere
        start, end = side * np.float32(spatial_scale) - np.float32(0.5)
        size = (end - start) / np.float32(bins)
        samples = sampling_ratio or int(np.ceil(size))
        steps = (np.arange(samples, dtype=np.float32) + np.float32(0.5)) * size / np.float32(max(samples, 1))
        return start + np.arange(bins, dtype=np.float32)[:, np.newaxis] * size + steps, samples


def _sampled(feature: Array, y: np.float32, x: np.float32) -> Array:
    """Bilinear value (channels,) at a place between pixel centres; 0 more than a pixel outside of them."""
    _, rows, cols = feature.shape
    if not (-1 <= y <= rows and -1 <= x <= cols):
        return np.zeros(len(feature))
    dy, dx = min(max(float(y), 0.0), rows - 1.0), min(max(float(x), 0.0), cols - 1.0)
    top, left = int(dy), int(dx)
    bottom, right = min(top + 1, rows - 1), min(left + 1, cols - 1)
    dy, dx = dy - top, dx - left
    high = feature[:, top, left] * (1 - dx) + feature[:, top, right] * dx
    low = feature[:, bottom, left] * (1 - dx) + feature[:, bottom, right] * dx
    return np.asarray(high * (1 - dy) + low * dy)


def pool(image: Array, levels: Sequence[int]) -> list[Array]:
    """Sum and count each square, divide."""
    floating = image.dtype.kind == "f"
    exact = image.astype(np.float64 if floating else np.int64)
    pooled = []
    for level in levels:
        sums, counts = _sum_squares(exact, 2**level), _sum_squares(np.ones(image.shape, dtype=np.int64), 2**level)
        mean = sums / counts if floating else (2 * sums + counts) // (2 * counts)
        pooled.append(mean.astype(np.float32 if floating else image.dtype))
    return pooled


def _sum_squares(image: Array, side: int) -> Array:
    for axis in (0, 1):
        if image.shape[axis]:
            image = np.add.reduceat(image, np.arange(0, image.shape[axis], side), axis=axis)
    return image


def detection_inputs(
    pixels: Array,
    table: GreyTable | None,
    low: float,
    high: float,
    shapes: Sequence[Sequence[int]],
    fit: str = "stretch",
) -> list[Array]:
    """Map every pixel, then resample rows and columns."""
    values = pixels
    if table is not None:
        values = table.values[np.clip(pixels.astype(np.int64) - table.first, 0, len(table.values) - 1)]
    grey = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    if fit == "stretch":
        return [_resample(_resample(grey, rows).T, cols).T for rows, cols in shapes]
    return [_letterboxed(grey, shape) for shape in shapes]


def _letterboxed(grey: Array, shape: Sequence[int]) -> Array:
    """Scale both axes by the smaller ratio, halves up, and centre."""
    scale = min(Fraction(into, size) for into, size in zip(shape, grey.shape, strict=True))
    rows, cols = (max(floor(size * scale + Fraction(1, 2)), 1) for size in grey.shape)
    top, left = (shape[0] - rows) // 2, (shape[1] - cols) // 2
    out = np.full(shape, 0.5, dtype=np.float32)
    out[top : top + rows, left : left + cols] = _resample(_resample(grey, rows).T, cols).T
    return out


def _resample(rows: Array, size: int) -> Array:
    """Resample the first axis: area weights where it shrinks, bilinear where it grows."""
    starts, weights = _area_taps(len(rows), size) if size < len(rows) else _growing_taps(len(rows), size)
    total = np.zeros((size, rows.shape[1]), dtype=np.float32)
    for tap in range(weights.shape[1]):  # taps in rising order, in float32, as the kernel adds them
        total += weights[:, tap, np.newaxis] * rows[np.minimum(starts + tap, len(rows) - 1)]
    return total


def _area_taps(source: int, target: int) -> tuple[Array, npt.NDArray[np.float32]]:
    """First source pixel under each target pixel, and the share of it that each of the next ones covers."""
    begin = np.arange(target)[:, np.newaxis] * source  # in units of 1 / target of a source pixel
    starts = begin // target
    pixel = starts + np.arange(source // target + 2)
    covered = np.minimum((pixel + 1) * target, begin + source) - np.maximum(pixel * target, begin)
    return starts[:, 0], (np.maximum(covered, 0) / source).astype(np.float32)


def _growing_taps(source: int, target: int) -> tuple[Array, npt.NDArray[np.float32]]:
    low, _, weight = _bilinear_taps(source, target)
    return low, np.stack([1 - weight, weight], axis=1)


def segmentation_inputs(
    windows: Sequence[Array],
    tables: Sequence[GreyTable | None],
    lows: Sequence[float],
    highs: Sequence[float],
    shape: Sequence[int] = (256, 256),
) -> Array:
    """Resample, reduce to 8 bits, equalize."""
    batch = np.zeros((len(windows), 1, *shape), dtype=np.float32)
    for item, window, table, low, high in zip(batch, windows, tables, lows, highs, strict=True):
        (grey,) = detection_inputs(window, table, low, high, [shape])
        item[0] = _equalize(np.floor(255 * grey.astype(np.float64) + 0.5).astype(np.uint8)) / np.float32(255)
    return batch


def _equalize(levels: npt.NDArray[np.uint8]) -> Array:
    """OpenCV's equalizeHist: levels spread by their cumulative counts beyond the lowest one present."""
    counts = np.bincount(levels.ravel(), minlength=256)
    lowest = int(levels.min())
    if counts[lowest] == levels.size:
        return levels
    counts[lowest] = 0
    scale = np.float32(255) / np.float32(levels.size - np.count_nonzero(levels == lowest))
    table = np.rint(np.cumsum(counts).astype(np.float32) * scale).clip(0, 255).astype(np.uint8)
    return np.take(table, levels)
