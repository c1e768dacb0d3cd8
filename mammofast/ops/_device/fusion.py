"""Fusion of boxes, a batch at a time."""

from typing import NamedTuple

from mammofast.ops import _checks
from mammofast.ops._boxes import scaled_threshold
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels, outputs


class FusedBatch(NamedTuple):
    """Boxes that the scales agree on, for each image in the order (y_min, x_min, y_max, x_max), then zeros.

    boxes: int32 (n, capacity, 4); scores and confidence: float32 (n, capacity); counts and status: int32 (n,).
    """

    boxes: CudaArray
    scores: CudaArray
    confidence: CudaArray
    counts: CudaArray
    status: CudaArray


def fuse_boxes(
    boxes: CudaArray,
    scores: CudaArray,
    counts: CudaArray,
    n_scales: int,
    shapes: CudaArray,
    threshold: float,
    capacity: int,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> FusedBatch:
    """Fuse the boxes of several scales by vote, each image of a batch by itself, as :func:`mammofast.ops.fuse_boxes`.

    Parameters
    ----------
    boxes : float32 (n, boxes, 4), native pixels, all scales of an image together
    scores : float32 (n, boxes), in [0, 1]
    counts : int32 (n,), the boxes of each image; what stands behind them is not looked at
    n_scales : the number of scales that were run
    shapes : int32 (n, 2), (rows, cols) of each native image
    threshold : at least 0, with at most 6 decimals, read as the decimal it prints as
    capacity : how many fused boxes of an image there is room for
    out : the five arrays of the result, to write to

    Returns
    -------
    FusedBatch
        An image whose status is not 0 has a count of 0: ``UNSOUND`` as for all ops and where a shape is negative,
        ``OVERFLOW`` where it has more than 2047 boxes or more come out than ``capacity``.

    Notes
    -----
    One thread block an image, on the grid of the edges of its boxes; the grids of up to about 50 boxes (85 on cards
    with 227 KiB of shared memory a block) stay on the chip.
    """
    n_scales = _checks.whole("n_scales", n_scales, 1, _checks.MAX_SIZE)
    capacity = _checks.whole("capacity", capacity, 0, _checks.MAX_SIZE)
    native = kernels("boxes")
    num, den = scaled_threshold(n_scales, threshold, native.MOST_FUSED_BOXES)
    results = native.fuse_boxes_batch(
        boxes, scores, counts, n_scales, shapes, num, den, capacity, stream, outputs(out, 5)
    )
    return FusedBatch(*results)
