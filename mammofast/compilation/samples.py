"""What engines are compared on: a phantom image, a mass in it, and noise."""

from functools import cache

import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.methods.contrast import Contrast
from mammofast.phantom.display import Display
from mammofast.phantom.plan import Mix, Purpose, plan_studies
from mammofast.phantom.studies import DISPLAY_STREAM
from mammofast.records import GreyTable

Array = npt.NDArray[np.float32]

_SEED = 4
_CONTRAST = Contrast(1.0, 99.5)
_WITH_MASSES = Mix(with_mass=1.0, with_two=0.0, subtle=0.0)


@cache
def _phantom() -> tuple[npt.NDArray[np.generic], GreyTable, tuple[float, float]]:
    """Return a phantom view's coarse pixels, what they show, and its contrast window."""
    planned = plan_studies(1, _SEED, Purpose.VALIDATION, _WITH_MASSES)[0][0]
    view = planned.draw()
    display = Display.draw(planned.stream(DISPLAY_STREAM))
    pixels, table = display.store(view.coarse()), GreyTable(0, display.shown())
    return pixels, table, _CONTRAST.window(pixels, table)


def real(channels: int, size: tuple[int, int]) -> Array:
    """Return a phantom view in 0..1, float32 (1, channels, rows, cols), as methods prepare it, its channels equal."""
    pixels, table, (low, high) = _phantom()
    image = ops.detection_inputs(pixels, table, low, high, [size])[0]
    return np.repeat(image[None, None], channels, axis=1)


def noise(channels: int, size: tuple[int, int], seed: int = 0) -> Array:
    """Return noise in 0..1, float32 (1, channels, rows, cols)."""
    steps = np.random.default_rng(seed).integers(0, 256, (1, channels, *size), dtype=np.uint8)
    return steps.astype(np.float32) / np.float32(255)
