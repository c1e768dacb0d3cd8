"""What methods share that segment a whole image: a map of probabilities, and the findings in it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.engine import Engine, TensorSpec
from mammofast.errors import BrokenImage, BundleError, Reason
from mammofast.methods.parameters import as_record, is_number
from mammofast.methods.scaling import Scaling
from mammofast.methods.stages import Case, Outcome, batches, check_network, finite, in_words, run_rows
from mammofast.methods.tiling import Piece
from mammofast.records import Box, Finding, GreyPipeline, ImageSource
from mammofast.tracing import span

T = TypeVar("T")
NETWORK, INPUT, OUTPUT = "segmenter", "image", "mask"
# How far half-precision arithmetic may leave 0..1.
_ROUNDING = 1e-2
LIMITS = (-_ROUNDING, 1 + _ROUNDING)
# Probabilities are summed as whole multiples of 2^-30 (csrc/components): no order of adding shows.
PROBABILITY_ONE = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class MapParameters:
    """What the manifest of every such bundle states.

    grey, scaling: from stored values to the network's input. threshold: probability from which a pixel is mass.
    min_area_mm2: smaller components are left out.
    assumed_pixel_spacing_mm: (between rows, between columns) of images that do not say; without it an image that does
    not say fails where the size of its pixels is needed.
    """

    grey: GreyPipeline
    scaling: Scaling
    threshold: float = 0.5
    min_area_mm2: float = 0.0
    assumed_pixel_spacing_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "grey", as_record(GreyPipeline, self.grey, "grey"))
        object.__setattr__(self, "scaling", as_record(Scaling, self.scaling, "scaling"))
        if not is_number(self.threshold) or not 0 < self.threshold <= 1:
            raise ValueError(f"threshold: got {self.threshold!r}, expected a number above 0 and at most 1")
        if not is_number(self.min_area_mm2) or self.min_area_mm2 < 0:
            raise ValueError(f"min_area_mm2: got {self.min_area_mm2!r}, expected a number, 0 or more")
        spacing = self.assumed_pixel_spacing_mm
        if spacing is not None and not _are_lengths(spacing):
            raise ValueError(f"assumed_pixel_spacing_mm: got {spacing!r}, expected two positive lengths, or null")

    def spacing(self, image: ImageSource) -> tuple[float, float]:
        """Return an image's millimetres between rows and between columns.

        Raises
        ------
        BrokenImage
            When neither the image nor the bundle knows them.

        """
        spacing = image.pixel_spacing or self.assumed_pixel_spacing_mm
        if spacing is None:
            raise BrokenImage(
                Reason.BAD_HEADER,
                "the pixel spacing is not known, and this bundle needs it; give pixel_spacing, "
                "or state assumed_pixel_spacing_mm in the bundle",
            )
        return spacing


@dataclass(slots=True)
class MapCase(Case):
    """An image on its way to a map of probabilities.

    shape: rows and columns of the map. region: the native pixels that it is of. tiles: that it is put together from.
    pixels: of the level and window that were read, kept where they are uploaded. grey: the same in the map's size.
    probabilities: the map. The last two are on the card where the method runs there.
    """

    pixels: npt.NDArray[np.generic] | None = None
    shape: tuple[int, int] = (0, 0)
    region: Box = (0, 0, 0, 0)
    tiles: list[tuple[Piece, Piece]] = field(default_factory=list)
    grey: Any = None
    probabilities: Any = None


class Segmenter:
    """The one network of such a method, which takes inputs of ``shape`` and gives maps of ``map_shape``."""

    def __init__(
        self,
        engine: Engine,
        parameters: MapParameters,
        shape: tuple[int, int],
        map_shape: tuple[int, int],
        batch: int,
    ) -> None:
        """Check when a bundle is opened that the network is this one; BundleError when it is not."""
        check_network(NETWORK, engine, INPUT, (parameters.scaling.channels, *shape), [OUTPUT], batch)
        spec = next(spec for spec in engine.outputs if spec.name == OUTPUT)
        expected = (batch, 1, *map_shape)
        if not spec.accepts(np.broadcast_to(np.float32(0), expected)):
            raise BundleError(
                f"{NETWORK}: gives {in_words([spec])}, expected {in_words([TensorSpec(OUTPUT, expected, 'float32')])}; "
                "'outputs' in the manifest can name another tensor, an activation and a channel"
            )
        self._engine = engine
        self._batch = batch

    def run(self, rows: Iterable[tuple[T, npt.NDArray[np.float32]]]) -> Iterator[tuple[T, Outcome]]:
        """Yield what the network gives for rows (channels, rows, cols), each with what it came with.

        A batch is taken from ``rows`` when the one before it has been used up.
        """
        for batch in batches(rows, self._batch):
            inputs = np.stack([row for _, row in batch])
            with span("segment", len(batch)):
                outputs = run_rows(self._engine, INPUT, inputs, self._batch)
            yield from zip((whose for whose, _ in batch), outputs, strict=True)


def probabilities(output: Outcome, map_shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return a row's map (rows, cols).

    Raises
    ------
    BrokenImage
        When it holds NaN or infinity, has another shape, or holds no probabilities.

    """
    values = finite(output, OUTPUT, NETWORK)
    if values.shape != (1, *map_shape):
        raise BrokenImage(Reason.INTERNAL, f"the {NETWORK} gave {values.shape}, expected {(1, *map_shape)}")
    low, high = float(values.min()), float(values.max())
    if low < LIMITS[0] or high > LIMITS[1]:
        raise BrokenImage(
            Reason.VALUE_RANGE,
            f"the {NETWORK} gave values from {low:.3g} to {high:.3g}, expected probabilities; "
            "its manifest can state an activation",
        )
    found: npt.NDArray[np.float32] = values[0]
    return found


