"""One view: breast, masses and distractors on a base grid of about a thousand rows, rendered at native size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.phantom.anatomy import Anatomy, Breast, draw_anatomy
from mammofast.phantom.distractors import KINDS, paint_label
from mammofast.phantom.fields import Field, enlarge, enlarge_and_average, power_law
from mammofast.phantom.masses import DIAMETER_MM, Mass, paint_mass

# Nothing but noise, the finest texture and the outline's steps is finer than a base pixel of about 0.28 mm.
_BASE_ROWS = 1000
_FINE_TILE = 512
_GAP_MM = 6.0


@dataclass(frozen=True, slots=True)
class Detector:
    """An imaging system's format: native rows and columns, and millimetres between pixels."""

    rows: int
    cols: int
    spacing: float

    @property
    def step(self) -> int:
        """Native pixels along a base pixel."""
        return self.rows // _BASE_ROWS

    @property
    def base_shape(self) -> tuple[int, int]:
        """Rows and columns of the base grid."""
        return -(-self.rows // self.step), -(-self.cols // self.step)


DETECTORS = (
    Detector(4096, 3328, 0.07),
    Detector(3328, 2560, 0.07),
    Detector(3062, 2394, 0.094),
    Detector(2294, 1914, 0.094),
)


@dataclass(frozen=True, slots=True)
class View:
    """A view before noise.

    base: grey values on the base grid, air 0, tissue up to about 1. inside: for each mass how far inside its outline
    each base pixel is, mm. quantum: standard deviation of a native pixel's noise.
    """

    detector: Detector
    base: Field
    inside: tuple[Field, ...]
    quantum: float
    seed: int

    def render(self, window: tuple[int, int, int, int] | None = None) -> Field:
        """Return native grey values with noise, air 0; of a window (x_min, y_min, x_max, y_max) or whole.

        The noise of a window is not the whole image's noise there, only as strong.
        """
        rows, cols = self.detector.rows, self.detector.cols
        x_min, y_min, x_max, y_max = window or (0, 0, cols, rows)
        step = self.detector.step
        top, left = y_min // step, x_min // step
        part = self.base[max(top - 1, 0) : -(-y_max // step) + 1, max(left - 1, 0) : -(-x_max // step) + 1]
        grown = enlarge(part, step, (part.shape[0] * step, part.shape[1] * step))
        y, x = y_min - max(top - 1, 0) * step, x_min - max(left - 1, 0) * step
        image = np.ascontiguousarray(grown[y : y + y_max - y_min, x : x + x_max - x_min])
        rng = np.random.default_rng([self.seed, y_min, x_min])
        grain = rng.standard_normal(image.shape, np.float32)
        grain *= np.float32(self.quantum)
        tile = self._fine(rng)
        for row in range(0, image.shape[0], _FINE_TILE):
            for col in range(0, image.shape[1], _FINE_TILE):
                part = grain[row : row + _FINE_TILE, col : col + _FINE_TILE]
                part += tile[: part.shape[0], : part.shape[1]]
        grain *= image > 0
        image += grain
        return image

    def coarse(self) -> Field:
        """Return what the native image, averaged over base pixels, looks like; its noise is another, as strong."""
        image = enlarge_and_average(self.base, self.detector.step)
        rng = np.random.default_rng([self.seed, 1])
        grain = rng.standard_normal(image.shape, np.float32) * np.float32(self.quantum / self.detector.step)
        return np.asarray(image + grain * (image > 0), dtype=np.float32)

    def truth(self) -> npt.NDArray[np.uint8]:
        """Return the native label image: 0 none, k the k-th mass; where two meet, the later."""
        labels = np.zeros((self.detector.rows, self.detector.cols), np.uint8)
        step = self.detector.step
        for k, inside in enumerate(self.inside, start=1):
            rows, cols = np.flatnonzero((inside > -1).any(axis=1)), np.flatnonzero((inside > -1).any(axis=0))
            top, left = max(int(rows[0]) - 1, 0), max(int(cols[0]) - 1, 0)
            part = inside[top : rows[-1] + 2, left : cols[-1] + 2]
            grown = enlarge(part, step, (part.shape[0] * step, part.shape[1] * step))
            target = labels[top * step :, left * step :][: grown.shape[0], : grown.shape[1]]
            target[grown[: target.shape[0], : target.shape[1]] > 0] = k
        return labels

    def _fine(self, rng: np.random.Generator) -> Field:
        """Return a periodic tile with the frequencies of the power law that the base grid cannot hold."""
        spacing = self.detector.spacing
        tile = power_law((_FINE_TILE, _FINE_TILE), spacing, rng, outer=2 * self.detector.step * spacing)
        return tile * np.float32(0.25 * self.quantum)


def draw_view(detector: Detector, breast: Breast, view: str, masses: Sequence[Mass], rng: np.random.Generator) -> View:
    """Draw a view of a breast; the chest wall is at the left edge.

    Raises
    ------
    ValueError
        When ``view`` is neither "CC" nor "MLO".

    """
    if view not in ("CC", "MLO"):
        raise ValueError(f"view: got {view!r}, expected 'CC' or 'MLO'")
    spacing = detector.spacing * detector.step
    anatomy = draw_anatomy(breast, view, detector.base_shape, spacing, rng)
    image = anatomy.tissue
    fitted = [_place(anatomy, breast, mass, spacing, rng) for mass in masses]
    fitted = _apart(anatomy, breast, fitted, spacing, rng)
    _distract(image, anatomy, fitted, spacing, rng)
    insides = []
    for mass, centre in fitted:
        patch, inside = paint_mass(image, mass, centre, spacing, rng)
        whole = np.full(image.shape, -np.inf, np.float32)
        whole[patch.rows, patch.cols] = np.where(anatomy.depth[patch.rows, patch.cols] > 0, inside, -spacing)
        insides.append(np.maximum(whole, np.float32(-100)))
    paint_label(image, spacing, rng)
    np.clip(image, 0, 1.2, out=image)
    return View(detector, image, tuple(insides), float(rng.uniform(0.010, 0.022)), int(rng.integers(2**31)))


Placed = tuple[Mass, tuple[float, float]]


def _place(anatomy: Anatomy, breast: Breast, mass: Mass, spacing: float, rng: np.random.Generator) -> Placed:
    """Find room for a mass at its depth; where there is too little, it is made smaller, down to the smallest size."""
    height, width = (size * spacing for size in anatomy.depth.shape)
    best, best_room = (0.4 * breast.depth * width, 0.5 * height), -1.0
    for _ in range(60):
        x = np.clip(mass.depth + rng.normal(0, 0.04), 0.12, 0.9) * breast.depth * width
        y = rng.uniform(0.05, 0.95) * height
        room = min(_at(anatomy.depth, x, y, spacing) - 3, x, y, height - y)
        if _at(anatomy.muscle, x, y, spacing) < 0.5 and room > best_room:
            best, best_room = (float(x), float(y)), room
            if room > 0.55 * mass.diameter:
                break
    diameter = max(min(mass.diameter, 1.8 * best_room), DIAMETER_MM[0])
    return _resized(mass, diameter), best


def _apart(
    anatomy: Anatomy, breast: Breast, placed: list[Placed], spacing: float, rng: np.random.Generator
) -> list[Placed]:
    """Move later masses away from earlier ones."""
    kept: list[Placed] = []
    for mass, centre in placed:
        for _ in range(40):
            if all(_clear(centre, mass.diameter, other, there) for there, other in _circles(kept)):
                break
            mass, centre = _place(anatomy, breast, _resized(mass, 0.95 * mass.diameter), spacing, rng)
            mass = _resized(mass, max(mass.diameter, DIAMETER_MM[0]))
        kept.append((mass, centre))
    return kept


def _circles(placed: Sequence[Placed]) -> list[tuple[tuple[float, float], float]]:
    """Return centre and diameter of each."""
    return [(centre, mass.diameter) for mass, centre in placed]


def _clear(centre: tuple[float, float], diameter: float, other: float, there: tuple[float, float]) -> bool:
    return float(np.hypot(centre[0] - there[0], centre[1] - there[1])) > 0.55 * (diameter + other) + _GAP_MM


def _resized(mass: Mass, diameter: float) -> Mass:
    return Mass(diameter, mass.shape, mass.margin, mass.cnr, mass.subtle, mass.depth, mass.seed)


def _distract(
    image: Field, anatomy: Anatomy, placed: Sequence[Placed], spacing: float, rng: np.random.Generator
) -> None:
    height, width = (size * spacing for size in image.shape)
    for paint, fewest, most in KINDS:
        for _ in range(rng.integers(fewest, most + 1)):
            for _ in range(30):
                centre = (float(rng.uniform(0.02, 0.95) * width), float(rng.uniform(0.03, 0.97) * height))
                if _at(anatomy.depth, *centre, spacing) > 8 and all(
                    _clear(centre, 16.0, diameter, there) for there, diameter in _circles(placed)
                ):
                    paint(image, centre, spacing, rng)
                    break


def _at(field: Field, x: float, y: float, spacing: float) -> float:
    return float(field[min(int(y / spacing), field.shape[0] - 1), min(int(x / spacing), field.shape[1] - 1)])
