"""Where a volume's boxes lie, in millimetres."""

from collections.abc import Sequence

import numpy as np

from mammofast.records import Box

Point = tuple[float, float, float]


def size_mm(box: Box, z: tuple[int, int], spacing: Point) -> Point:
    """Return how far a box reaches along a row, along a column and across the slices.

    box: (x_min, y_min, x_max, y_max). z: slices (z_min, z_max). Both half-open. spacing: mm between slices, rows and
    columns.
    """
    x_min, y_min, x_max, y_max = box
    depth, row, column = spacing
    return (x_max - x_min) * column, (y_max - y_min) * row, (z[1] - z[0]) * depth


def center_mm(
    box: Box, z: tuple[int, int], spacing: Point, orientation: Sequence[float], positions: Sequence[Sequence[float]]
) -> Point:
    """Return a box's centre in the Frame of Reference (PS3.3 C.7.6.2.1.1): x to the left, y to the back, z to the head.

    orientation: Image Orientation (Patient). positions: Image Position (Patient) of every slice. Others: as of
    :func:`size_mm`.
    """
    x_min, y_min, x_max, y_max = box
    # Positions are of the first voxel's centre, boxes' edges are of voxels' outer sides.
    column, row, depth = (x_min + x_max - 1) / 2, (y_min + y_max - 1) / 2, (z[0] + z[1] - 1) / 2
    along_row, along_column = np.reshape(orientation, (2, 3))
    at = np.array(positions, dtype=np.float64)
    origin = [float(np.interp(depth, np.arange(len(at)), at[:, axis])) for axis in range(3)]
    x, y, z_mm = origin + column * spacing[2] * along_row + row * spacing[1] * along_column
    return float(x), float(y), float(z_mm)
