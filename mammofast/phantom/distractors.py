"""What looks like a mass to a filter and is none: nodes, islands of gland, shadows, cysts, calcifications, vessels."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mammofast.phantom.fields import Field, logistic, power_law, smooth_step
from mammofast.phantom.masses import Patch

Point = tuple[float, float]
Painter = Callable[[Field, Point, float, np.random.Generator], None]


def _ellipse(patch: Patch, radius: float, ratio: float, rng: np.random.Generator) -> Field:
    """Return the distance from the centre in units of an ellipse's radius."""
    turn = rng.uniform(0, np.pi)
    along = patch.dx * np.cos(turn) + patch.dy * np.sin(turn)
    across = patch.dy * np.cos(turn) - patch.dx * np.sin(turn)
    return np.asarray(np.hypot(along, across / ratio) / radius, dtype=np.float32)


def _add(image: Field, patch: Patch, value: npt.NDArray[np.floating]) -> None:
    target = image[patch.rows, patch.cols]
    target += (target > 0) * value.astype(np.float32)


def paint_island(image: Field, centre: Point, spacing: float, rng: np.random.Generator) -> None:
    """Gland of a mass's size and brightness, but mottled with fat and without a margin."""
    radius = rng.uniform(7, 22)
    patch = Patch.around(centre, 2 * radius, image.shape, spacing)
    place = _ellipse(patch, radius, rng.uniform(0.6, 1), rng)
    mottle = power_law(place.shape, spacing, rng, outer=radius * 0.7)
    _add(image, patch, rng.uniform(0.14, 0.30) * np.exp(-(place**3)) * logistic(3 * mottle))


def paint_shadow(image: Field, centre: Point, spacing: float, rng: np.random.Generator) -> None:
    """A summation shadow: as bright and as large as a mass, fading evenly, texture unchanged."""
    radius = rng.uniform(6, 18)
    patch = Patch.around(centre, 3 * radius, image.shape, spacing)
    place = _ellipse(patch, radius, rng.uniform(0.45, 1), rng)
    _add(image, patch, rng.uniform(0.10, 0.26) * np.exp(-(place**2)))


def paint_node(image: Field, centre: Point, spacing: float, rng: np.random.Generator) -> None:
    """A lymph node: sharp and bright, told from a mass by its fatty hilum."""
    radius = rng.uniform(4, 10)
    patch = Patch.around(centre, 2 * radius, image.shape, spacing)
    ratio = rng.uniform(0.5, 0.8)
    turn = rng.uniform(0, 2 * np.pi)
    along = patch.dx * np.cos(turn) + patch.dy * np.sin(turn)
    across = patch.dy * np.cos(turn) - patch.dx * np.sin(turn)
    whole = smooth_step((1 - np.hypot(along, across / ratio) / radius) * 6)
    hilum = smooth_step((1 - np.hypot(along, (across / ratio - 0.45 * radius)) / (0.62 * radius)) * 4)
    _add(image, patch, rng.uniform(0.16, 0.32) * whole * (1 - 1.05 * hilum))


def paint_cyst(image: Field, centre: Point, spacing: float, rng: np.random.Generator) -> None:
    """An oil cyst: a thin bright shell around fat."""
    radius = rng.uniform(4, 13)
    patch = Patch.around(centre, 2 * radius, image.shape, spacing)
    place = _ellipse(patch, radius, rng.uniform(0.85, 1), rng)
    shell = np.exp(-(((place - 1) * radius / rng.uniform(0.6, 1.2)) ** 2))
    _add(image, patch, rng.uniform(0.12, 0.28) * shell - rng.uniform(0.0, 0.08) * (place < 1))


def paint_calcifications(image: Field, centre: Point, spacing: float, rng: np.random.Generator) -> None:
    """A cluster of bright specks."""
    for _ in range(rng.integers(6, 30)):
        place = (centre[0] + rng.normal(0, 5), centre[1] + rng.normal(0, 5))
        patch = Patch.around(place, 2.5, image.shape, spacing)
        if patch.dx.size and patch.dy.size:
            size = rng.uniform(0.25, 0.7)
            _add(image, patch, rng.uniform(0.15, 0.45) * np.exp(-(patch.dx**2 + patch.dy**2) / size**2))


def paint_vessel(image: Field, centre: Point, spacing: float, rng: np.random.Generator) -> None:
    """A winding vessel of even width."""
    length = rng.uniform(35, 80)
    patch = Patch.around(centre, length / 2, image.shape, spacing)
    turn, bend, wave = rng.uniform(0, np.pi), rng.uniform(2, 8), rng.uniform(12, 30)
    along = patch.dx * np.cos(turn) + patch.dy * np.sin(turn)
    across = patch.dy * np.cos(turn) - patch.dx * np.sin(turn) - bend * np.sin(along / wave)
    ends = smooth_step((length / 2 - np.hypot(patch.dx, patch.dy)) / 8)
    width = rng.uniform(0.7, 1.6)
    _add(image, patch, rng.uniform(0.05, 0.14) * ends * np.exp(-((across / width) ** 4)))


# (painter, fewest, most) in a view.
KINDS: tuple[tuple[Painter, int, int], ...] = (
    (paint_island, 1, 3),
    (paint_shadow, 1, 3),
    (paint_node, 0, 2),
    (paint_cyst, 0, 1),
    (paint_calcifications, 0, 2),
    (paint_vessel, 1, 3),
)


def paint_label(image: Field, spacing: float, rng: np.random.Generator) -> None:
    """Stand-in for the side and view letters: a few bright bars in the air beside the breast."""
    height, width = image.shape
    x = width - int(rng.uniform(12, 22) / spacing)
    y = int(rng.uniform(0.04, 0.12) * height)
    for _ in range(rng.integers(3, 6)):
        rows, cols = int(rng.uniform(1, 6) / spacing), int(rng.uniform(0.8, 2.5) / spacing)
        image[y : y + rows, x : x + cols] = np.float32(rng.uniform(0.7, 1.0))
        x += cols + int(1 / spacing)
