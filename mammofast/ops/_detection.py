"""What a detector's outputs mean."""

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks, _cuda
from mammofast.ops._native import kernels

ANCHORS_PER_HEAD = 3
CHANNELS = 18  # tx, ty, tw, th, objectness, class of each anchor: one class, so one class logit
MOST_HEADS = 8

Floats = npt.NDArray[np.float32]
Heads = Sequence[npt.NDArray[np.float32]] | Sequence[npt.NDArray[np.float16]]


@overload
def decode_yolo(
    heads: Heads,
    strides: Sequence[int],
    anchors: Sequence[Sequence[float]],
    threshold: float,
    frame: Sequence[int] | None = None,
) -> tuple[Floats, Floats]: ...


@overload
def decode_yolo(
    heads: Sequence[_cuda.CudaArray],
    strides: Sequence[int],
    anchors: Sequence[Sequence[float]],
    threshold: float,
    frame: Sequence[int] | None = None,
) -> tuple[_cuda.CudaArray, _cuda.CudaArray]: ...


def decode_yolo(
    heads: Sequence[Any],
    strides: Sequence[int],
    anchors: Sequence[Sequence[float]],
    threshold: float,
    frame: Sequence[int] | None = None,
) -> tuple[Any, Any]:
    """Decode the raw outputs of a YOLOv3 detector of one class to boxes: Redmon & Farhadi 2018, arXiv 1804.02767.

    For the cell (row, col) of a head of stride s and an anchor (pw, ph):
    x = (σ(tx) + col)·s, y = (σ(ty) + row)·s, w = pw·exp(tw), h = ph·exp(th), score = σ(objectness)·σ(class).

    Parameters
    ----------
    heads : float32 or float16 (18, rows, cols), one for each stride
        Logits, by anchor: tx, ty, tw, th, objectness, class.
    strides : pixels of the network's input between cells, one for each head
    anchors : (width, height) in pixels of the network's input, three for each head, in the heads' order
    threshold : in [0, 1]; boxes with a smaller score are left out
    frame : (rows, cols), what the network's input shows of the image, in its pixels; None: the input's own

    Returns
    -------
    boxes : float32 (k, 4), in pixels of the network's input, or stretched to those of the frame
    scores : float32 (k,)
        By head, anchor, row, column. Of heads on a CUDA device on that device, on the stream that the first one's
        ``__cuda_array_interface__`` names, else on the legacy default stream, which the op waits for once: to learn k.

    Raises
    ------
    ValueError
        For wrong shapes or types, heads that are not of one input, NaN or Inf.

    Notes
    -----
    In double, with an exponential of our own that is off by less than one unit in the last place: kernels agree to the
    bit, and with libm's exp to the last bit of float32 in nearly all results, but where a score is within 1e-15 of the
    threshold.
    """
    sizes, priors = head_geometry(heads, strides, anchors)
    threshold = _checks.number("threshold", threshold, 0, 1)
    shown = None if frame is None else _checks.shape("frame", frame)
    if _cuda.is_cuda(heads[0]):
        native = _cuda.kernels("heads")
        found = native.decode_yolo(heads, sizes, priors, threshold, shown, _cuda.stream_of(heads[0]))
    else:
        found = kernels().decode_yolo(_host_heads(heads, sizes), sizes, priors, threshold, shown)
    return found  # type: ignore[no-any-return]


def head_geometry(
    heads: object, strides: Sequence[int], anchors: Sequence[Sequence[float]]
) -> tuple[list[int], list[list[float]]]:
    """Return strides and anchors, checked against each other and the number of heads."""
    if not isinstance(heads, Sequence) or not 0 < len(heads) <= MOST_HEADS:
        got = f"{len(heads)} heads" if isinstance(heads, Sequence) else type(heads).__name__
        raise _checks.fail("heads", got, f"1 to {MOST_HEADS} arrays")
    if not isinstance(strides, Sequence) or len(strides) != len(heads):
        raise _checks.fail("strides", repr(strides), f"one for each of {len(heads)} heads")
    sizes = [_checks.whole("strides", stride, 1, _checks.MAX_SIZE) for stride in strides]
    if not isinstance(anchors, Sequence) or len(anchors) != ANCHORS_PER_HEAD * len(sizes):
        found = len(anchors) if isinstance(anchors, Sequence) else type(anchors).__name__
        raise _checks.fail("anchors", found, f"{ANCHORS_PER_HEAD} for each stride of {strides}")
    try:
        priors = np.asarray(anchors)
    except ValueError:  # of several lengths
        priors = np.empty(0)
    sound = priors.shape == (len(anchors), 2) and priors.dtype.kind in "iuf"
    sound = sound and not any(isinstance(side, bool) for anchor in anchors for side in anchor)
    if not sound or not ((priors > 0) & (priors <= _checks.MAX_SIZE)).all():
        raise _checks.fail("anchors", repr(anchors), "(width, height), both numbers above 0")
    return sizes, priors.tolist()


def _host_heads(heads: Sequence[object], strides: Sequence[int]) -> list[npt.NDArray[Any]]:
    half = getattr(heads[0], "dtype", None) == np.float16
    arrays = [
        _checks.array(f"heads[{i}]", head, np.float16 if half else np.float32, CHANNELS, "rows", "cols")
        for i, head in enumerate(heads)
    ]
    inputs = [(a.shape[1] * stride, a.shape[2] * stride) for a, stride in zip(arrays, strides, strict=True)]
    for i, (rows, cols) in enumerate(inputs):
        if (rows, cols) != inputs[0]:
            wanted = f"{inputs[0][0]} x {inputs[0][1]} as of heads[0]"
            raise _checks.fail(f"heads[{i}]", f"cells for an input of {rows} x {cols} pixels", wanted)
    return arrays
