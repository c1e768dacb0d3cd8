"""The only place that imports the compiled extensions, and only when an op first needs them."""

import importlib
import json
from functools import cache
from types import ModuleType
from typing import Any

GET_CUDA = (
    "put CUDA's compiler nvcc on the path, or its toolkit's folder in CUDA_HOME, and build mammofast again "
    "in its sources: pip install --force-reinstall --no-deps ."
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
    needed, have = (".".join(map(str, divmod(found[part] // 10, 100))) for part in ("runtime", "driver"))
    if not found["driver"]:
        return f"no NVIDIA driver: if this machine has a card, install a driver for CUDA {needed} or later"
    if found["driver"] // 1000 < found["runtime"] // 1000:
        return f"the NVIDIA driver is too old, for CUDA {have}: install one for CUDA {needed} or later"
    if not found["cards"]:
        return f"no NVIDIA card to use ({found['problem']}): look at nvidia-smi and CUDA_VISIBLE_DEVICES"
    oldest = min(map(int, native.targets.split(",")))
    if all(capability < oldest for _, capability in found["cards"]):
        name, capability = found["cards"][0]
        return (
            f"the card {name} is of sm_{capability}, the kernels for sm_{oldest} and later: "
            f"build mammofast again with MAMMOFAST_CUDA_ARCHITECTURES={capability}"
        )
    return None


def kernel_resources() -> list[dict[str, Any]]:
    """Return what each CUDA kernel takes on each target: registers; bytes spilled, of stack and of shared memory."""
    native = cuda_kernels()
    return [] if native is None else [json.loads(line) for line in native.resources.splitlines()]


@cache
def _load_cuda() -> tuple[ModuleType | None, str]:
    name = "mammofast.ops._cuda_kernels"
    try:
        return importlib.import_module(name), ""
    except ModuleNotFoundError:
        return None, f"built without CUDA kernels: {GET_CUDA}"
    except ImportError as error:
        return None, f"{name} did not load ({error}): {GET_CUDA}"
