"""Where masses lie: within a breast, in gland rather than in fat, on no other mass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.phantom.dce_mri.anatomy import Anatomy
from mammofast.phantom.dce_mri.masses import Mass, draw_inside, draw_uptake
from mammofast.phantom.fields import Field

# Least distance of a mass's middle from skin and muscle, in parts of its diameter; and from another mass, mm.
_FROM_EDGE, _APART = 0.3, 6.0
_IN_GLAND = 0.8
_TRIES = 60


@dataclass(frozen=True, slots=True)
class PlacedMass:
    """A mass in a part of the volume: mm inside its outline (negative outside), and part of its uptake."""

    where: tuple[slice, slice, slice]
    inside: Field
    uptake: Field


def place_mass(mass: Mass, anatomy: Anatomy, others: Sequence[PlacedMass], rng: np.random.Generator) -> PlacedMass:
    """Place a mass where all of it, or as much as may be, lies in a breast; what would be outside is cut off."""
    grid = anatomy.grid
    free = anatomy.region & (anatomy.depth > 3)
    for other in others:
        free[other.where] &= other.inside < -_APART
    inside = draw_inside(mass, grid.spacing)
    body = inside > 0
    best, most = _parts(np.zeros(3, np.int64), inside.shape, grid.shape), -1.0
    for middle in _middles(mass, anatomy, free, rng):
        where, part = _parts(middle, inside.shape, grid.shape)
        kept = float((free[where] & body[part]).sum() / body.sum())
        if kept > most:
            best, most = (where, part), kept
        if most > 0.98:
            break
    where, part = best
    kept_inside = np.where(free[where], inside[part], np.minimum(inside[part], -0.5))
    uptake = draw_uptake(mass, inside, grid.spacing)[part] * free[where]
    return PlacedMass(where, np.asarray(kept_inside, dtype=np.float32), np.asarray(uptake, dtype=np.float32))


def _middles(
    mass: Mass, anatomy: Anatomy, free: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return voxels (n, 3) to try as a mass's middle."""
    away = _FROM_EDGE * mass.diameter
    deep = free & (anatomy.depth > away) & (anatomy.front[:, None] - anatomy.grid.axes[1] > away)
    gland = np.argwhere(deep & (anatomy.gland > 0.3))
    places = gland if rng.random() < _IN_GLAND and len(gland) > _TRIES else np.argwhere(deep)
    if not len(places):
        places = np.argwhere(free)
    return places[rng.integers(len(places), size=_TRIES)]


def _parts(
    middle: npt.NDArray[np.int64], size: tuple[int, ...], shape: tuple[int, int, int]
) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
    """Return the part of a volume that a box of odd sides around a voxel covers, and that part of the box."""
    where, part = [], []
    for place, length, whole in zip(middle.tolist(), size, shape, strict=True):
        begin = place - length // 2
        low, high = max(begin, 0), min(begin + length, whole)
        where.append(slice(low, high))
        part.append(slice(low - begin, high - begin))
    return (where[0], where[1], where[2]), (part[0], part[1], part[2])