def find_components(
    probabilities: npt.NDArray[np.float32], region: Box, image: ImageSource, parameters: MapParameters
) -> list[Finding]:
    """Return the 8-connected components of a map at native resolution, ordered by (y_min, x_min, y_max, x_max).

    Score and confidence are both the mean over a component's pixels of the probability of the nearest pixel of the map:
    unlike the peak it does not tie where a network saturates, and one bright pixel does not rank a component first. The
    mean is of whole multiples of 2**-30.

    probabilities: (rows, cols). region: the native pixels they are of; what leaves the image is cut off.
    """
    mask = ops.paste_masks(probabilities[None], np.array([region], np.int32), image.shape, parameters.threshold)
    rows = _nearest(probabilities.shape[0], region[1], region[3], image.shape[0])
    cols = _nearest(probabilities.shape[1], region[0], region[2], image.shape[1])
    labels, boxes, areas = ops.label_mask(mask)
    findings = []
    for number in reported(boxes, areas, image, parameters):
        x_min, y_min, x_max, y_max = boxes[number]
        inside = labels[y_min:y_max, x_min:x_max] == number + 1
        values = probabilities[np.ix_(rows[y_min:y_max], cols[x_min:x_max])][inside].astype(np.float64)
        total = np.floor(values * PROBABILITY_ONE + 0.5).astype(np.int64).sum()
        findings.append(finding(boxes[number], total, areas[number], inside))
    return findings


def reported(
    boxes: npt.NDArray[np.int32], areas: npt.NDArray[np.int64], image: ImageSource, parameters: MapParameters
) -> npt.NDArray[np.int64]:
    """Return which components are findings, ordered by (y_min, x_min, y_max, x_max)."""
    smallest = 0.0
    if parameters.min_area_mm2:
        row_mm, col_mm = parameters.spacing(image)
        smallest = parameters.min_area_mm2 / (row_mm * col_mm)
    order = np.lexsort((boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1]))
    return order[areas[order] >= smallest]


def finding(box: npt.NDArray[np.int32], total: int, area: int, mask: npt.NDArray[np.bool_]) -> Finding:
    """Return a component as a finding. total: the sum of its pixels' probabilities, in units of 2**-30."""
    x_min, y_min, x_max, y_max = map(int, box)
    confidence = min(max(int(total) / (PROBABILITY_ONE * int(area)), 0.0), 1.0)
    return Finding((x_min, y_min, x_max, y_max), confidence, confidence, mask)


def _are_lengths(values: object) -> bool:
    return isinstance(values, tuple) and len(values) == 2 and all(is_number(size) and size > 0 for size in values)


def _nearest(size: int, start: int, stop: int, length: int) -> npt.NDArray[np.int64]:
    """Return which of ``size`` map pixels, stretched from ``start`` to ``stop``, each of ``length`` pixels lies in."""
    twice = 2 * (np.arange(length) - start) + 1
    return np.clip(twice * size // (2 * (stop - start)), 0, size - 1)
