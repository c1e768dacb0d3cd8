"""Tissue to signal: a fat-suppressed spoiled gradient echo, its contrast medium, coil, motion and noise.

Signals are in units of unenhanced gland's.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.phantom.dce_mri.anatomy import Anatomy, draw_anatomy
from mammofast.phantom.dce_mri.distractors import draw_foci, draw_nipples, draw_vessels
from mammofast.phantom.dce_mri.kinetics import Curve
from mammofast.phantom.dce_mri.masses import Mass
from mammofast.phantom.dce_mri.placing import PlacedMass, place_mass
from mammofast.phantom.dce_mri.volume import Grid
from mammofast.phantom.fields import Field, logistic, power_law, smooth_step

# Muscle and liver fill slowly; blood is brightest in the first phase.
_BLOOD, _HEART = Curve(8.0, -0.10), Curve(6.0, -0.12, delay=-15.0)
_MUSCLE, _LIVER, _NIPPLE = Curve(50.0, 0.03), Curve(55.0, 0.04), Curve(40.0, 0.03)


@dataclass(frozen=True, slots=True)
class Uptake:
    """Something that enhances: where and how much, and when."""

    share: Field
    curve: Curve


@dataclass(frozen=True, slots=True)
class Scene:
    """A chest that is ready to be acquired.

    still: signal without contrast medium, but for the heart. uptakes: what is added to it. blood: the heart's signal
    before, and how much it gains. shading: of the coil. noise: standard deviation. masses: as placed, in order.
    ghost: part of the heart's signal that is repeated along the phase encoding's axis.
    """

    anatomy: Anatomy
    still: Field
    uptakes: tuple[Uptake, ...]
    blood: tuple[float, float]
    shading: Field
    noise: float
    ghost: float
    ghost_axis: int
    masses: tuple[PlacedMass, ...]

    def acquire(self, time: float, rng: np.random.Generator) -> Field:
        """Return the signal of a phase that begins at ``time`` s: no noise, heart beat or breath is another's."""
        signal = self.still.copy()
        for uptake in self.uptakes:
            part = uptake.curve.at(time)
            if part:
                signal += np.float32(part) * uptake.share
        heart = self.anatomy.heart.share(self.anatomy.grid, rng)
        before, gain = self.blood
        full = np.float32(before + gain * _HEART.at(time))
        signal += heart * (full - signal)
        signal = _moved(signal, rng.normal(0, 0.16, 3))
        for step in (-2, -1, 1, 2):
            size = signal.shape[self.ghost_axis] // 5
            signal += np.float32(self.ghost * full * rng.uniform(0.3, 1)) * np.roll(heart, step * size, self.ghost_axis)
        signal *= self.shading
        real, imaginary = (rng.standard_normal(signal.shape, np.float32) for _ in range(2))
        sigma = np.float32(self.noise)
        return np.asarray(np.hypot(signal + sigma * real, sigma * imaginary), dtype=np.float32)


