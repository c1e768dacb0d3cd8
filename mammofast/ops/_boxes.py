"""Ops on boxes and their scores."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, cast, overload

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks, _cuda
from mammofast.ops._native import kernels

MAX_DECIMALS = 6  # of a fusion threshold; its denominator stays below 2**20, so that sums fit 64 bits


class FusedBoxes(NamedTuple):
    """Boxes that the scales agree on, in the order (y_min, x_min, y_max, x_max).

    boxes: int32 (k, 4); scores: float32 (k,), eq. 1's Ms at its peak; confidence: float32 (k,), the peak of the summed
    confidences over the number of scales. NumPy arrays, or arrays on the CUDA device that the boxes came from.
    """

    boxes: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]


@overload
def nms(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    iou_threshold: float,
    groups: npt.NDArray[np.integer[Any]] | None = None,
) -> npt.NDArray[np.int64]: ...


@overload
def nms(
    boxes: _cuda.CudaArray, scores: _cuda.CudaArray, iou_threshold: float, groups: _cuda.CudaArray | None = None
) -> _cuda.CudaArray: ...


def nms(
    boxes: npt.NDArray[np.float32] | _cuda.CudaArray,
    scores: npt.NDArray[np.float32] | _cuda.CudaArray,
    iou_threshold: float,
    groups: npt.NDArray[np.integer[Any]] | _cuda.CudaArray | None = None,
) -> npt.NDArray[np.int64] | _cuda.CudaArray:
    """Keep the best of the boxes that overlap: greedy non-maximum suppression.

    IoU is intersection / union in double from the float32 coordinates, 0 where the union is 0. A box is suppressed by a
    kept one of its group that ranks higher where IoU > ``iou_threshold``, strictly.

    Parameters
    ----------
    boxes : float32 (n, 4), (x_min, y_min, x_max, y_max)
    scores : float32 (n,), in [0, 1]
    iou_threshold : in [0, 1]
    groups : integers (n,), or None for one group

    Returns
    -------
    int64 (k,)
        Indices of the kept boxes by falling score, ties by lower index. Of arrays on a CUDA device on that device, on
        the stream that the boxes' ``__cuda_array_interface__`` names, else on the legacy default stream, which the op
        waits for once: to learn k.

    Raises
    ------
    ValueError
        For wrong shapes or types, NaN, Inf, boxes inside out, scores or a threshold outside [0, 1]; on a device for
        more than 2^24 boxes.
    """
    threshold = _checks.number("iou_threshold", iou_threshold, 0, 1)
    if _cuda.is_cuda(boxes):
        stream = _cuda.stream_of(boxes)
        kept = _cuda.kernels("boxes").nms(boxes, scores, threshold, groups, stream)
        if kept is None:  # the CPU's checks say which value it is
            nms(_cuda.to_host(boxes, stream), _cuda.to_host(cast(Any, scores), stream), threshold)
        return kept  # type: ignore[no-any-return]
    boxes, scores = _checks.boxes_and_scores(boxes, scores)
    return kernels().nms(boxes, scores, threshold, _groups(groups, len(boxes)))  # type: ignore[no-any-return]


def _groups(groups: object, n: int) -> npt.NDArray[np.int64] | None:
    if groups is None:
        return None
    if not isinstance(groups, np.ndarray) or groups.dtype.kind not in "iu" or groups.shape != (n,):
        got = f"{groups.dtype} of shape {groups.shape}" if isinstance(groups, np.ndarray) else type(groups).__name__
        raise _checks.fail("groups", got, f"integers of shape ({n},)")
    return np.ascontiguousarray(groups, dtype=np.int64)  # uint64 wraps, which keeps groups distinct


def fuse_boxes(
    boxes: npt.NDArray[np.float32] | _cuda.CudaArray,
    scores: npt.NDArray[np.float32] | _cuda.CudaArray,
    n_scales: int,
    shape: Sequence[int],
    threshold: float,
) -> FusedBoxes:
    """Fuse the boxes of several scales by vote: eq. 1 of P4 and its threshold, exact in integers.

    Boxes are rounded to pixels (halves up) and clipped to the image, scores to units of 2^-20; empty boxes and scores
    of 0 drop out. Where the sum of the scores over a pixel is at least ``threshold * n_scales * (largest score)``, and
    not 0, the pixel is kept; kept pixels that touch, corners included, give one box.

    Parameters
    ----------
    boxes : float32 (n, 4), native pixels, all scales together
    scores : float32 (n,), in [0, 1]
    n_scales : the number of scales that were run, whether or not each found anything
    shape : (rows, cols) of the native image
    threshold : at least 0, with at most 6 decimals, read as the decimal it prints as (0.6 is 3/5)

    Raises
    ------
    ValueError
        For wrong shapes or types, NaN, Inf, boxes inside out, scores outside [0, 1], a finer threshold; on a CUDA
        device for more than 2047 boxes.

    Notes
    -----
    Boxes and scores on a CUDA device give results on it, equal to the bit, on the stream that the boxes'
    ``__cuda_array_interface__`` names, else on the legacy default stream; the op waits for that stream to learn how
    many boxes there are. :func:`mammofast.ops.device.fuse_boxes` waits for nothing.
    """
    n_scales = _checks.whole("n_scales", n_scales, 1, _checks.MAX_SIZE)
    rows, cols = _checks.shape("shape", shape)
    if _cuda.is_cuda(boxes):
        native, stream = _cuda.kernels("boxes"), _cuda.stream_of(boxes)
        num, den = scaled_threshold(n_scales, threshold, native.MOST_FUSED_BOXES)
        fused = native.fuse_boxes(boxes, scores, n_scales, rows, cols, num, den, stream)
        if fused is None:  # the CPU's checks say which value it is
            return fuse_boxes(_cuda.to_host(boxes, stream), _cuda.to_host(scores, stream), n_scales, shape, threshold)
        return FusedBoxes(*fused)
    boxes, scores = _checks.boxes_and_scores(boxes, scores)
    num, den = scaled_threshold(n_scales, threshold, len(boxes))
    return FusedBoxes(*kernels().fuse_boxes(boxes, scores, n_scales, rows, cols, num, den))


def scaled_threshold(n_scales: int, threshold: float, most: int) -> tuple[int, int]:
    """Numerator and denominator of threshold * n_scales, or of a little more than ``most``, the number of boxes.

    No sum passes that many times the strongest vote: a larger numerator only risks an overflow.
    """
    num, den = _exact_threshold(threshold)
    return min(num * n_scales, most * den + 1), den


def _exact_threshold(threshold: float) -> tuple[int, int]:
    """Numerator and denominator of the decimal that the threshold prints as."""
    expected = f"a decimal number >= 0 with at most {MAX_DECIMALS} decimals"
    try:
        decimal = Decimal(str(threshold))
    except InvalidOperation:
        raise _checks.fail("threshold", repr(threshold), expected) from None
    if isinstance(threshold, bool | str) or not decimal.is_finite() or decimal < 0:
        raise _checks.fail("threshold", repr(threshold), expected)
    num, den = decimal.as_integer_ratio()
    if 10**MAX_DECIMALS % den:
        raise _checks.fail("threshold", repr(threshold), expected)
    return num, den


@overload
def confidence_mask(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], n_scales: int, shape: Sequence[int]
) -> npt.NDArray[np.float32]: ...


@overload
def confidence_mask(
    boxes: _cuda.CudaArray, scores: _cuda.CudaArray, n_scales: int, shape: Sequence[int]
) -> _cuda.CudaArray: ...


def confidence_mask(
    boxes: npt.NDArray[np.float32] | _cuda.CudaArray,
    scores: npt.NDArray[np.float32] | _cuda.CudaArray,
    n_scales: int,
    shape: Sequence[int],
) -> npt.NDArray[np.float32] | _cuda.CudaArray:
    """Draw eq. 1 of P4: the sum of the scores over each pixel / (n_scales * largest score), for people to look at.

    Arguments and errors as for :func:`fuse_boxes`; returns float32 (rows, cols), all 0 where no box counts. Boxes and
    scores on a CUDA device give a result on it, on the stream that the boxes' ``__cuda_array_interface__`` names, else
    on the legacy default stream; the op waits for that stream once, to check the values.
    """
    n_scales = _checks.whole("n_scales", n_scales, 1, _checks.MAX_SIZE)
    rows, cols = _checks.shape("shape", shape)
    if _cuda.is_cuda(boxes):
        stream = _cuda.stream_of(boxes)
        mask, status = _cuda.kernels("boxes").confidence_mask(boxes, scores, n_scales, rows, cols, stream)
        if _cuda.to_host(status, stream).any():  # the CPU's checks say which value it is
            confidence_mask(_cuda.to_host(boxes, stream), _cuda.to_host(scores, stream), n_scales, (0, 0))
        return mask  # type: ignore[no-any-return]
    boxes, scores = _checks.boxes_and_scores(boxes, scores)
    return kernels().confidence_mask(boxes, scores, n_scales, rows, cols)  # type: ignore[no-any-return]
