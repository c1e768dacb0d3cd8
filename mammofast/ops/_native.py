"""The only place that imports the compiled extension, and only when an op first needs it."""

from functools import cache
from types import ModuleType


@cache
def kernels() -> ModuleType:
    """Return ``mammofast.ops._kernels``, or say how to build it."""
    try:
        from mammofast.ops import _kernels
    except ImportError as error:
        raise ImportError(
            f"mammofast.ops needs its compiled extension mammofast.ops._kernels, which did not load ({error}). "
            "Install a wheel, or build it in place: python setup.py build_ext --inplace"
        ) from error
    return _kernels  # type: ignore[no-any-return]
