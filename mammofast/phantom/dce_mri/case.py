"""One DCE-MRI case in memory: its phases, and what is true of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.phantom.dce_mri.masses import Mass
from mammofast.phantom.dce_mri.placing import PlacedMass
from mammofast.phantom.dce_mri.plan import PlannedCase
from mammofast.phantom.dce_mri.signal import draw_scene
from mammofast.phantom.dce_mri.volume import Grid

# Labels: 0 outside the breasts, then the breasts, then one for each mass.
BREAST, FIRST_MASS = 1, 2
_SCENE, _PHASES = 0, 1
# Stored value of unenhanced gland in the middle of the breasts, and the largest of 12 bits.
_GLAND, _TOP = 500.0, 4095


@dataclass(frozen=True, slots=True)
class Case:
    """A case, its slices rising towards the head as in the archive.

    phases: stored values uint16 (phases, slices, rows, cols). labels: uint8 (slices, rows, cols): 0 outside the
    breasts, 1 breast, 1 + k the k-th mass. masses: what is true of each, ready for JSON.
    """

    grid: Grid
    phases: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.uint8]
    masses: tuple[dict[str, Any], ...]


def draw_case(planned: PlannedCase) -> Case:
    """Make all phases of a planned case."""
    matrix = planned.protocol.matrix
    grid = Grid(matrix.shape, matrix.spacing)
    scene = draw_scene(grid, planned.masses, planned.stream(_SCENE))
    phases = np.empty((len(planned.protocol.times), *grid.shape), np.uint16)
    for i, time in enumerate(planned.protocol.times):
        phases[i] = np.rint(scene.acquire(time, planned.stream(_PHASES, i)) * _GLAND).clip(0, _TOP)
    labels = scene.anatomy.region.astype(np.uint8) * np.uint8(BREAST)
    for k, placed in enumerate(scene.masses):
        labels[placed.where][placed.inside > 0] = FIRST_MASS + k
    masses = [
        _truth(k, mass, placed, labels == FIRST_MASS + k, grid)
        for k, (mass, placed) in enumerate(zip(planned.masses, scene.masses, strict=True))
    ]
    return Case(grid, phases, labels, tuple(masses))


def _truth(k: int, mass: Mass, placed: PlacedMass, here: npt.NDArray[np.bool_], grid: Grid) -> dict[str, Any]:
    """Return a mass's entry.

    box: (x_min, y_min, z_min, x_max, y_max, z_max), voxels, half-open. box_mm: the same in patient coordinates.
    diameter_mm: as planned, of its outline; what crosses the edge of the breast is cut. enhancement: the mean inside
    at full uptake over unenhanced gland's signal.
    """
    low, high = (edge(np.argwhere(here), axis=0) for edge in (np.min, np.max))
    ends = np.stack([low, high + 1])
    places = ends * np.asarray(grid.spacing) + grid.corner
    return {
        "mass": k + 1,
        "box": [*ends[0, ::-1].tolist(), *ends[1, ::-1].tolist()],
        "box_mm": [*places[0, ::-1].round(3).tolist(), *places[1, ::-1].round(3).tolist()],
        "diameter_mm": round(mass.diameter, 2),
        "volume_mm3": round(float(here.sum() * np.prod(grid.spacing)), 1),
        "shape": mass.shape,
        "pattern": mass.pattern,
        "kinetics": mass.kinetics,
        "enhancement": round(mass.enhancement, 3),
    }
