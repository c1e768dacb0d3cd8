"""P1's, P2's and P3's methods on a graphics card: pixels go up once, findings and the bits of their masks come down.

The steps are those of :mod:`mammofast.methods.whole_image` and :mod:`mammofast.methods.tiled`; an image that is
segmented whole is one tile. Tiles of many images share a network's batches.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mammofast.engine.lanes import Lanes
from mammofast.engine.on_device import DeviceEngine
from mammofast.errors import BrokenImage
from mammofast.machine import cores
from mammofast.methods.admission import PIXEL_BYTES, Admitted
from mammofast.methods.device_flow import LANES, OnDevice
from mammofast.methods.device_steps import contrast_windows, on_host, unpacked, unusable
from mammofast.methods.probability_map import (
    INPUT,
    LIMITS,
    NETWORK,
    OUTPUT,
    MapCase,
    find_components,
    finding,
    probabilities,
    reported,
)
from mammofast.methods.tiled import Tiled, TiledParameters
from mammofast.methods.tiling import Piece
from mammofast.methods.whole_image import WholeImage, WholeImageParameters
from mammofast.ops import device
from mammofast.pipeline import Stage, each
from mammofast.records import Finding, ImageResult
from mammofast.settings import Settings

# Components of an image that there is room for on the card; those of one with more are found on the host.
MOST_COMPONENTS = 1024
_PIXEL_BYTES = 2  # of an archive's
_USUAL_MM = (300.0, 240.0)  # a detector's rows and columns
# Of a native pixel on the card at most: as it was uploaded, grey, its probability, its mask and label.
_HELD = PIXEL_BYTES + 4 + 4 + 1 + 4


class _Tile(NamedTuple):
    case: MapCase
    rows: Piece
    cols: Piece


class MapOnDevice(OnDevice):
    """A whole-image or tiled method over one engine on a card; findings are the CPU's to the bit where maps are.

    method: says which pixels an image needs, and its tiles. tile: (rows, cols) of the network's input. margin: by how
    much, on each side, its output is smaller. usual: (rows, cols) that a usual image becomes.
    """

    def __init__(
        self,
        method: WholeImage | Tiled,
        parameters: WholeImageParameters | TiledParameters,
        tile: tuple[int, int],
        margin: int,
        usual: tuple[int, int],
        engine: DeviceEngine,
        settings: Settings,
    ) -> None:
        self._method, self._parameters = method, parameters
        self._tile, self._margin = tile, margin
        self._map_shape = (tile[0] - 2 * margin, tile[1] - 2 * margin)
        self._batch = settings.segmentation_batch
        self._readers = cores()
        channels = parameters.scaling.channels
        self._inputs = {INPUT: (self._batch, channels, *tile)}
        self._mean, self._std = (
            np.broadcast_to(np.asarray(values, np.float32), channels).tolist()
            for values in (parameters.scaling.mean, parameters.scaling.std)
        )
        with ExitStack() as made:
            self._lanes = made.enter_context(closing(Lanes(engine, LANES, [self._inputs])))
            # The level that is read is less than twice as large as what it becomes, both ways.
            pinned = 4 * usual[0] * usual[1] * _PIXEL_BYTES
            buffers = (self._readers + 2 * LANES, pinned)
            self.start(self.stages(), [self._lanes], buffers, "prepare", made, _HELD)

    def stages(self) -> list[Stage]:
        """Return the method as stages of a pipeline: an ``ImageSource`` in, its ``ImageResult`` out."""
        return [
            Stage(name="read", work=each(self._read), workers=self._readers),
            Stage(
                name="prepare",
                key=attrgetter("shape"),
                work=self._prepare,
                batch=LANES,
                workers=LANES,
                device=True,
            ),
            Stage(
                name="segment",
                split=lambda case: [_Tile(case, *place) for place in case.tiles],
                work=self._segment,
                join=_without_grey,
                batch=self._batch,
                workers=LANES,
                device=True,
            ),
            Stage(name="find", work=each(self._found), workers=LANES, device=True),
        ]

    def _read(self, admitted: Admitted) -> MapCase:
        """Read what the method needs of an image into pinned memory."""
        case = MapCase(admitted.image)
        case.pixels = admitted.placed(np.ascontiguousarray(self._method.read(case)))
        return case

    def _prepare(self, cases: Sequence[MapCase]) -> list[MapCase | BrokenImage]:
        """Bring images to their maps' size."""
        pixels, tables = [_pixels(case) for case in cases], [case.table for case in cases]
        with self._lanes.one() as engine:
            stream = engine.stream
            images = [device.to_device(array, stream, engine.card) for array in pixels]
            windows = contrast_windows(self._parameters.scaling.contrast, pixels, images, tables, engine)
            (greys,), status = device.detection_inputs(
                images, tables, windows, [cases[0].shape], dtype=np.float32, stream=stream
            )
            for i, case in enumerate(cases):
                case.grey = device.view(device.row(greys, i), case.shape)
                case.probabilities = device.empty(case.shape, np.float32, stream, engine.card)
            bad = device.to_host(status, stream)
        for case in cases:
            case.pixels = None  # only now: where the call fails, its images are prepared again
        return [unusable() if bad[i] else case for i, case in enumerate(cases)]

    def _segment(self, tiles: Sequence[_Tile]) -> list[_Tile | BrokenImage]:
        """Put what the network gives for tiles into their images' maps."""
        k, margin = len(tiles), self._margin
        with self._lanes.one() as engine:
            stream = engine.stream
            inputs = engine.buffers(self._inputs)
            device.cut_tiles(
                [tile.case.grey for tile in tiles],
                [(tile.rows.origin - margin, tile.cols.origin - margin) for tile in tiles],
                self._tile,
                self._mean,
                self._std,
                dtype=engine.inputs[0].dtype,
                stream=stream,
                out=device.view(inputs[INPUT], (k, *self._inputs[INPUT][1:])),
            )
            found = device.view(engine.run_on_device(inputs, stream)[OUTPUT], (k, *self._map_shape))
            status = device.stitch_tiles(
                found,
                [tile.case.probabilities for tile in tiles],
                [(tile.rows.origin, tile.cols.origin) for tile in tiles],
                [(tile.rows.start, tile.rows.stop, tile.cols.start, tile.cols.stop) for tile in tiles],
                LIMITS,
                stream=stream,
            )
            bad = device.to_host(status, stream)
            return [self._refused(found, i, stream) if bad[i] else tile for i, tile in enumerate(tiles)]

    def _refused(self, found: Any, i: int, stream: int) -> BrokenImage:
        """Return why a tile's probabilities are none, in the words that the CPU has for them."""
        values = device.to_host(device.row(found, i), stream).astype(np.float32)
        try:
            probabilities({OUTPUT: values[None]}, self._map_shape)
        except BrokenImage as error:
            return error
        raise AssertionError("probabilities: the card refused what the CPU takes")

    def _found(self, case: MapCase) -> ImageResult:
        """Look for findings in a map that is complete."""
        with self._lanes.one() as engine:
            stream, image = engine.stream, case.image
            region = device.to_device(np.array([case.region], np.int32), stream, engine.card)
            first = device.to_device(np.zeros(1, np.int32), stream, engine.card)
            whole = device.view(case.probabilities, (1, *case.shape))
            masks, _ = device.paste_masks(
                whole, region, first, 1, image.shape, self._parameters.threshold, stream=stream
            )
            found = device.label_mask(masks, MOST_COMPONENTS, stream=stream)
            labels = device.row(found.labels, 0)
            sums = device.component_sums(labels, case.probabilities, case.region, MOST_COMPONENTS, stream=stream)
            boxes, areas, counts, status, totals = on_host((*found[1:], sums), stream)
            if status[0]:
                maps = device.to_host(case.probabilities, stream)
                case.findings = find_components(maps, case.region, image, self._parameters)
                return case.result()
            boxes, areas = boxes[0, : counts[0]], areas[0, : counts[0]]
            chosen = reported(boxes, areas, image, self._parameters)
            bits, offsets = device.component_bits(labels, chosen.astype(np.int32), boxes[chosen], stream=stream)
            bits = device.to_host(bits, stream)
        case.findings = [
            _finding(boxes[number], int(totals[number]), int(areas[number]), bits, offsets, i)
            for i, number in enumerate(chosen)
        ]
        return case.result()


