"""Ops on feature maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
from mammofast.ops._native import kernels

MOST_BINS = 2**15  # along a side of the output
MOST_SAMPLES = 2**15  # along a side of a bin, as for the adaptive ones in csrc/roi_align/roi_align_math.h


def roi_align(
    features: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
    batch_index: npt.NDArray[np.integer[Any]],
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int = 2,
) -> npt.NDArray[np.float32]:
    """Average the feature map under each box in a grid of bins (He et al. 2017, arXiv 1703.06870).

    ONNX RoiAlign with ``coordinate_transformation_mode`` half_pixel, average; torchvision's ``aligned=True``. Bins are
    averages of bilinear samples; a sample more than a pixel outside the centres of the map's outer pixels counts as 0.

    Parameters
    ----------
    features : float32 (n, c, h, w)
    boxes : float32 (k, 4), (x_min, y_min, x_max, y_max) in pixels of the image
    batch_index : integers (k,), which of the n maps each box lies in
    output_size : (rows, cols), the bins of each box
    spatial_scale : pixels of the map for each pixel of the image, 1/16 for a network of stride 16
    sampling_ratio : samples along each side of a bin, or 0 for about one every pixel of the map

    Returns
    -------
    float32 (k, c, rows, cols)

    Raises
    ------
    ValueError
        For wrong shapes or types, NaN, Inf, boxes inside out, a batch_index outside 0..n-1, spatial_scale <= 0, and for
        bins of more than 2^15 pixels of the map where ``sampling_ratio`` is 0.
    """
    features = _checks.array("features", features, np.float32, "n", "c", "h", "w")
    if features.size == 0 and len(features):
        raise _checks.fail("features", f"shape {features.shape}", "at least one channel and pixel")
    boxes = _checks.array("boxes", boxes, np.float32, "k", 4)
    if not isinstance(batch_index, np.ndarray) or batch_index.dtype.kind not in "iu":
        raise _checks.fail("batch_index", _described(batch_index), f"integers of shape ({len(boxes)},)")
    images = _checks.array("batch_index", batch_index.astype(np.int64, copy=False), np.int64, len(boxes))
    rows, cols = _checks.shape("output_size", output_size, low=1)
    if max(rows, cols) > MOST_BINS:
        raise _checks.fail("output_size", f"{(rows, cols)}", f"at most {MOST_BINS} rows and columns")
    scale = np.float32(_checks.number("spatial_scale", spatial_scale))
    if not (scale > 0 and np.isfinite(scale)):
        raise _checks.fail("spatial_scale", repr(spatial_scale), "a number above 0 that float32 holds")
    samples = _checks.whole("sampling_ratio", sampling_ratio, 0, MOST_SAMPLES)
    return kernels().roi_align(features, boxes, images, rows, cols, scale, samples)  # type: ignore[no-any-return]


def _described(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
