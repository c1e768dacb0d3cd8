"""Segment the whole image at once, stretched to one size: Hai et al. 2019 and Sun et al. 2020, P1 and P2.

1. The coarsest level not smaller than the network's input is read, and the background around the breast cut off; where
   what is left is smaller than the input, it is read again from a finer level, so that it is stretched up only where
   the image has no finer one.
2. What is left is stretched to the input, whatever its aspect, and scaled.
3. The probabilities are stretched back to native resolution and cut at a threshold; each component is a finding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.engine import Engine
from mammofast.methods.parameters import is_number
from mammofast.methods.probability_map import (
    NETWORK,
    MapCase,
    MapParameters,
    Segmenter,
    find_components,
    probabilities,
)
from mammofast.methods.stages import are_sizes, blaming, coarsest_level
from mammofast.methods.tiling import Piece
from mammofast.records import Box, GreyTable, ImageResult, ImageSource, level_shape, tight_box
from mammofast.settings import Settings
from mammofast.tracing import span


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeImageParameters(MapParameters):
    """What a whole-image bundle's manifest states, beside :class:`MapParameters`.

    shape: (rows, cols) of the network's input; P1's is 512 x 512, P2's 256 x 256.
    background: rows and columns at the edges are cut off where no pixel is brighter than this part of the image's range
    of presentation values; null cuts nothing off, as P1 does. P2 cuts and gives no number; 0.02 is a fair one.
    """

    shape: tuple[int, int]
    background: float | None = None

    def __post_init__(self) -> None:
        MapParameters.__post_init__(self)
        if not are_sizes(self.shape, 2):
            raise ValueError(f"shape: got {self.shape}, expected (rows, cols)")
        if self.background is not None and (not is_number(self.background) or not 0 <= self.background < 1):
            raise ValueError(f"background: got {self.background!r}, expected a number, 0 or more and below 1, or null")


class WholeImage:
    """P1's and P2's method over one engine; results do not depend on which images share a call."""

    parameters_type = WholeImageParameters
    networks = (NETWORK,)

    def __init__(self, parameters: WholeImageParameters, engines: Mapping[str, Engine], settings: Settings) -> None:
        self._parameters = parameters
        shape, batch = parameters.shape, settings.segmentation_batch
        self._segmenter = Segmenter(engines[NETWORK], parameters, shape, shape, batch)

    def screen(self, images: Sequence[ImageSource]) -> list[ImageResult]:
        """Screen images, batched across them; an image that fails has a result with ``error`` set."""
        cases = [MapCase(image) for image in images]
        for case, output in self._segmenter.run(self._prepared(cases)):
            with blaming(case), span("paste"):
                found = probabilities(output, self._parameters.shape)
                case.findings = find_components(found, case.region, case.image, self._parameters)
        return [case.result() for case in cases]

    def _prepared(self, cases: Sequence[MapCase]) -> Iterator[tuple[MapCase, npt.NDArray[np.float32]]]:
        for case in cases:
            row = None
            with blaming(case):
                row = self._prepare(case)
            if row is not None:
                yield case, row

    def _prepare(self, case: MapCase) -> npt.NDArray[np.float32]:
        """Read an image and return its row of the network's input (channels, rows, cols)."""
        grey = grey_input(case, self._parameters)
        with span("prepare"):
            return self._parameters.scaling.rows(grey)

    def read(self, case: MapCase) -> npt.NDArray[np.generic]:
        """Read an image as finely as its foreground needs; return the pixels, the case knows what they are of."""
        return read_foreground(case, self._parameters)


def grey_input(case: MapCase, parameters: WholeImageParameters) -> npt.NDArray[np.float32]:
    """Read an image and return the network's input (rows, cols) in 0..1, before it is scaled for the channels."""
    grey: npt.NDArray[np.float32]
    pixels = read_foreground(case, parameters)
    with span("prepare"):
        case.low, case.high = parameters.scaling.contrast.window(pixels, case.table)
        (grey,) = ops.detection_inputs(pixels, case.table, case.low, case.high, [parameters.shape])
    return grey


def read_foreground(case: MapCase, parameters: WholeImageParameters) -> npt.NDArray[np.generic]:
    """Read an image as finely as its foreground needs; return the pixels, the case knows what they are of."""
    p = parameters
    level = coarsest_level(case.image.shape, p.shape)
    with span("read"):
        pixels = case.image.read(level=level)
        case.table = case.image.grey_table(p.grey)
    region: Box = (0, 0, pixels.shape[1], pixels.shape[0])
    if p.background is not None:
        with span("prepare"):
            region = _foreground(pixels, case.table, p.background)
        finer, window = _fine_enough(region, level, case.image.shape, p.shape)
        if finer < level:
            level, region = finer, window
            with span("read"):
                pixels = case.image.read(level=level, window=region)
        else:
            x_min, y_min, x_max, y_max = region
            pixels = pixels[y_min:y_max, x_min:x_max]
    x_min, y_min, x_max, y_max = region
    case.region = (x_min << level, y_min << level, x_max << level, y_max << level)
    case.shape = p.shape
    case.tiles = [(Piece(0, 0, p.shape[0]), Piece(0, 0, p.shape[1]))]
    return pixels


def _fine_enough(box: Box, level: int, shape: tuple[int, int], needed: tuple[int, int]) -> tuple[int, Box]:
    """Return the coarsest level, from ``level`` on, where a box of ``level`` is not smaller than needed, and it there.

    shape: (rows, cols) of the native image. needed: (rows, cols); level 0 where even the native box is smaller.
    """
    while level > 0 and (box[3] - box[1] < needed[0] or box[2] - box[0] < needed[1]):
        level -= 1
        rows, cols = level_shape(shape, level)
        x_min, y_min, x_max, y_max = (2 * edge for edge in box)
        box = (x_min, y_min, min(x_max, cols), min(y_max, rows))
    return level, box


def _foreground(pixels: npt.NDArray[np.generic], table: GreyTable | None, part: float) -> Box:
    """Return the box of what is brighter than ``part`` of the way from the darkest to the brightest value."""
    shown = pixels.astype(np.float64) if table is None else table.apply(pixels)
    low, high = float(shown.min()), float(shown.max())
    if low == high:
        return (0, 0, pixels.shape[1], pixels.shape[0])
    return tight_box(shown > low + part * (high - low))
