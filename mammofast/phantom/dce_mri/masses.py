"""Masses in three dimensions: shape, inner pattern and kinetics in the words of BI-RADS' MRI lexicon."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.phantom.dce_mri.kinetics import Curve
from mammofast.phantom.dce_mri.volume import Point
from mammofast.phantom.fields import Field, power_law, smooth_step

SHAPES = ("round", "oval", "irregular")
PATTERNS = ("homogeneous", "heterogeneous", "rim")
CURVES = ("washout", "plateau", "persistent")
# P5: "the diameter of the mass ranges from 1.07 to 6.69 cm".
DIAMETER_MM = (10.7, 66.9)
# Peak of the signal gained inside, over that of unenhanced gland.
ENHANCEMENT = (0.7, 1.9)
# Above 1: more small masses than a log-uniform diameter would give.
_TOWARDS_SMALL = 1.25


@dataclass(frozen=True, slots=True)
class Mass:
    """A mass.

    diameter: its longest axis, mm. shape, pattern: of SHAPES and PATTERNS. kinetics: of CURVES; curve: how it enhances,
    times the mass's enhancement, which is in units of unenhanced gland's signal. seed: of its outline and texture.
    """

    diameter: float
    shape: str
    pattern: str
    kinetics: str
    curve: Curve
    enhancement: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Mass":
        """Draw one; what is too small for a dark middle has none."""
        low, high = np.log(DIAMETER_MM)
        diameter = float(np.exp(low + (high - low) * rng.random() ** _TOWARDS_SMALL))
        pattern = str(rng.choice(PATTERNS, p=(0.3, 0.4, 0.3)))
        kinetics = str(rng.choice(CURVES, p=(0.5, 0.35, 0.15)))
        return cls(
            diameter=diameter,
            shape=str(rng.choice(SHAPES, p=(0.2, 0.35, 0.45))),
            pattern=pattern if diameter > 18 else "homogeneous",
            kinetics=kinetics,
            curve=Curve.of_mass(kinetics, rng),
            enhancement=float(rng.uniform(*ENHANCEMENT)),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True, slots=True)
class _Outline:
    """A closed surface around the origin: an ellipsoid with waves on it.

    frame: (3, 3), the ellipsoid's axes over their lengths. waves: (k, 3), each a plane wave over directions; heights
    and phases (k,).
    """

    frame: npt.NDArray[np.float64]
    waves: npt.NDArray[np.float64]
    heights: npt.NDArray[np.float64]
    phases: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, shape: str, rng: np.random.Generator) -> "_Outline":
        axes = np.array([1.0, *rng.uniform(*{"round": (0.88, 1.0), "oval": (0.55, 0.8)}.get(shape, (0.65, 1.0)), 2)])
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        count, height = (14, 0.075) if shape == "irregular" else (4, 0.015)
        waves = rng.standard_normal((count, 3))
        waves *= (rng.uniform(2.5, 8.0, count) / np.linalg.norm(waves, axis=1))[:, None]
        return cls(turn.T / axes[:, None], waves, height * rng.uniform(0.4, 1, count), rng.uniform(0, 2 * np.pi, count))

    def radius(self, directions: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return how far it is in each of (3, n) directions of length 1."""
        waves = (self.heights[:, None] * np.cos(self.waves @ directions + self.phases[:, None])).sum(axis=0)
        out: npt.NDArray[np.float64] = np.exp(waves) / np.linalg.norm(self.frame @ directions, axis=0)
        return out

    def diameter(self) -> float:
        """Return its longest diameter through the origin."""
        # A golden spiral: as even as directions can be.
        k = np.arange(2000) + 0.5
        height, angle = 1 - 2 * k / 2000, np.pi * (1 + 5**0.5) * k
        flat = np.sqrt(1 - height**2)
        directions = np.stack([height, flat * np.cos(angle), flat * np.sin(angle)])
        return float((self.radius(directions) + self.radius(-directions)).max())


def draw_inside(mass: Mass, spacing: Point) -> Field:
    """Return how far inside its outline each voxel is, mm, negative outside; odd sides, its middle in the middle."""
    rng = np.random.default_rng([mass.seed, 0])
    outline = _Outline.draw(mass.shape, rng)
    places = []
    for step, jitter in zip(spacing, rng.uniform(-0.5, 0.5, 3), strict=True):
        half = int((0.7 * mass.diameter + 6) / step) + 1
        places.append((np.arange(-half, half + 1) + jitter) * step)
    place = np.stack([axis.ravel() for axis in np.meshgrid(*places, indexing="ij")])
    distance = np.maximum(np.linalg.norm(place, axis=0), 1e-3)
    radius = outline.radius(place / distance) * (mass.diameter / outline.diameter())
    inside: Field = (radius - distance).astype(np.float32)
    return inside.reshape([len(axis) for axis in places])


def draw_uptake(mass: Mass, inside: Field, spacing: Point) -> Field:
    """Return the part of the mass's enhancement at each voxel, fading over its margin; its mean inside is 1."""
    rng = np.random.default_rng([mass.seed, 1])
    width = np.float32(rng.uniform(1.5, 4.0))
    uptake = smooth_step(inside / width + np.float32(0.5))
    if mass.pattern == "rim":
        thickness = np.float32(rng.uniform(3.0, 5.0))
        uptake *= 1 - np.float32(rng.uniform(0.6, 0.9)) * smooth_step(inside / thickness - np.float32(0.7))
    if mass.pattern != "homogeneous":
        texture = power_law(inside.shape, spacing, rng, outer=0.6 * mass.diameter, beta=3.5)
        uptake *= np.clip(1 + np.float32(rng.uniform(0.15, 0.35)) * texture, 0.15, 2)
    return np.asarray(uptake / max(float(uptake[inside > 0].mean()), 1e-3), dtype=np.float32)
