"""The chest of a woman lying prone, without findings: breasts, chest wall, ribs, lungs, heart, liver, vessels.

Places are of :class:`mammofast.phantom.dce_mri.volume.Grid`, in mm.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast.phantom.dce_mri.volume import Grid, Point
from mammofast.phantom.fields import Field, logistic, power_law, smooth_step

# A breast is where it stands out of the chest's own skin by more than this, mm: below lies only subcutaneous fat.
_STANDS_OUT = 8.0


@dataclass(frozen=True, slots=True)
class Breast:
    """One breast, hanging: its middle (x, z), half its width and height and its length, mm, and how it is built.

    boxiness: 2 is an ellipse from above. bluntness: smaller is blunter. density: shifts the share of gland, -1 almost
    all fat, 1 almost all gland.
    """

    x: float
    z: float
    half_width: float
    half_height: float
    length: float
    boxiness: float
    bluntness: float
    density: float

    @classmethod
    def pair(cls, rng: np.random.Generator, largest: float) -> "tuple[Breast, Breast]":
        """Draw right and left, nearly alike; the longer side of a largest mass still finds room."""
        x, z = rng.uniform(72, 84), rng.uniform(-8, 8)
        # Whoever has a mass of 6 cm has a breast that holds it.
        least = min(0.75 * largest, 48)
        half_width, half_height = rng.uniform(max(50, least), 64), rng.uniform(max(48, least), 62)
        length = rng.uniform(max(48, 1.35 * largest), 100) if largest < 70 else 100.0
        boxiness, bluntness = rng.uniform(2.0, 2.6), rng.uniform(0.5, 0.75)
        density = rng.uniform(-1, 0.7)

        def one(side: int) -> Breast:
            vary = rng.uniform(0.93, 1.07, 3)
            return cls(
                side * x,
                z + rng.uniform(-4, 4),
                half_width * vary[0],
                half_height * vary[1],
                length * vary[2],
                boxiness,
                bluntness,
                density + rng.uniform(-0.1, 0.1),
            )

        return one(-1), one(1)

    def height(self, z: Field, x: Field) -> Field:
        """Return how far it stands out of the chest (slices, cols), mm."""
        u, v = np.abs(x - self.x) / self.half_width, np.abs(z - self.z) / self.half_height
        missing = np.clip(u**self.boxiness + v**self.boxiness, 0, 1)
        return np.asarray(self.length * (1 - missing) ** self.bluntness, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Heart:
    """The heart's middle (z, y, x) and half axes in mm, and how much it moves between phases."""

    centre: Point
    axes: Point
    beat: float

    def share(self, grid: Grid, rng: np.random.Generator) -> Field:
        """Return 0..1 as one phase finds it: no two phases meet the same beat."""
        scale = 1 + self.beat * rng.uniform(-1, 1)
        moved = [c + rng.normal(0, 30 * self.beat) for c in self.centre]
        parts = [((g - c) / (a * scale)) ** 2 for g, c, a in zip(grid.axes, moved, self.axes, strict=True)]
        return smooth_step((1 - np.sqrt(parts[0] + parts[1] + parts[2])) * np.float32(min(self.axes) / 5) + 0.5)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A chest on its grid; fields are (slices, rows, cols) unless said otherwise.

    depth: mm below the skin, negative in air. region: the breasts,
    what is in front of the pectoral muscle where they stand out of the chest. gland, muscle, liver, lung, bone: 0..1.
    front: y of the pectoral muscle's face (slices, cols). nipples: their places (z, y, x).
    """

    grid: Grid
    depth: Field
    region: npt.NDArray[np.bool_]
    gland: Field
    muscle: Field
    lung: Field
    bone: Field
    liver: Field
    heart: Heart
    front: Field
    nipples: tuple[Point, Point]


def draw_anatomy(grid: Grid, largest: float, rng: np.random.Generator) -> Anatomy:
    """Draw a chest whose breasts have room for a mass of ``largest`` mm."""
    z, y, x = grid.axes
    plane_z, plane_x = z[:, 0], x[0]
    breasts = Breast.pair(rng, largest)
    stands_out = np.maximum(*(breast.height(plane_z, plane_x) for breast in breasts))
    across, plane = (grid.shape[0], grid.shape[2]), (grid.spacing[0], grid.spacing[2])
    chest = rng.uniform(140, 168) + rng.uniform(14, 32) * (plane_x / 100) ** 2
    chest = chest + rng.uniform(2, 7) * np.exp(-((plane_x / 22) ** 2)) - rng.uniform(-0.06, 0.06) * plane_z
    chest = (chest + rng.uniform(0.3, 1.2) * power_law(across, plane, rng, outer=90.0)).astype(np.float32)
    skin = chest - stands_out
    slope_z, slope_x = np.gradient(skin, *plane)
    depth = (y - skin[:, None]) / np.sqrt(1 + slope_z**2 + slope_x**2)[:, None]
    depth = np.minimum(depth, y - skin[:, None]).astype(np.float32)
    ripple = rng.uniform(0.8, 2.2) * power_law(across, plane, rng, outer=60.0)
    front = (chest + rng.uniform(3, 13) + ripple).astype(np.float32)
    behind = y - front[:, None]
    muscle, lung, bone = _wall(behind, grid, rng)
    chest_y = float(chest[across[0] // 2, across[1] // 2])
    heart = Heart(
        (rng.uniform(-45, -10), chest_y + rng.uniform(62, 75), rng.uniform(18, 38)),
        (rng.uniform(42, 55), rng.uniform(34, 42), rng.uniform(42, 55)),
        rng.uniform(0.03, 0.07),
    )
    liver = _liver(grid, chest_y, rng) * (behind > 26)
    return Anatomy(
        grid=grid,
        depth=depth,
        region=(depth > 0) & (behind < 0) & (stands_out > _STANDS_OUT)[:, None],
        gland=_gland(breasts, grid, front, depth, rng),
        muscle=muscle,
        lung=np.asarray(lung * (1 - liver), dtype=np.float32),
        bone=bone,
        liver=np.asarray(liver, dtype=np.float32),
        heart=heart,
        front=front,
        nipples=tuple(_nipple(breast, grid, skin) for breast in breasts),  # type: ignore[arg-type]
    )


def _wall(behind: Field, grid: Grid, rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """Return muscle, lung and bone by the distance behind the pectoral muscle's face."""
    z, _, x = grid.axes
    pectoral = rng.uniform(9, 17) * (0.35 + 0.65 * smooth_step((np.abs(x) - 12) / 30))
    to_lung = pectoral + rng.uniform(10, 14)
    inner = behind - to_lung
    # Ribs slant; between them lies muscle again, and in front of the middle the breastbone.
    ribs = smooth_step(4 * np.sin((z + 0.35 * np.abs(x)) * (2 * np.pi / rng.uniform(26, 32)) + rng.uniform(0, 6)))
    ribs = ribs * smooth_step((np.abs(x) - 22) / 8)
    sternum = smooth_step((19 - np.abs(x)) / 5)
    layer = smooth_step((behind - pectoral) / 2) * smooth_step(-inner / 2)
    bone = layer * np.maximum(ribs, sternum)
    muscle = smooth_step(behind / 2.5 + 0.5) * smooth_step(-inner / 2 + 0.5) * (1 - bone)
    # Behind the breastbone lie great vessels, fat and thymus, wider towards the back and shifted by the heart.
    lean = rng.uniform(0.02, 0.18)
    mediastinum = smooth_step((rng.uniform(16, 26) + 0.15 * inner - np.abs(x - lean * inner)) / 8)
    lung = smooth_step(inner / 3 + 0.5) * (1 - mediastinum)
    return (np.asarray(field, dtype=np.float32) for field in (muscle, lung, bone))  # type: ignore[return-value]


