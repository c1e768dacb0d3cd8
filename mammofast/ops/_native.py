"""The only place that imports the compiled extension, and only when an op first needs it."""

from functools import cache
from types import ModuleType


@cache
def kernels() -> ModuleType:
    """Return ``mammofast.ops._kernels``, or say how to build it."""
    try:
        import mammofast.ops._kernels as native
    except ImportError as error:
        raise ImportError(
            f"mammofast.ops needs its compiled extension mammofast.ops._kernels, which did not load ({error}). "
            "If mammofast is installed, the source tree in the current folder hides it: run Python in another folder. "
            "Else install it, or build the extension in place: python setup.py build_ext --inplace"
        ) from error
    return native  # type: ignore[no-any-return]
