"""What decoded without complaint may still be no image."""

import numpy as np

from mammofast.archive.codecs import FrameFormat, Stored
from mammofast.errors import BrokenImage, Reason


def check_decoded(pixels: Stored, frame: FrameFormat) -> None:
    """Refuse values that Bits Stored cannot hold, and images of one value.

    Raises
    ------
    BrokenImage
        VALUE_RANGE, CONSTANT_PIXELS.

    """
    low, high = check_range(pixels, frame)
    if low == high:
        raise BrokenImage(Reason.CONSTANT_PIXELS, f"all pixels are {low}")


def check_range(pixels: Stored, frame: FrameFormat) -> tuple[int, int]:
    """Return the smallest and the largest value; VALUE_RANGE where Bits Stored cannot hold them."""
    low, high = int(pixels.min()), int(pixels.max())
    lowest = -(1 << (frame.bits_stored - 1)) if frame.signed else 0
    highest = lowest + (1 << frame.bits_stored) - 1
    if low < lowest or high > highest:
        detail = f"decoded to {low} ... {high}, but {frame.bits_stored} bits stored hold {lowest} ... {highest}"
        raise BrokenImage(Reason.VALUE_RANGE, detail)
    return low, high


def background_of(pixels: Stored) -> int:
    """Return the commonest value along the image's edges: in a mammogram, three of the four are air."""
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    values, counts = np.unique(edges, return_counts=True)
    return int(values[counts.argmax()])
