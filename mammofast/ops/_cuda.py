"""Arrays on CUDA devices, whichever library made them: objects with a ``__cuda_array_interface__``."""

from typing import Any, Protocol, TypeGuard

from mammofast.ops import _checks
from mammofast.ops._native import kernels

DEFAULT_STREAM = 1  # the interface's number for the legacy default stream, and CUDA's own


class CudaArray(Protocol):
    """Anything that lives on a CUDA device and says so (CuPy, torch, Numba and JAX arrays)."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Pointer, shape, type, strides and stream."""


def is_cuda(value: object) -> TypeGuard[CudaArray]:
    """Whether the array lives on a CUDA device. Asked of the type first: torch's CPU tensors raise when looked at."""
    if not hasattr(type(value), "__cuda_array_interface__"):
        return False
    try:
        return isinstance(value.__cuda_array_interface__, dict)  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        return False


def confidence_mask(boxes: CudaArray, scores: object, n_scales: int, rows: int, cols: int) -> CudaArray:
    """Return :func:`mammofast.ops.confidence_mask` on the device, its other arguments being checked."""
    if not kernels().has_cuda:
        raise _checks.fail("boxes", "an array on a CUDA device", "a NumPy array: this build has no CUDA kernels")
    box_pointer, n = _pointer("boxes", boxes, (None, 4))
    score_pointer, _ = _pointer("scores", scores, (n,))
    stream = boxes.__cuda_array_interface__.get("stream") or DEFAULT_STREAM
    return kernels().confidence_mask_on_device(  # type: ignore[no-any-return]
        box_pointer, score_pointer, n, n_scales, rows, cols, stream
    )


def _pointer(name: str, value: object, shape: tuple[int | None, ...]) -> tuple[int, int]:
    """Return the device pointer and the length of a contiguous float32 array."""
    expected = f"contiguous float32 of shape {shape} on a CUDA device".replace("None", "n")
    if not is_cuda(value):
        raise _checks.fail(name, type(value).__name__, expected)
    interface = value.__cuda_array_interface__
    have = tuple(interface["shape"])
    strides = tuple(4 * step for step in ((have[-1], 1) if len(have) == 2 else (1,)))
    if (
        interface["typestr"] != "<f4"
        or len(have) != len(shape)
        or any(want not in (None, size) for want, size in zip(shape, have, strict=True))
        or interface.get("strides") not in (None, strides)
        or interface.get("mask") is not None
    ):
        raise _checks.fail(name, f"{interface['typestr']} of shape {have}", expected)
    return interface["data"][0], have[0]
