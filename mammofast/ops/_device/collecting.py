"""What is found at several scales put together, a batch at a time."""

from collections.abc import Sequence
from typing import NamedTuple

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels, outputs
from mammofast.ops._device.detection import DecodedBatch, KeptBatch


class CollectedBatch(NamedTuple):
    """The boxes of each image part by part, within a part as they were kept, then zeros.

    boxes: float32 (n, capacity, 4); scores: float32 (n, capacity); parts: int32 (n, capacity), which part each box is
    of; counts and status: int32 (n,).
    """

    boxes: CudaArray
    scores: CudaArray
    parts: CudaArray
    counts: CudaArray
    status: CudaArray


def collect_boxes(
    parts: Sequence[tuple[DecodedBatch, KeptBatch]],
    capacity: int,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> CollectedBatch:
    """Put what each scale found and kept into one list an image: what :func:`fuse_boxes` takes.

    Parameters
    ----------
    parts : what :func:`decode_yolo` and :func:`nms` returned, for each scale; 1 to 16 of them
    capacity : how many boxes of an image there is room for
    out : the five arrays of the result, to write to

    Returns
    -------
    CollectedBatch
        The status of an image has all that its parts' have, and ``OVERFLOW``, with a count of 0, where it has more
        boxes than there is room for.
    """
    capacity = _checks.whole("capacity", capacity, 0, _checks.MAX_SIZE)
    native = kernels("parts")
    if not 1 <= len(parts) <= native.MOST_PARTS:
        raise _checks.fail("parts", f"{len(parts)} of them", f"1 to {native.MOST_PARTS}")
    given = [(found.boxes, found.scores, kept.indices, kept.counts, found.status, kept.status) for found, kept in parts]
    return CollectedBatch(*native.collect_boxes(given, capacity, stream, outputs(out, 5)))
