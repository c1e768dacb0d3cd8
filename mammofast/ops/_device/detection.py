"""What a detector's output goes through, a batch at a time."""

from typing import NamedTuple

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels, outputs


class KeptBatch(NamedTuple):
    """Boxes that are kept: int32 indices (n, capacity) by falling score, then -1; int32 counts and status (n,)."""

    indices: CudaArray
    counts: CudaArray
    status: CudaArray


def nms(
    boxes: CudaArray,
    scores: CudaArray,
    counts: CudaArray,
    iou_threshold: float,
    groups: CudaArray | None = None,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> KeptBatch:
    """Keep the best of the boxes that overlap, each image of a batch by itself, as :func:`mammofast.ops.nms`.

    Parameters
    ----------
    boxes : float32 (n, capacity, 4)
    scores : float32 (n, capacity), in [0, 1]
    counts : int32 (n,), the boxes of each image; what stands behind them is not looked at
    iou_threshold : in [0, 1]
    groups : integers (n, capacity), or None for one group an image
    out : the three arrays of the result, to write to

    Returns
    -------
    KeptBatch
        An image whose status is not 0, ``UNSOUND``, keeps nothing.

    Raises
    ------
    ValueError
        For wrong shapes or types, a threshold outside [0, 1], a capacity above 2^24.

    Notes
    -----
    The work grows with the square of an image's boxes, scratch memory with the capacity (32 bytes a box) and at most
    2 MiB an image; it is taken for as many images at once as fit 256 MiB.
    """
    threshold = _checks.number("iou_threshold", iou_threshold, 0, 1)
    results = kernels("boxes").nms_batch(boxes, scores, counts, threshold, groups, stream, outputs(out, 3))
    return KeptBatch(*results)
