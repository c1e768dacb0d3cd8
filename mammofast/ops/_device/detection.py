"""What a detector's output goes through, a batch at a time."""

from collections.abc import Sequence
from typing import NamedTuple

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels, outputs
from mammofast.ops._detection import head_geometry


class DecodedBatch(NamedTuple):
    """Boxes that reach the threshold, by head, anchor, row and column, then zeros.

    boxes: float32 (n, capacity, 4); scores: float32 (n, capacity); counts and status: int32 (n,).
    """

    boxes: CudaArray
    scores: CudaArray
    counts: CudaArray
    status: CudaArray


def decode_yolo(
    heads: Sequence[CudaArray],
    strides: Sequence[int],
    anchors: Sequence[Sequence[float]],
    threshold: float,
    capacity: int,
    frames: CudaArray | None = None,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> DecodedBatch:
    """Decode a YOLOv3 detector's raw outputs, each image of a batch by itself, as :func:`mammofast.ops.decode_yolo`.

    Parameters
    ----------
    heads : float32 or float16 (n, 18, rows, cols), one for each stride
    strides : pixels of the network's input between cells, one for each head
    anchors : (width, height) in pixels of the network's input, three for each head, in the heads' order
    threshold : in [0, 1]; boxes with a smaller score are left out
    capacity : how many boxes of an image there is room for
    frames : int32 (n, 2), (rows, cols) of what each input shows, in pixels of the image; None: the input's own pixels
    out : the four arrays of the result, to write to

    Returns
    -------
    DecodedBatch
        An image with NaN or Inf in its heads has the status ``NOT_FINITE`` and no boxes, one with a negative frame
        ``UNSOUND`` and none; one with more boxes than ``capacity`` has ``OVERFLOW`` and the first ones.
    """
    sizes, priors = head_geometry(heads, strides, anchors)
    threshold = _checks.number("threshold", threshold, 0, 1)
    capacity = _checks.whole("capacity", capacity, 0, _checks.MAX_SIZE)
    results = kernels("heads").decode_yolo_batch(
        heads, sizes, priors, threshold, capacity, frames, stream, outputs(out, 4)
    )
    return DecodedBatch(*results)


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
