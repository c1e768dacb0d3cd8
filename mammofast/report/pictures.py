"""Images and confidence maps as data URLs for a page that needs nothing beside it."""

import base64

import imagecodecs
import numpy as np
import numpy.typing as npt

from mammofast import ops
from mammofast.methods.contrast import Contrast
from mammofast.records import GreyPipeline, ImageSource, Window, level_shape

_JPEG_QUALITY = 85
_CONTRAST = Contrast(low_percentile=0.5, high_percentile=99.8)
_MAP_RED_GREEN_BLUE = (255, 70, 40)
_MAP_OPACITY = 0.7
# The summed confidence that is drawn with some two thirds of the full opacity.
_MAP_SCALE = 2.0


def picture_level(shape: tuple[int, int], side: int) -> int:
    """Return the finest level whose longer side is at most ``side``."""
    level = 0
    while max(level_shape(shape, level)) > side:
        level += 1
    return level


def picture(source: ImageSource, level: int, window: Window | None = None) -> str:
    """Return a level, or a window of it, as presented: an 8-bit JPEG in a data URL."""
    return data_url("image/jpeg", imagecodecs.jpeg8_encode(grey_picture(source, level, window), level=_JPEG_QUALITY))


def grey_picture(source: ImageSource, level: int, window: Window | None = None) -> npt.NDArray[np.uint8]:
    """Return a level, or a window of it, as presented: uint8 (rows, cols), brighter is denser."""
    pixels = source.read(level=level, window=window)
    table = source.grey_table(GreyPipeline())
    low, high = _CONTRAST.window(pixels, table)
    values = pixels.astype(np.float32) if table is None else table.apply(pixels)
    grey: npt.NDArray[np.uint8] = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return grey


def shown_range(source: ImageSource, level: int) -> tuple[float, float]:
    """Return which presentation values :func:`grey_picture` shows black and white."""
    return _CONTRAST.window(source.read(level=level), source.grey_table(GreyPipeline()))


def confidence_map(detections: npt.NDArray[np.float32], shape: tuple[int, int], level: int) -> str:
    """Return the sum of all scales' confidences as a PNG that is clear where nothing was detected.

    Absolute, so that the views of a page can be compared: one weak box stays pale, five that agree are full.

    detections: see :attr:`mammofast.ImageResult.detections`. shape: (rows, cols) of the native image.
    """
    boxes = np.ascontiguousarray(detections[:, 1:5] / 2**level)
    scores = np.ascontiguousarray(detections[:, 5])
    # Eq. 1 for one scale is the sum over the largest score.
    total = ops.confidence_mask(boxes, scores, 1, level_shape(shape, level)) * scores.max(initial=0.0)
    pixels = np.empty((*total.shape, 4), dtype=np.uint8)
    pixels[..., :3] = _MAP_RED_GREEN_BLUE
    pixels[..., 3] = np.rint((1 - np.exp(-total / _MAP_SCALE)) * 255 * _MAP_OPACITY)
    return data_url("image/png", imagecodecs.png_encode(pixels))


def data_url(kind: str, content: bytes | bytearray) -> str:
    """Return content as a URL that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
