"""What is told of the components of a mask: how probable they are, and their own bits."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels


def component_sums(
    labels: CudaArray,
    probabilities: CudaArray,
    region: Sequence[int],
    capacity: int,
    *,
    stream: int = LEGACY_STREAM,
    out: CudaArray | None = None,
) -> CudaArray:
    """Sum, over each component's pixels, the value of the map's pixel that each lies in.

    Parameters
    ----------
    labels : int32 (rows, cols), 0 or i + 1 for component i, as :func:`label_mask` gives them
    probabilities : float32 (rows, cols), finite
    region : (x_min, y_min, x_max, y_max) of the pixels that the map is of; outside the nearest value counts
    capacity : the components there is room for; those behind are left out
    out : the result, to write to

    Returns
    -------
    sums : int64 (capacity,), in units of 2^-30, each value rounded to nearest, halves up: no order of adding shows

    Raises
    ------
    ValueError
        For wrong shapes or types, and an empty region.
    """
    x_min, y_min, x_max, y_max = (_checks.whole("region", edge, -_checks.MAX_SIZE, _checks.MAX_SIZE) for edge in region)
    if not (x_min < x_max and y_min < y_max):
        raise _checks.fail("region", repr(region), "x_min < x_max and y_min < y_max")
    capacity = _checks.whole("capacity", capacity, 0, _checks.MAX_SIZE)
    return kernels("labels").component_sums(  # type: ignore[no-any-return]
        labels, probabilities, x_min, y_min, x_max, y_max, capacity, stream, out
    )


def component_bits(
    labels: CudaArray,
    numbers: npt.NDArray[np.int32],
    boxes: npt.NDArray[np.int32],
    *,
    stream: int = LEGACY_STREAM,
    out: CudaArray | None = None,
) -> tuple[CudaArray, npt.NDArray[np.int64]]:
    """Take the masks of some components, each of its box, a bit a pixel: what a pipeline downloads of its findings.

    Parameters
    ----------
    labels : int32 (rows, cols), 0 or i + 1 for component i
    numbers : int32 (k,), on the host, components from 0
    boxes : int32 (k, 4), on the host, (x_min, y_min, x_max, y_max) inside the image
    out : the bits, to write to

    Returns
    -------
    bits : uint8, as of :class:`PackedMasks`
    offsets : int64 (k + 1,), on the host, where each mask begins

    Raises
    ------
    ValueError
        For wrong shapes or types, and boxes that leave the image.
    """
    chosen, corners = np.asarray(numbers, np.int32), np.asarray(boxes, np.int32)
    if chosen.ndim != 1 or corners.shape != (len(chosen), 4):
        raise _checks.fail("boxes", corners.shape, f"{(len(chosen), 4)}, one for each of the numbers")
    bits = kernels("labels").component_bits(labels, chosen, corners, stream, out)
    sizes = (corners[:, 3] - corners[:, 1]).astype(np.int64) * ((corners[:, 2] - corners[:, 0] + 7) // 8)
    return bits, np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