class WholeImageOnDevice(MapOnDevice):
    """P1's and P2's method on a card."""

    def __init__(
        self, parameters: WholeImageParameters, engines: Mapping[str, DeviceEngine], settings: Settings
    ) -> None:
        method = WholeImage(parameters, engines, settings)
        super().__init__(method, parameters, parameters.shape, 0, parameters.shape, engines[NETWORK], settings)


class TiledOnDevice(MapOnDevice):
    """P3's method on a card."""

    def __init__(self, parameters: TiledParameters, engines: Mapping[str, DeviceEngine], settings: Settings) -> None:
        method = Tiled(parameters, engines, settings)
        rows, cols = (round(side / parameters.pixel_size_mm) for side in _USUAL_MM)
        tile, margin = parameters.tile, parameters.margin
        super().__init__(method, parameters, tile, margin, (rows, cols), engines[NETWORK], settings)


def _pixels(case: MapCase) -> npt.NDArray[np.generic]:
    assert case.pixels is not None
    return case.pixels


def _without_grey(case: MapCase, tiles: Sequence[_Tile]) -> MapCase:
    case.grey = None
    return case


def _finding(
    box: npt.NDArray[np.int32],
    total: int,
    area: int,
    bits: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    i: int,
) -> Finding:
    shape = (int(box[3] - box[1]), int(box[2] - box[0]))
    return finding(box, total, area, unpacked(bits, offsets, i, shape))
