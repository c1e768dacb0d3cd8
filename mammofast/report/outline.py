"""A mask's outline as an SVG path."""

import numpy as np
import numpy.typing as npt


def svg_outline(mask: npt.NDArray[np.bool_], x: int = 0, y: int = 0, step: int = 1) -> str:
    """Return the path along the edges between mask and not mask.

    Parameters
    ----------
    mask: bool (rows, cols). x, y: where its first pixel lies in the image.
    step: look at squares of this many pixels, a square is mask where at least half of it is; 1 follows every pixel.

    Returns
    -------
    str
        Strokes only, each a straight run: to be drawn, not filled. Empty for an empty mask.

    """
    grid = np.pad(_squares(mask, step), 1)
    parts = []
    for edges, letter in ((grid[:, 1:] != grid[:, :-1], "v"), ((grid[1:] != grid[:-1]).T, "h")):
        # Row i of ``edges.T``: the edges on grid line i, one for each square along it.
        for line, start, end in _runs(edges.T):
            along, across = (start - 1) * step, line * step
            px, py = (across, along) if letter == "v" else (along, across)
            parts.append(f"M{x + px} {y + py}{letter}{(end - start) * step}")
    return "".join(parts)


def _squares(mask: npt.NDArray[np.bool_], step: int) -> npt.NDArray[np.bool_]:
    rows, cols = (-(-size // step) for size in mask.shape)
    padded = np.zeros((rows * step, cols * step), dtype=np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    squares: npt.NDArray[np.bool_] = padded.reshape(rows, step, cols, step).mean(axis=(1, 3)) >= 0.5
    return squares


def _runs(lines: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return (line, first, past last) of every run of True within a line."""
    change = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(change == 1), np.argwhere(change == -1)
    return [(int(line), int(first), int(last)) for (line, first), (_, last) in zip(starts, ends, strict=True)]
