"""The breast without findings: outline, pectoral muscle, fat, gland, skin.

The chest wall is at the left edge, as in a left breast shown the usual way; right breasts are mirrored at the end.
x runs from the chest wall to the nipple, y down, both in mm.
"""

from dataclasses import dataclass

import numpy as np

from mammofast.phantom.fields import Field, logistic, power_law


@dataclass(frozen=True, slots=True)
class Breast:
    """What both views of a breast share; mm and parts of the field of view.

    depth: chest wall to nipple, part of the field's width. extent: half its height, part of the field's height.
    density: shifts the share of gland; -1 is almost all fat, 1 almost all gland.
    contrast: grey value of gland above fat's. clumping: how sharply gland and fat part.
    """

    depth: float
    extent: float
    density: float
    contrast: float
    clumping: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Breast":
        """Draw one."""
        return cls(
            depth=rng.uniform(0.55, 0.88),
            extent=rng.uniform(0.30, 0.44),
            density=rng.uniform(-1.0, 0.6),
            contrast=rng.uniform(0.16, 0.34),
            clumping=rng.uniform(1.2, 3.0),
        )


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A view of a breast on the base grid, all (rows, cols).

    tissue: grey value, air 0. depth: mm below the skin, negative outside. muscle: 0..1, the pectoral's share.
    """

    tissue: Field
    depth: Field
    muscle: Field


def draw_anatomy(
    breast: Breast, view: str, shape: tuple[int, int], spacing: float, rng: np.random.Generator
) -> Anatomy:
    """Draw a view ("CC" or "MLO") of a breast on a grid of ``shape`` with ``spacing`` mm between pixels."""
    y = ((np.arange(shape[0], dtype=np.float32) + 0.5) * spacing)[:, None]
    x = ((np.arange(shape[1], dtype=np.float32) + 0.5) * spacing)[None, :]
    height, width = shape[0] * spacing, shape[1] * spacing
    nipple_y, depth = _outline(breast, view, x, y, height, width, rng)
    muscle = _pectoral(x, y, height, width, rng) if view == "MLO" else np.zeros(shape, np.float32)

    gland = _gland(breast, x, y, nipple_y, breast.depth * width, depth, spacing, rng)
    texture = power_law(shape, spacing, rng, outer=25.0)
    strands = _strands(shape, spacing, rng)
    fat = rng.uniform(0.28, 0.38)
    tissue = fat + breast.contrast * gland * (1 + 0.18 * texture) + 0.022 * texture
    tissue += strands * (0.035 + 0.05 * gland)
    fibres = rng.uniform(0.06, 0.24) + 0.02 * texture
    tissue += muscle * (fat + fibres - tissue * rng.uniform(0.5, 0.8))
    # Under the paddle the breast is equally thick except at its rim, where it rounds off.
    rim = rng.uniform(9.0, 20.0)
    missing = 1 - np.clip(depth / rim, 0, 1)
    tissue *= np.sqrt(np.maximum(1 - missing * missing, 0)) ** np.float32(rng.uniform(0.5, 0.9))
    tissue += rng.uniform(0.05, 0.16) * np.exp(-(((depth - 1.3) / 0.8) ** 2)) * (depth > 0)
    tissue *= np.clip(depth / 0.4 + 0.5, 0, 1)
    return Anatomy(tissue.astype(np.float32), depth, muscle)


def _outline(
    breast: Breast, view: str, x: Field, y: Field, height: float, width: float, rng: np.random.Generator
) -> tuple[float, Field]:
    """Return the nipple's y and the depth below the skin, near it in mm, from an implicit superellipse."""
    reach = breast.depth * width
    if view == "CC":
        nipple_y = height * rng.uniform(0.46, 0.54)
        above = below = breast.extent * height
    else:  # a mediolateral breast hangs, and its upper side runs on into the axilla
        nipple_y = height * rng.uniform(0.58, 0.68)
        above, below = nipple_y * rng.uniform(1.06, 1.30), (height - nipple_y) * rng.uniform(0.80, 0.96)
    power_x, power_y = rng.uniform(1.7, 2.3), rng.uniform(1.9, 2.6)
    reach_y = np.where(y < nipple_y, above, below).astype(np.float32)
    t = np.abs(y - nipple_y) / reach_y
    u = x / reach
    value = 1 - u**power_x - t**power_y
    slope_x = power_x * u ** (power_x - 1) / reach
    slope_y = power_y * t ** (power_y - 1) / reach_y
    depth = value / np.sqrt(slope_x**2 + slope_y**2 + 1e-6)
    wobble = np.sin(y / rng.uniform(15, 40) + rng.uniform(0, 6)) * rng.uniform(0, 1.2)
    nipple = np.exp(-((y - nipple_y) ** 2 + (x - reach) ** 2) / rng.uniform(3.0, 5.5) ** 2) * rng.uniform(0, 6)
    return nipple_y, (depth + wobble + nipple).astype(np.float32)


def _pectoral(x: Field, y: Field, height: float, width: float, rng: np.random.Generator) -> Field:
    top, bottom = width * rng.uniform(0.2, 0.45), height * rng.uniform(0.4, 0.7)
    bulge = rng.uniform(-0.06, 0.18)
    u, v = x / top, y / bottom
    distance = (1 - u - v + bulge * u * v * 4) / np.hypot(1 / top, 1 / bottom)
    return logistic((distance / rng.uniform(0.8, 2.5)).astype(np.float32))


def _gland(
    breast: Breast,
    x: Field,
    y: Field,
    nipple_y: float,
    reach: float,
    depth: Field,
    spacing: float,
    rng: np.random.Generator,
) -> Field:
    """Return the share of gland, 0..1: a cone behind the nipple, torn by power-law noise, clear of the skin."""
    coarse = power_law(depth.shape, spacing, rng, outer=60.0)
    axis = rng.uniform(-0.15, 0.05)
    spread = (y - nipple_y - axis * (reach - x)) / (rng.uniform(0.35, 0.55) * reach)
    cone = np.exp(-(spread**2)) * np.clip((reach - x) / (0.2 * reach), 0, 1)
    share = logistic(np.float32(breast.clumping) * (coarse + 2.2 * cone - 1.3 + 1.2 * np.float32(breast.density)))
    return np.asarray(share * np.clip((depth - 4) / 10, 0, 1), dtype=np.float32)


def _strands(shape: tuple[int, int], spacing: float, rng: np.random.Generator) -> Field:
    """Cooper's ligaments and ducts: thin bright lines where a random field passes through zero."""
    lines = np.zeros(shape, np.float32)
    for outer, width in ((40.0, 0.035), (22.0, 0.05), (12.0, 0.07)):
        # Steeper than anatomy, so that the lines are smooth.
        field = power_law(shape, spacing, rng, outer=outer, beta=5.0)
        lines += np.exp(-((field / width) ** 2))
    return lines
