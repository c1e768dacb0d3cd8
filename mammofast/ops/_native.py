"""The only place that imports the compiled extensions, and only when an op first needs them."""

import importlib
from functools import cache
from types import ModuleType

GET_CUDA = (
    "install CUDA's compiler (nvcc on the path, or CUDA_HOME naming its folder) and build mammofast again: "
    "pip install --no-binary mammofast mammofast, or pip install . in its sources"
)


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


def cuda_kernels() -> ModuleType | None:
    """Return ``mammofast.ops._cuda_kernels``, or None where it was not built or does not load."""
    return _load_cuda()[0]


def why_no_cuda() -> str | None:
    """Return why the CUDA kernels cannot run here and how to get them, or None where they can."""
    native, problem = _load_cuda()
    if native is None:
        return problem
    found = native.devices()
    if found["cards"]:
        return None
    version = "CUDA {}.{}".format(*divmod(found["runtime"] // 10, 100))
    if not found["driver"]:
        return f"no NVIDIA driver: install one for {version} or later, if this machine has a card"
    if found["driver"] // 1000 < found["runtime"] // 1000:
        have = "CUDA {}.{}".format(*divmod(found["driver"] // 10, 100))
        return f"the NVIDIA driver is for {have}: install one for {version} or later"
    return f"no NVIDIA card to use ({found['problem']}): look at CUDA_VISIBLE_DEVICES and nvidia-smi"


@cache
def _load_cuda() -> tuple[ModuleType | None, str]:
    name = "mammofast.ops._cuda_kernels"
    try:
        return importlib.import_module(name), ""
    except ModuleNotFoundError:
        return None, f"built without CUDA kernels: {GET_CUDA}"
    except ImportError as error:
        return None, f"{name} did not load ({error}): {GET_CUDA}"