def _liver(grid: Grid, chest_y: float, rng: np.random.Generator) -> Field:
    """Return the liver's dome, which the lowest slices may cut."""
    centre = (rng.uniform(-120, -85), chest_y + rng.uniform(85, 110), rng.uniform(-70, -50))
    parts = [((g - c) / a) ** 2 for g, c, a in zip(grid.axes, centre, (62.0, 75.0, 85.0), strict=True)]
    return smooth_step((1 - np.sqrt(parts[0] + parts[1] + parts[2])) * 12 + np.float32(0.5))


def _gland(
    breasts: tuple[Breast, Breast],
    grid: Grid,
    front: Field,
    depth: Field,
    rng: np.random.Generator,
) -> Field:
    """Return the share of gland: a cone behind each nipple, torn by power-law noise, clear of skin and muscle."""
    z, y, x = grid.axes
    coarse = power_law(grid.shape, grid.spacing, rng, outer=55.0)
    clumping = np.float32(rng.uniform(1.5, 3.2))
    cone = np.full(depth.shape, -2.0, np.float32)
    for breast in breasts:
        u, v = (x - breast.x) / (0.5 * breast.half_width), (z - breast.z) / (0.5 * breast.half_height)
        here = 2.2 * np.exp(-(u**2) - v**2) - 1.3 + 1.2 * breast.density
        cone = np.where(np.sign(x) == np.sign(breast.x), here, cone)
    share = logistic(clumping * (coarse + cone))
    share *= np.clip((depth - 5) / 8, 0, 1) * np.clip((front[:, None] - y - 4) / 6, 0, 1)
    return np.asarray(share, dtype=np.float32)


def _nipple(breast: Breast, grid: Grid, skin: Field) -> Point:
    i, _, j = grid.index([(breast.z, 0, breast.x)])[0].tolist()
    return breast.z, float(skin[i, j]) + 2.0, breast.x
