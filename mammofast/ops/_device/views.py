"""Device arrays under another shape."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from mammofast.ops import _checks
from mammofast.ops._cuda import CudaArray, is_contiguous


class _View:
    """Values of another array, which it keeps alive."""

    def __init__(self, owner: CudaArray, interface: dict[str, Any]) -> None:
        self._owner = owner
        self._interface = interface
        self.shape = interface["shape"]
        self.dtype = np.dtype(interface["typestr"])

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._interface


def row(array: CudaArray, i: int) -> CudaArray:
    """Return element i of the first axis of a C-contiguous device array, without a copy.

    Raises
    ------
    ValueError
        When the array says no ``__cuda_array_interface__``, is not C-contiguous, or has no such element.

    """
    interface = _contiguous(array)
    n, *shape = interface["shape"] or (0,)
    if not 0 <= i < n:
        raise _checks.fail("i", i, f"one of {n} elements")
    pointer, read_only = interface["data"]
    offset = i * prod(shape) * np.dtype(interface["typestr"]).itemsize
    there = {"shape": tuple(shape), "strides": None, "data": (pointer + offset, read_only)}
    return _View(array, {**interface, **there})


def view(array: CudaArray, shape: Sequence[int]) -> CudaArray:
    """Return the first values of a C-contiguous device array in another shape, without a copy.

    Raises
    ------
    ValueError
        When the array says no ``__cuda_array_interface__``, is not C-contiguous, or has fewer values.

    """
    interface = _contiguous(array)
    have, wanted = tuple(interface["shape"]), tuple(shape)
    if prod(wanted) > prod(have) or any(size < 0 for size in wanted):
        raise _checks.fail("shape", wanted, f"at most the {prod(have)} values of {have}")
    return _View(array, {**interface, "shape": wanted, "strides": None})


def _contiguous(array: CudaArray) -> dict[str, Any]:
    interface: dict[str, Any] | None = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise _checks.fail("array", type(array).__name__, "an array with a __cuda_array_interface__")
    if not is_contiguous(interface):
        raise _checks.fail("array", f"strides {interface['strides']}", "a C-contiguous array")
    return interface
