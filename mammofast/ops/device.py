"""The ops for pipelines on a GPU: batches of images, nothing waited for, nothing copied to the host.

Arguments are arrays on one CUDA device (``__cuda_array_interface__`` or DLPack), C-contiguous, and must live until the
stream has passed the op. Results are device arrays, padded to a capacity, with counts and a status on the device:

status
    int32 (n,), 0 for an image that all is well with, else the sum of :data:`UNSOUND` (a box inside out or not finite, a
    score outside [0, 1], a count outside 0..capacity), :data:`OVERFLOW` (more results than fit; those that fit are
    there) and :data:`NOT_FINITE` (NaN or Inf out of a network).

``stream`` is a CUDA stream's handle, by default the legacy default stream; it must outlive the results. Shapes and
types are checked at once (ValueError), a launch that CUDA refuses raises RuntimeError, a device without room
MemoryError; values show in the status.
"""

from collections.abc import Sequence

from mammofast.ops import _checks
from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, empty, kernels, to_device, to_host
from mammofast.ops._device.collecting import CollectedBatch, collect_boxes
from mammofast.ops._device.components import component_bits, component_sums
from mammofast.ops._device.detection import DecodedBatch, KeptBatch, decode_yolo, nms
from mammofast.ops._device.features import roi_align
from mammofast.ops._device.fusion import FusedBatch, fuse_boxes
from mammofast.ops._device.labelling import LabelledBatch, label_mask
from mammofast.ops._device.masks import PackedMasks, paste_masks, paste_packed
from mammofast.ops._device.preprocessing import contrast_windows, detection_inputs, segmentation_inputs
from mammofast.ops._device.tiles import cut_tiles, stitch_tiles
from mammofast.ops._device.views import row, view

UNSOUND, OVERFLOW, NOT_FINITE = 1, 2, 4

__all__ = [
    "NOT_FINITE",
    "OVERFLOW",
    "UNSOUND",
    "CollectedBatch",
    "DecodedBatch",
    "FusedBatch",
    "KeptBatch",
    "LabelledBatch",
    "PackedMasks",
    "collect_boxes",
    "component_bits",
    "component_sums",
    "confidence_mask",
    "contrast_windows",
    "cut_tiles",
    "decode_yolo",
    "detection_inputs",
    "empty",
    "fuse_boxes",
    "label_mask",
    "nms",
    "paste_masks",
    "paste_packed",
    "roi_align",
    "row",
    "segmentation_inputs",
    "stitch_tiles",
    "to_device",
    "to_host",
    "view",
]


def confidence_mask(
    boxes: CudaArray,
    scores: CudaArray,
    counts: CudaArray,
    n_scales: int,
    shape: Sequence[int],
    *,
    stream: int = LEGACY_STREAM,
    out: CudaArray | None = None,
) -> tuple[CudaArray, CudaArray]:
    """Draw eq. 1 of P4 for each image of a batch, all of one shape.

    Parameters
    ----------
    boxes : float32 (n, capacity, 4)
    scores : float32 (n, capacity)
    counts : int32 (n,), the boxes of each image
    n_scales : the number of scales that were run
    shape : (rows, cols) of each image
    out : float32 (n, rows, cols) to write to

    Returns
    -------
    masks : float32 (n, rows, cols)
    status : int32 (n,); boxes that are not sound cover no pixel
    """
    n_scales = _checks.whole("n_scales", n_scales, 1, _checks.MAX_SIZE)
    rows, cols = _checks.shape("shape", shape)
    return kernels("boxes").confidence_mask_batch(  # type: ignore[no-any-return]
        boxes, scores, counts, n_scales, rows, cols, stream, out
    )
