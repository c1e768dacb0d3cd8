"""Grids of volumes: (slices, rows, columns) of voxels, z towards the head, y to the back, x to the patient's left."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.phantom.fields import Field, smooth_step

# z, y, x in mm.
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxels in space: slices, rows and columns, and the mm between them; x and z are 0 in the middle, y in front."""

    shape: tuple[int, int, int]
    spacing: Point

    @property
    def corner(self) -> Point:
        """The first voxel's outer corner (z, y, x)."""
        return -self.shape[0] * self.spacing[0] / 2, 0.0, -self.shape[2] * self.spacing[2] / 2

    @property
    def axes(self) -> tuple[Field, Field, Field]:
        """Return the places z, y, x of voxels' centres, each along its own axis of a volume."""
        places = (
            ((np.arange(size) + 0.5) * step + corner).astype(np.float32)
            for size, step, corner in zip(self.shape, self.spacing, self.corner, strict=True)
        )
        z, y, x = places
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def index(self, places: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the voxels (n, 3) that places (n, 3) lie in, the nearest for those outside."""
        index = np.floor((np.asarray(places) - self.corner) / self.spacing).astype(np.int64)
        return index.clip(0, np.array(self.shape) - 1)

    def patch(self, centre: Point, radius: float) -> "Patch":
        """Cut the patch within ``radius`` mm of a centre; empty where that is outside."""
        where, offsets = [], []
        for i, places in enumerate(self.axes):
            from_corner = centre[i] - self.corner[i]
            low = min(max(int((from_corner - radius) / self.spacing[i]), 0), self.shape[i])
            high = max(min(int((from_corner + radius) / self.spacing[i]) + 1, self.shape[i]), low)
            where.append(slice(low, high))
            inside = places.ravel()[low:high] - np.float32(centre[i])
            offsets.append(inside.reshape([-1 if j == i else 1 for j in range(3)]))
        return Patch((where[0], where[1], where[2]), offsets[0], offsets[1], offsets[2])


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of a volume: its slices and, along each axis, the places relative to a centre, in mm."""

    where: tuple[slice, slice, slice]
    dz: Field
    dy: Field
    dx: Field

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self.dz.shape[0], self.dy.shape[1], self.dx.shape[2]

    @property
    def distance(self) -> Field:
        """Millimetres from the centre."""
        return np.asarray(np.sqrt(self.dz**2 + self.dy**2 + self.dx**2), dtype=np.float32)


def paint_ball(volume: Field, grid: Grid, centre: Point, radius: float, value: float) -> None:
    """Paint a ball with a soft rim in place, over what is less."""
    patch = grid.patch(centre, radius + 4)
    target = volume[patch.where]
    np.maximum(target, np.float32(value) * smooth_step((radius - patch.distance) / 2 + np.float32(0.5)), out=target)


def paint_tube(volume: Field, grid: Grid, path: npt.NDArray[np.floating], radius: float) -> None:
    """Paint a tube in place, up to 1 on its axis: the path's points (n, 3), closer to one another than its radius."""
    # What is thinner than a voxel is paler, not thinner.
    width = max(radius, 0.6 * min(grid.spacing))
    strength = np.float32((radius / width) ** 2)
    for z, y, x in path.tolist():
        patch = grid.patch((z, y, x), 1.6 * width)
        target = volume[patch.where]
        np.maximum(target, strength * np.exp(-((patch.distance / np.float32(width)) ** 4)), out=target)
