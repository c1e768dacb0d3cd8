"""Segment tile by tile at a working resolution: P3's FCN, U-Net, Dilation10 and DeepLabv3.

1. The coarsest level whose pixels are not larger than the working ones is read and resampled to them.
2. Tiles of one size are cut from it, see :mod:`mammofast.methods.tiling`, and batched across images.
3. What is kept of each tile goes into one map of the image, which is stretched to native resolution and cut at a
   threshold; each component is a finding.

What is put together equals whole-image inference, up to rounding, where an output pixel depends on no input further
away than the halo. With a global operation (DeepLabv3's pooling, GroupNorm) every tile is an image of its own, and
beside whole-image inference no bound but 1 can be given for its probabilities: one tile should hold the image, as 776
pixels of 0.4 mm do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.engine import Engine
from mammofast.errors import BrokenImage, Reason
from mammofast.methods.parameters import is_number, is_whole
from mammofast.methods.probability_map import (
    NETWORK,
    MapCase,
    MapParameters,
    Segmenter,
    find_components,
    probabilities,
)
from mammofast.methods.stages import LAST_LEVEL, are_sizes, blaming
from mammofast.methods.tiling import Piece, lay_tiles, mirrored
from mammofast.records import ImageResult, ImageSource
from mammofast.settings import Settings
from mammofast.tracing import span

# A map of this many working pixels takes half a GiB; a mammogram at its native resolution has a tenth of them.
_MAX_PIXELS = 2**27
# Decimal spacings, say 0.07 and 0.14 mm, are not exact multiples in binary.
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TiledParameters(MapParameters):
    """What a tiled bundle's manifest states, beside :class:`MapParameters`.

    pixel_size_mm: of the working pixels, which are square. tile: (rows, cols) of the network's input.
    stride: input sides are multiples of this apart.
    halo: how many pixels of input, on each side, an output pixel may depend on. null where it is the whole image: one
    tile must then hold it. A number all the same accepts that tiles differ from the whole image, by anything at all.
    margin: by how many pixels, on each side, the network's output is smaller than its input.
    """

    pixel_size_mm: float
    tile: tuple[int, int]
    stride: int
    halo: int | None
    margin: int = 0

    def __post_init__(self) -> None:
        MapParameters.__post_init__(self)
        if not is_number(self.pixel_size_mm) or self.pixel_size_mm <= 0:
            raise ValueError(f"pixel_size_mm: got {self.pixel_size_mm!r}, expected a positive length")
        if not are_sizes((self.stride,)):
            raise ValueError(f"stride: got {self.stride!r}, expected an integer >= 1")
        for name, value in (("halo", 0 if self.halo is None else self.halo), ("margin", self.margin)):
            if not is_whole(value) or value < 0:
                raise ValueError(f"{name}: got {value!r}, expected an integer >= 0")
        if not are_sizes(self.tile, 2) or not all(side > 2 * self.margin for side in self.tile):
            raise ValueError(f"tile: got {self.tile}, expected (rows, cols), each more than two margins")

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns that the network gives for a tile."""
        return (self.tile[0] - 2 * self.margin, self.tile[1] - 2 * self.margin)


@dataclass(slots=True)
class _Case(MapCase):
    """left: how many tiles the map waits for."""

    left: int = 0


@dataclass(frozen=True, slots=True)
class _Tile:
    case: _Case
    rows: Piece
    cols: Piece


