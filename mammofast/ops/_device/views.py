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


def view(array: CudaArray, shape: Sequence[int]) -> CudaArray:
    """Return the first values of a C-contiguous device array in another shape, without a copy.

    Raises
    ------
    ValueError
        When the array says no ``__cuda_array_interface__``, is not C-contiguous, or has fewer values.

    """
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise _checks.fail("array", type(array).__name__, "an array with a __cuda_array_interface__")
    have, wanted = tuple(interface["shape"]), tuple(shape)
    if not is_contiguous(interface):
        raise _checks.fail("array", f"strides {interface['strides']}", "a C-contiguous array")
    if prod(wanted) > prod(have) or any(size < 0 for size in wanted):
        raise _checks.fail("shape", wanted, f"at most the {prod(have)} values of {have}")
    return _View(array, {**interface, "shape": wanted, "strides": None})
