"""Components of masks, a batch at a time."""

from typing import NamedTuple

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels, outputs


class LabelledBatch(NamedTuple):
    """The connected components of each mask, numbered in raster order of their first pixels.

    labels: int32 (n, rows, cols), 0 where a mask is not set, else i + 1 for component i; boxes: int32 (n, capacity, 4)
    and areas: int64 (n, capacity), zeros where there are no more; counts and status: int32 (n,).
    """

    labels: CudaArray
    boxes: CudaArray
    areas: CudaArray
    counts: CudaArray
    status: CudaArray


def label_mask(
    masks: CudaArray, capacity: int, *, stream: int = LEGACY_STREAM, out: tuple[CudaArray, ...] | None = None
) -> LabelledBatch:
    """Find the connected components of each mask of a batch, as :func:`mammofast.ops.label_mask`.

    Parameters
    ----------
    masks : bool (n, rows, cols), each of less than 2^31 pixels
    capacity : how many components of a mask there is room for
    out : the five arrays of the result, to write to

    Returns
    -------
    LabelledBatch
        ``OVERFLOW`` where a mask has more components than ``capacity``: all are in ``labels``, the first ones in
        ``boxes`` and ``areas``, and the count is ``capacity``.
    """
    capacity = _checks.whole("capacity", capacity, 0, _checks.MAX_SIZE)
    return LabelledBatch(*kernels("masks").label_mask_batch(masks, capacity, stream, outputs(out, 5)))