def draw_scene(grid: Grid, masses: tuple[Mass, ...], rng: np.random.Generator) -> Scene:
    """Draw a chest with masses in its breasts, none on another."""
    anatomy = draw_anatomy(grid, max((mass.diameter for mass in masses), default=0.0), rng)
    texture = power_law(grid.shape, grid.spacing, rng, outer=25.0)
    inside = smooth_step(anatomy.depth / 2 + np.float32(0.5))
    fat = rng.uniform(0.10, 0.45)
    vessels = draw_vessels(anatomy, rng)
    wall = np.maximum(anatomy.muscle, np.maximum(anatomy.lung, anatomy.bone))
    deep = (grid.axes[1] > anatomy.front[:, None]) * (1 - wall)
    soft = fat * (1 + 0.06 * texture) + anatomy.gland * (1 - fat) * (1 + 0.08 * texture)
    soft += (0.55 - soft) * np.maximum(anatomy.liver, 0.9 * deep)
    soft += (rng.uniform(0.5, 0.75) * (1 + 0.05 * texture) - soft) * anatomy.muscle
    soft += (0.04 - soft) * anatomy.lung
    soft += (rng.uniform(0.12, 0.3) - soft) * anatomy.bone
    soft += (rng.uniform(0.4, 0.8) - soft) * np.exp(-(((anatomy.depth - 1) / 1.2) ** 2))
    soft += rng.uniform(0.0, 0.25) * vessels
    placed: list[PlacedMass] = []
    for mass in masses:
        placed.append(place_mass(mass, anatomy, placed, rng))
        target = soft[placed[-1].where]
        body = smooth_step(placed[-1].inside / 2 + np.float32(0.5))
        target += body * (rng.uniform(0.75, 1.05) - target)
    still = np.asarray(inside * soft, dtype=np.float32)
    return Scene(
        anatomy=anatomy,
        still=still,
        uptakes=_uptakes(anatomy, masses, placed, vessels, inside, rng),
        blood=(rng.uniform(0.3, 0.6), rng.uniform(1.5, 2.6)),
        shading=_shading(anatomy, rng),
        noise=rng.uniform(0.025, 0.06),
        ghost=rng.uniform(0.0, 0.03),
        # Left to right keeps the heart's ghosts off the breasts, and most of them do it so.
        ghost_axis=1 if rng.random() < 0.3 else 2,
        masses=tuple(placed),
    )


def _uptakes(
    anatomy: Anatomy,
    masses: tuple[Mass, ...],
    placed: list[PlacedMass],
    vessels: Field,
    inside: Field,
    rng: np.random.Generator,
) -> tuple[Uptake, ...]:
    grid = anatomy.grid
    patchy = logistic(2 * power_law(grid.shape, grid.spacing, rng, outer=22.0) - 0.5)
    background = rng.uniform(0.05, 0.75) * anatomy.gland * (0.35 + 1.1 * patchy)
    for place in placed:
        outside = 1 - smooth_step(place.inside / 2 + np.float32(0.5))
        background[place.where] *= outside
        vessels[place.where] *= outside
    uptakes = [
        Uptake(np.asarray(inside * background, dtype=np.float32), Curve(rng.uniform(60, 130), rng.uniform(0.03, 0.1))),
        Uptake(rng.uniform(0.7, 1.6) * vessels, _BLOOD),
        Uptake(inside * draw_foci(anatomy, rng), Curve(rng.uniform(15, 60), rng.uniform(-0.06, 0.06))),
        Uptake(inside * draw_nipples(anatomy, rng), _NIPPLE),
        Uptake(rng.uniform(0.08, 0.2) * anatomy.muscle, _MUSCLE),
        Uptake(rng.uniform(0.5, 0.9) * anatomy.liver, _LIVER),
    ]
    for mass, place in zip(masses, placed, strict=True):
        share = np.zeros(grid.shape, np.float32)
        share[place.where] = mass.enhancement * place.uptake
        uptakes.append(Uptake(share, mass.curve))
    return tuple(uptakes)


def _shading(anatomy: Anatomy, rng: np.random.Generator) -> Field:
    """Return the coil's sensitivity: highest around the breasts, falling towards the back, uneven from side to side."""
    z, y, x = anatomy.grid.axes
    fall = np.exp(-np.maximum(y - rng.uniform(50, 90), 0) / rng.uniform(130, 220))
    uneven = 1 + rng.uniform(-0.15, 0.15) * x / 100 + rng.uniform(-0.12, 0.12) * z / 60
    hot = rng.uniform(0.0, 0.35) * np.exp(-(((np.abs(x) - 140) / 35) ** 2))
    return np.asarray(fall * uneven + hot, dtype=np.float32)


def _moved(signal: Field, voxels: npt.NDArray[np.floating]) -> Field:
    """Return a signal moved by parts of a voxel along each axis: breath, and a patient who cannot lie still."""
    for axis, by in enumerate(voxels):
        part = np.float32(min(abs(by), 0.6))
        signal = signal + part * (np.roll(signal, 1 if by > 0 else -1, axis) - signal)
    return signal
