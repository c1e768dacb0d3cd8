"""Feature maps under boxes, a batch at a time."""

from collections.abc import Sequence

from mammofast.ops._cuda import LEGACY_STREAM, CudaArray, kernels, outputs
from mammofast.ops._features import check_features, check_grid


def roi_align(
    features: CudaArray,
    boxes: CudaArray,
    batch_index: CudaArray,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int = 2,
    *,
    stream: int = LEGACY_STREAM,
    out: tuple[CudaArray, ...] | None = None,
) -> tuple[CudaArray, CudaArray]:
    """Average the feature map under each box in a grid of bins, as :func:`mammofast.ops.roi_align`, to the bit.

    Parameters
    ----------
    features : float32 or float16 (n, c, h, w)
    boxes : float32 (k, 4), (x_min, y_min, x_max, y_max) in pixels of the image
    batch_index : int32 or int64 (k,), which of the n maps each box lies in; -1, or any other that is not in 0..n-1, for
        none: its result is all 0
    output_size, spatial_scale, sampling_ratio : as for :func:`mammofast.ops.roi_align`
    out : the two arrays of the result, to write to

    Returns
    -------
    aligned : float32 (k, c, rows, cols)
    status : int32 (n,), ``NOT_FINITE`` where the map holds NaN or Inf, ``UNSOUND`` where one of its boxes is inside
        out, not finite, or too large for ``sampling_ratio`` 0; such a box's result is all 0

    Notes
    -----
    Scratch memory: up to 256 MiB for the weights of the boxes, whose number of bins and samples decides on it.
    """
    check_features(features)
    grid = check_grid(output_size, spatial_scale, sampling_ratio)
    results = kernels("features").roi_align(features, boxes, batch_index, *grid, stream, outputs(out, 2))
    return results  # type: ignore[no-any-return]
