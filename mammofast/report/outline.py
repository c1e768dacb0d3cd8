"""A mask's outline along the edges of its pixels: as an SVG path, and as polygons."""

import numpy as np
import numpy.typing as npt

_Point = tuple[int, int]
_TURNS = {"right": ("down", "up"), "down": ("left", "right"), "left": ("up", "down"), "up": ("right", "left")}


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


def polygons(mask: npt.NDArray[np.bool_], step: int = 1) -> list[npt.NDArray[np.int64]]:
    """Return the borders between mask and not mask as polygons, which have a corner wherever the border turns.

    Parameters
    ----------
    mask: bool (rows, cols). Pixels that only touch at a corner are apart.
    step: as of :func:`svg_outline`; no polygon leaves the mask's array.

    Returns
    -------
    list of int64 (n, 2)
        Corners (x, y), the outer corner of the first pixel being (0, 0), the last joined to the first. Outer borders
        turn clockwise on the screen, the borders of holes against it.

    """
    grid = np.pad(_squares(mask, step), 1)
    above, below, west, east = grid[:-1], grid[1:], grid[:, :-1].T, grid[:, 1:].T
    # Each border has its mask at the right hand; where it goes on from a corner: by direction, then by corner.
    onward: dict[str, dict[_Point, _Point]] = {
        "right": {(s - 1, line): (e - 1, line) for line, s, e in _runs(below & ~above)},
        "left": {(e - 1, line): (s - 1, line) for line, s, e in _runs(above & ~below)},
        "down": {(line, s - 1): (line, e - 1) for line, s, e in _runs(west & ~east)},
        "up": {(line, e - 1): (line, s - 1) for line, s, e in _runs(east & ~west)},
    }
    found = []
    while onward["right"]:  # every closed border goes right somewhere
        corner, heading, corners = next(iter(onward["right"])), "right", []
        while corner in onward[heading]:
            corners.append(corner)
            corner = onward[heading].pop(corner)
            # To the right first: that stays with the same pixel where two touch at a corner.
            heading = next(turn for turn in _TURNS[heading] if corner in onward[turn] or corner == corners[0])
        found.append(np.minimum(np.array(corners, dtype=np.int64) * step, (mask.shape[1], mask.shape[0])))
    return found


def enclosed_area(polygon: npt.NDArray[np.int64]) -> int:
    """Return how many pixels a polygon of :func:`polygons` encloses; negative for a hole."""
    x, y = polygon.T
    return int(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) // 2


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
