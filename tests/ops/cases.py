"""Boxes that are hard to get right."""

import numpy as np


def random_boxes(rng, n, extent, grid):
    """Boxes in [-0.1, 1.1] * extent; on a coarse grid they tie, touch and are empty, with grid 0 hardly ever."""
    corners = rng.uniform(-0.1, 1.1, (n, 2, 2)) * extent
    corners.sort(axis=1)
    if grid:
        corners = np.round(corners / grid) * grid
    return corners.reshape(n, 4).astype(np.float32)


def random_scores(rng, n):
    """Scores of a few kinds: any, tied, 0 and 1, and so small that they round to 0 votes or one."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.uniform(0, 1, n).astype(np.float32)
    if kind == 1:
        return rng.choice([0.3, 0.7, 0.9], n).astype(np.float32)
    if kind == 2:
        return rng.choice([0.0, 0.5, 1.0], n).astype(np.float32)
    return (rng.choice([0.25, 0.5, 0.75, 1.0, 2.0], n) * 2.0**-20).astype(np.float32)


def some(rng, n, extent):
    """n boxes with scores."""
    return random_boxes(rng, n, extent, rng.choice([0, 0.25, 0.5, 1, extent / 8])), random_scores(rng, n)


NO_BOXES = np.zeros((0, 4), np.float32)
NO_SCORES = np.zeros(0, np.float32)
ONE_BOX = np.array([[1, 2, 3, 4]], np.float32)
ONE_SCORE = np.array([0.5], np.float32)


def one_box(*corners):
    return np.array([corners], np.float32)


BAD_BOXES_AND_SCORES = [
    (one_box(1, 2, np.nan, 4), ONE_SCORE, "boxes: got .*nan.* finite"),
    (one_box(-np.inf, 2, 3, 4), ONE_SCORE, "boxes: got .*inf.* finite"),
    (one_box(1, 2, np.inf, 4), ONE_SCORE, "boxes: got .*inf.* finite"),
    (one_box(1, -np.inf, 3, 4), ONE_SCORE, "boxes: got .*inf.* finite"),
    (one_box(1, 2, 3, np.inf), ONE_SCORE, "boxes: got .*inf.* finite"),
    (one_box(1.25, 2, 1, 4), ONE_SCORE, "boxes: got .* x_max >= x_min"),
    (one_box(1, 2.2, 3, 2.1), ONE_SCORE, "boxes: got .* y_max >= y_min"),
    (ONE_BOX, np.array([np.nan], np.float32), r"scores: got nan at index 0, expected values in \[0, 1\]"),
    (ONE_BOX, np.array([1.0000001], np.float32), "scores: got 1"),
    (ONE_BOX, np.array([-1e-9], np.float32), "scores: got -1e-09"),
    (ONE_BOX, np.array([np.inf], np.float32), "scores: got inf"),
    (
        ONE_BOX.astype(np.float64),
        ONE_SCORE,
        r"boxes: got float64 .*\(1, 4\), expected float32 of shape \(n, 4\)",
    ),
    (ONE_BOX.astype(np.int32), ONE_SCORE, "boxes: got int32"),
    (ONE_BOX[0], ONE_SCORE, r"boxes: got float32 of shape \(4,\)"),
    (ONE_BOX[:, :3], ONE_SCORE, r"boxes: got float32 of shape \(1, 3\)"),
    (ONE_BOX.tolist(), ONE_SCORE, "boxes: got list"),
    (ONE_BOX, ONE_SCORE.astype(np.float64), r"scores: got float64 of shape \(1,\), expected float32 of shape \(1,\)"),
    (ONE_BOX, NO_SCORES, r"scores: got float32 of shape \(0,\), expected float32 of shape \(1,\)"),
    (ONE_BOX, ONE_SCORE[:, np.newaxis], r"scores: got float32 of shape \(1, 1\)"),
]
