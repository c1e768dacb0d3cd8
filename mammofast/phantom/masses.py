"""Masses: outlines and margins in the words of BI-RADS, painted at a stated contrast to noise."""

from dataclasses import dataclass

import numpy as np

from mammofast.phantom.fields import Field, smooth_step

SHAPES = ("round", "oval", "lobulated", "irregular")
MARGINS = ("circumscribed", "microlobulated", "obscured", "ill-defined", "spiculated")
# 200 to 800 pixels of 0.07 mm: the paper's sizes in a 4096 x 3328 image.
DIAMETER_MM = (14.0, 56.0)
# Mean grey added inside the outline over the standard deviation of the grey around it.
PLAIN_CNR = (1.5, 2.6)
SUBTLE_CNR = (0.9, 1.2)
_ANGLES = 720
# Least deviation that contrast is measured against: in flat fat a mass would drown in quantum noise.
_FLATTEST = 0.03


@dataclass(frozen=True, slots=True)
class Mass:
    """A mass as its breast holds it; each view sees another side of it.

    diameter: longest side of its bounding box in mm. shape, margin: of SHAPES and MARGINS.
    cnr: mean grey added inside its outline over the standard deviation of its surroundings, a ring a quarter of its
    diameter wide, before noise; where that is flatter than 0.03 of full scale, 0.03 counts. subtle: whether drawn so.
    depth: place between chest wall (0) and nipple (1). seed: of its outline.
    """

    diameter: float
    shape: str
    margin: str
    cnr: float
    subtle: bool
    depth: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator, subtle: bool) -> "Mass":
        """Draw one: diameters log-uniform, spiculated margins on irregular shapes only."""
        shape = str(rng.choice(SHAPES))
        margins = MARGINS if shape == "irregular" else MARGINS[:-1]
        weights = np.array([1.0, 1.0, 1.0, 1.0, 3.0][: len(margins)])
        return cls(
            diameter=float(np.exp(rng.uniform(*np.log(DIAMETER_MM)))),
            shape=shape,
            margin=str(rng.choice(margins, p=weights / weights.sum())),
            cnr=float(rng.uniform(*(SUBTLE_CNR if subtle else PLAIN_CNR))),
            subtle=subtle,
            depth=float(rng.uniform(0.15, 0.85)),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of the base grid: its slices and, for each pixel, the place relative to a centre, in mm."""

    rows: slice
    cols: slice
    dy: Field
    dx: Field

    @classmethod
    def around(cls, centre: tuple[float, float], radius: float, shape: tuple[int, int], spacing: float) -> "Patch":
        """Cut the patch within ``radius`` mm of ``centre`` (x, y) mm."""
        x, y = centre
        low = [max(int((c - radius) / spacing), 0) for c in (y, x)]
        high = [min(int((c + radius) / spacing) + 1, size) for c, size in zip((y, x), shape, strict=True)]
        dy = ((np.arange(low[0], high[0], dtype=np.float32) + 0.5) * spacing - y)[:, None]
        dx = ((np.arange(low[1], high[1], dtype=np.float32) + 0.5) * spacing - x)[None, :]
        return cls(slice(low[0], high[0]), slice(low[1], high[1]), dy.astype(np.float32), dx.astype(np.float32))


def paint_mass(
    image: Field, mass: Mass, centre: tuple[float, float], spacing: float, rng: np.random.Generator
) -> tuple[Patch, Field]:
    """Add a mass to ``image`` in place.

    Returns
    -------
    The patch it lies in, and how far inside its outline each pixel of the patch is, in mm (negative outside).

    """
    patch = Patch.around(centre, 0.95 * mass.diameter + 6, image.shape, spacing)
    distance = np.hypot(patch.dx, patch.dy)
    angle = np.arctan2(patch.dy, patch.dx)
    radii = _outline(mass, rng)
    radius = np.interp(angle, np.linspace(-np.pi, np.pi, _ANGLES + 1), np.append(radii, radii[0])).astype(np.float32)
    inside = radius - distance
    body = _body(mass, inside, distance / radius, angle, rng)
    if mass.margin == "spiculated":
        body = np.maximum(body, _spicules(mass, distance, angle, radius, rng))
    within = inside > 0
    target = image[patch.rows, patch.cols]
    surroundings = (inside < -1) & (inside > -0.25 * mass.diameter - 3) & (target > 0)
    noise = max(float(target[surroundings].std()) if surroundings.any() else 0.0, _FLATTEST)
    added = np.float32(mass.cnr * noise / max(float(body[within].mean()), 1e-3))
    # A mass pushes tissue aside: half of the texture under it goes.
    mean = np.float32(target[within].mean())
    replaced = np.float32(0.5) * np.clip(body, 0, 1)
    target += (target > 0) * (replaced * (mean - target) + added * body)
    return patch, inside


def _outline(mass: Mass, rng: np.random.Generator) -> Field:
    """Return the radius in mm at equal steps of angle from -π; the bounding box's longest side is the diameter."""
    shape_rng = np.random.default_rng(mass.seed)
    aspect = {"round": (0.88, 1.0), "oval": (0.55, 0.8)}.get(mass.shape, (0.7, 1.0))
    angle = np.linspace(-np.pi, np.pi, _ANGLES, endpoint=False)
    turned = angle - rng.uniform(0, np.pi)
    ratio = shape_rng.uniform(*aspect)
    radius = 1 / np.hypot(np.cos(turned), np.sin(turned) / ratio)
    waves = {"round": (2, 3, 0.02), "oval": (2, 3, 0.02), "lobulated": (3, 5, 0.11), "irregular": (3, 9, 0.07)}
    first, last, size = waves[mass.shape]
    for k in range(first, last + 1):
        radius = radius * (1 + size * shape_rng.uniform(0.4, 1) * np.cos(k * turned + rng.uniform(0, 2 * np.pi)))
    if mass.margin == "microlobulated":
        k = int(shape_rng.integers(11, 18))
        radius = radius * (1 + 0.035 * np.cos(k * turned))
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return np.asarray(radius * mass.diameter / max(np.ptp(x), np.ptp(y)), dtype=np.float32)


def _body(mass: Mass, inside: Field, part: Field, angle: Field, rng: np.random.Generator) -> Field:
    """Return what the mass adds, about 1 in its middle: part plateau, part dome, falling off over its margin."""
    width = {"ill-defined": rng.uniform(2.0, 3.5), "spiculated": rng.uniform(1.0, 2.0)}.get(
        mass.margin, rng.uniform(0.4, 1.0)
    )
    dome = np.sqrt(np.maximum(1 - part * part, 0))
    body = smooth_step(inside / np.float32(width) + np.float32(0.5)) * (0.5 + 0.5 * dome)
    if mass.margin == "obscured":  # fading on one side under the tissue that overlies it
        facing = 0.5 + 0.5 * np.cos(angle - rng.uniform(-np.pi, np.pi))
        body = body * (1 - 0.6 * facing * smooth_step(part - 0.3))
    return np.asarray(body, dtype=np.float32)


def _spicules(mass: Mass, distance: Field, angle: Field, radius: Field, rng: np.random.Generator) -> Field:
    """Return thin lines that leave the outline; they are not part of the truth mask."""
    lines = np.zeros(distance.shape, np.float32)
    for start in rng.uniform(-np.pi, np.pi, rng.integers(14, 26)):
        length = mass.diameter * rng.uniform(0.15, 0.42)
        turn = (angle - start + np.pi) % (2 * np.pi) - np.pi + rng.uniform(-0.1, 0.1) * (distance / radius - 1)
        beyond = (distance - radius) / length
        across = turn * distance / (rng.uniform(0.35, 0.7) * np.clip(1.3 - beyond, 0.3, 1.3))
        fade = np.clip(1 - beyond, 0, 1) * (distance > 0.5 * radius)
        lines = np.maximum(lines, rng.uniform(0.5, 0.9) * fade * np.exp(-(across**2)) * (np.abs(turn) < 1))
    return lines
