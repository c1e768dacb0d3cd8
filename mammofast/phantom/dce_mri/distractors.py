"""What enhances and is no mass: vessels of the breast and behind the breastbone, nodes, foci, nipples."""

import numpy as np
import numpy.typing as npt

from mammofast.phantom.dce_mri.anatomy import Anatomy
from mammofast.phantom.dce_mri.volume import paint_ball, paint_tube
from mammofast.phantom.fields import Field


def draw_vessels(anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Return 0..1 where contrast medium is blood's."""
    grid = anatomy.grid
    vessels = np.zeros(grid.shape, np.float32)
    for side in (-1, 1):
        for _ in range(rng.integers(2, 6)):
            path = _wander(anatomy, side, rng)
            depth = anatomy.depth[tuple(grid.index(path).T)]
            paint_tube(vessels, grid, path[depth > 2], rng.uniform(0.9, 2.0))
        # Internal mammary artery and vein, beside the breastbone.
        x = side * rng.uniform(22, 30)
        z = np.arange(grid.corner[0], -grid.corner[0], 1.2)
        y = np.full_like(z, _front(anatomy, x) + rng.uniform(16, 24)) + np.sin(z / 17)
        paint_tube(vessels, grid, np.stack([z, y, np.full_like(z, x)], axis=1), rng.uniform(1.4, 2.2))
    return vessels


def draw_foci(anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Return the uptake of foci of less than 5 mm in gland, and of nodes of the axillae."""
    grid = anatomy.grid
    foci = np.zeros(grid.shape, np.float32)
    gland = np.argwhere(anatomy.gland > 0.5)
    for _ in range(rng.integers(0, 9) if len(gland) else 0):
        z, y, x = ((gland[rng.integers(len(gland))] + 0.5) * grid.spacing + grid.corner).tolist()
        paint_ball(foci, grid, (z, y, x), rng.uniform(1.5, 2.5), rng.uniform(0.4, 1.0))
    for side in (-1, 1):
        for _ in range(rng.integers(0, 4)):
            x = side * rng.uniform(118, 150)
            middle = (rng.uniform(15, 60), _front(anatomy, x) + rng.uniform(4, 18), x)
            paint_ball(foci, grid, middle, rng.uniform(3, 7), rng.uniform(0.6, 1.1))
    return foci


def draw_nipples(anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Return the nipples' uptake."""
    nipples = np.zeros(anatomy.grid.shape, np.float32)
    for place in anatomy.nipples:
        paint_ball(nipples, anatomy.grid, place, rng.uniform(3.5, 5.5), rng.uniform(0.3, 0.9))
    return nipples


def _front(anatomy: Anatomy, x: float) -> float:
    """Return the mean y of the pectoral muscle's face at x."""
    return float(anatomy.front[:, anatomy.grid.index([(0, 0, x)])[0, 2]].mean())


def _wander(anatomy: Anatomy, side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a path (n, 3) from the rim of a breast towards its nipple, points about a millimetre apart."""
    z, y, x = anatomy.nipples[0 if side < 0 else 1]
    end = np.array([z, y + rng.uniform(8, 45), x])
    # Perforators come from the breastbone, the lateral thoracic vessels from the axilla.
    x = side * (rng.uniform(28, 45) if rng.random() < 0.4 else rng.uniform(115, 135))
    start = np.array([rng.uniform(-40, 45), _front(anatomy, x) - rng.uniform(2, 25), x])
    t = np.linspace(0, 1, max(int(np.linalg.norm(end - start)), 2))[:, None]
    path = start + (end - start) * t
    for k in range(1, 4):
        path += np.sin(np.pi * k * t) * rng.normal(0, 12, 3) / k
    return np.asarray(path[: int(rng.uniform(0.55, 1) * len(path))])
