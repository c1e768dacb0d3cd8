import re

import numpy as np
import pytest

from mammofast.report.outline import svg_outline


def unit_edges(path, step):
    """Return every unit edge that a path draws, as (x, y, direction)."""
    edges = []
    for x, y, letter, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", path):
        x, y, length = int(x), int(y), int(length)
        for k in range(0, length, step):
            edges.append((x + k, y, "h") if letter == "h" else (x, y + k, "v"))
    return edges


def boundary(mask, x0, y0, step):
    """Return the edges between a set square and one that is not, square by square."""
    edges = set()
    rows, cols = mask.shape

    def at(r, c):
        return 0 <= r < rows and 0 <= c < cols and mask[r, c]

    for r in range(rows + 1):
        for c in range(cols + 1):
            if at(r, c) != at(r - 1, c):
                edges.add((x0 + c * step, y0 + r * step, "h"))
            if at(r, c) != at(r, c - 1):
                edges.add((x0 + c * step, y0 + r * step, "v"))
    return edges


@pytest.mark.parametrize("seed", range(40))
def test_outline_is_the_boundary_and_draws_no_edge_twice(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 12, 2)) < rng.choice([0.0, 0.3, 0.7, 1.0])
    drawn = unit_edges(svg_outline(mask, 5, 9), 1)
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == boundary(mask, 5, 9, 1)


def test_coarse_outline_follows_squares_that_are_at_least_half_mask():
    mask = np.zeros((5, 8), bool)
    mask[:4, :2] = True  # half of the first square
    mask[0, 4:7] = True  # 3 of 16
    assert set(unit_edges(svg_outline(mask, 0, 0, step=4), 4)) == boundary(np.array([[1, 0], [0, 0]], bool), 0, 0, 4)


def test_empty_mask_has_no_outline():
    assert svg_outline(np.zeros((3, 4), bool)) == ""
