"""Arrays on CUDA devices, whichever library made them, and what the ops' two faces for them share."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from mammofast.ops import _checks
from mammofast.ops._native import cuda_kernels, why_no_cuda

LEGACY_STREAM = 1  # the default stream's number in __cuda_array_interface__, in DLPack and in CUDA
_DLPACK_CUDA = (2, 13)  # kinds of DLPack devices: CUDA, CUDA's managed memory


class CudaArray(Protocol):
    """Anything that lives on a CUDA device and says so by DLPack or ``__cuda_array_interface__``."""


def is_cuda(value: object) -> TypeGuard[CudaArray]:
    """Whether the array lives on a CUDA device."""
    if isinstance(value, np.ndarray):
        return False
    kind = type(value)
    if hasattr(kind, "__dlpack_device__"):
        return cast(Any, value).__dlpack_device__()[0] in _DLPACK_CUDA
    # Asked of the type first: torch's CPU tensors raise when looked at.
    if not hasattr(kind, "__cuda_array_interface__"):
        return False
    try:
        return isinstance(cast(Any, value).__cuda_array_interface__, dict)
    except (AttributeError, TypeError):
        return False


def is_contiguous(interface: dict[str, Any]) -> bool:
    """Whether an array with this ``__cuda_array_interface__`` is C-contiguous."""
    if interface.get("strides") is None:
        return True
    expected = np.dtype(interface["typestr"]).itemsize
    for size, stride in zip(reversed(interface["shape"]), reversed(interface["strides"]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def stream_of(value: CudaArray) -> int:
    """Return the stream that the array's owner works on, where it says so, else the legacy default stream."""
    interface = getattr(value, "__cuda_array_interface__", {})
    return interface.get("stream") or LEGACY_STREAM


def dtype_name(value: CudaArray) -> str:
    """Return the type of the array's values as NumPy names it."""
    return str(getattr(value, "dtype", "")).removeprefix("torch.")


def kernels(name: str) -> ModuleType:
    """Return the CUDA kernels for an op whose argument ``name`` lives on a device; ValueError where there are none."""
    native = cuda_kernels()
    if native is None:
        raise _checks.fail(name, "an array on a CUDA device", f"a NumPy array: {why_no_cuda()}")
    return native


def to_device(values: npt.NDArray[Any], stream: int = LEGACY_STREAM, card: int = 0) -> CudaArray:
    """Return a copy on a card for what is enqueued on the stream from here on.

    The values may change at once; those in pinned memory once the stream has come here.
    """
    return kernels("values").to_device(values, stream, card)  # type: ignore[no-any-return]


def empty(shape: Sequence[int], dtype: npt.DTypeLike, stream: int = LEGACY_STREAM, card: int = 0) -> CudaArray:
    """Return an array on a card, of undefined values, for what is enqueued on the stream from here on."""
    return kernels("shape").empty(list(shape), np.dtype(dtype), stream, card)  # type: ignore[no-any-return]


def to_host(array: CudaArray, stream: int = LEGACY_STREAM) -> npt.NDArray[Any]:
    """Return a copy as a NumPy array; waits for the stream."""
    return kernels("array").to_host(array, stream)  # type: ignore[no-any-return]


def outputs(out: Sequence[CudaArray] | None, n: int) -> tuple[CudaArray | None, ...]:
    """Return the arrays that an op of n results writes to, None for each that it makes itself."""
    if out is None:
        return (None,) * n
    if not isinstance(out, Sequence) or len(out) != n:
        raise _checks.fail("out", type(out).__name__, f"None or {n} arrays")
    return tuple(out)