class Tiled:
    """P3's method over one engine; results do not depend on which images share a call."""

    parameters_type = TiledParameters
    networks = (NETWORK,)

    def __init__(self, parameters: TiledParameters, engines: Mapping[str, Engine], settings: Settings) -> None:
        self._parameters = parameters
        tile, map_shape, batch = parameters.tile, parameters.map_shape, settings.segmentation_batch
        self._segmenter = Segmenter(engines[NETWORK], parameters, tile, map_shape, batch)

    def screen(self, images: Sequence[ImageSource]) -> list[ImageResult]:
        """Screen images, their tiles batched across them; an image that fails has a result with ``error`` set."""
        cases = [_Case(image) for image in images]
        # Tiles are cut when their batch is, and a map ends with its last tile: few images are in memory at a time.
        for tile, output in self._segmenter.run(self._tiles(cases)):
            if tile.case.error is None:
                with blaming(tile.case), span("paste"):
                    self._keep(tile, probabilities(output, self._parameters.map_shape))
            if tile.case.error is not None:
                tile.case.probabilities = None
        return [case.result() for case in cases]

    def _tiles(self, cases: Sequence[_Case]) -> Iterator[tuple[_Tile, npt.NDArray[np.float32]]]:
        for case in cases:
            with blaming(case):
                self._prepare(case)
            for rows, cols in case.tiles:
                if case.error is not None:
                    break
                yield _Tile(case, rows, cols), self._parameters.scaling.rows(self._cut(case.grey, rows, cols))
            case.grey = None

    def _prepare(self, case: _Case) -> None:
        """Bring an image to working pixels."""
        case.grey = grey_input(case, self._parameters)
        case.tiles = self._lay(*case.shape)
        case.probabilities = np.empty(case.shape, dtype=np.float32)
        case.left = len(case.tiles)

    def read(self, case: MapCase) -> npt.NDArray[np.generic]:
        """Read an image as finely as its working pixels need; return the pixels, the case knows its tiles."""
        pixels = read_working(case, self._parameters)
        case.tiles = self._lay(*case.shape)
        return pixels

    def _lay(self, rows: int, cols: int) -> list[tuple[Piece, Piece]]:
        p = self._parameters
        try:
            down = lay_tiles(rows, p.tile[0], p.stride, p.halo, p.margin)
            across = lay_tiles(cols, p.tile[1], p.stride, p.halo, p.margin)
        except ValueError as error:
            raise BrokenImage(Reason.TOO_LARGE, f"in the bundle's working pixels {error}") from error
        return list(product(down, across))

    def _cut(self, grey: npt.NDArray[np.float32], rows: Piece, cols: Piece) -> npt.NDArray[np.float32]:
        """Return a tile of the image, which is mirrored beyond its edges."""
        margin = self._parameters.margin
        index = (
            mirrored(piece.origin - margin, piece.origin - margin + side, size)
            for piece, side, size in zip((rows, cols), self._parameters.tile, grey.shape, strict=True)
        )
        return grey[np.ix_(*index)]

    def _keep(self, tile: _Tile, values: npt.NDArray[np.float32]) -> None:
        """Put a tile's part into its image's map, and look for findings when that was the last."""
        case, rows, cols = tile.case, tile.rows, tile.cols
        case.probabilities[rows.start : rows.stop, cols.start : cols.stop] = values[
            rows.start - rows.origin : rows.stop - rows.origin, cols.start - cols.origin : cols.stop - cols.origin
        ]
        case.left -= 1
        if case.left == 0:
            case.findings = find_components(case.probabilities, case.region, case.image, self._parameters)
            case.probabilities = None


def grey_input(case: MapCase, parameters: TiledParameters) -> npt.NDArray[np.float32]:
    """Read an image and return it in working pixels (rows, cols), in 0..1, before it is scaled for the channels."""
    grey: npt.NDArray[np.float32]
    pixels = read_working(case, parameters)
    with span("prepare"):
        case.low, case.high = parameters.scaling.contrast.window(pixels, case.table)
        (grey,) = ops.detection_inputs(pixels, case.table, case.low, case.high, [case.shape])
    return grey


def read_working(case: MapCase, parameters: TiledParameters) -> npt.NDArray[np.generic]:
    """Read an image as finely as its working pixels need; return the pixels, the case knows their number and frame."""
    p = parameters
    spacing = p.spacing(case.image)
    level = 0
    while level < LAST_LEVEL and max(spacing) * 2 ** (level + 1) <= p.pixel_size_mm * (1 + _TOLERANCE):
        level += 1
    with span("read"):
        pixels = case.image.read(level=level)
        case.table = case.image.grey_table(p.grey)
    case.frame = (pixels.shape[0] << level, pixels.shape[1] << level)
    rows, cols = (max(round(side * mm / p.pixel_size_mm), 1) for side, mm in zip(case.frame, spacing, strict=True))
    if rows * cols > _MAX_PIXELS:
        raise BrokenImage(Reason.TOO_LARGE, f"{rows} x {cols} pixels of the bundle's {p.pixel_size_mm} mm")
    case.shape = (rows, cols)
    case.region = (0, 0, case.frame[1], case.frame[0])
    return pixels
