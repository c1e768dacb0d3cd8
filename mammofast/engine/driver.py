"""NVIDIA's driver, asked without any of CUDA's packages: which cards there are, and what pycuda does not wrap."""

import ctypes
from typing import Any

from mammofast.errors import EngineError

# CUdevice_attribute: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_MAJOR, _MINOR = 75, 76


def has_driver() -> bool:
    """Whether there is a driver; it may show no card."""
    return _driver() is not None


def compute_capability(index: int) -> int | None:
    """Return a card's compute capability, 86 for 8.6; None where there is no such card or no driver."""
    driver = _driver()
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if (
        driver is None
        or driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), index)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    ):
        return None
    return 10 * major.value + minor.value


def card_count() -> int:
    """Return how many cards this process sees; 0 without a driver."""
    driver, count = _driver(), ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def card_kind(index: int) -> str:
    """Return a card's name and compute capability, such as "NVIDIA H200, sm_90": what cards of a kind share."""
    driver, device, name = _driver(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if (
        driver is None
        or driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), index)
        or driver.cuDeviceGetName(name, len(name), device)
    ):
        return "unknown"
    return f"{name.value.decode(errors='replace')}, sm_{compute_capability(index)}"


def card_id(index: int) -> str | None:
    """Return what tells a card, or a part of one (MIG), from all others, whatever numbers a process gives them.

    None where there is no such card or no driver. Makes no context.
    """
    driver, device, found = _driver(), ctypes.c_int(), (ctypes.c_ubyte * 16)()
    if (
        driver is None
        or driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), index)
        or driver.cuDeviceGetUuid_v2(found, device)
    ):
        return None
    return bytes(found).hex()


def copy_on_card(target: int, source: int, nbytes: int, stream: int) -> None:
    """Enqueue a copy from device memory to device memory on anybody's stream.

    Raises
    ------
    EngineError
        When the driver refuses it.

    """
    call("cuMemcpyDtoDAsync_v2", _pointer(target), _pointer(source), ctypes.c_size_t(nbytes), handle(stream))


def call(function: str, *arguments: Any) -> None:
    """Call a function of the driver.

    Raises
    ------
    EngineError
        When it does not return CUDA_SUCCESS, with the driver's words, or there is no driver.

    """
    driver = _driver()
    if driver is None:
        raise EngineError(f"{function}: there is no NVIDIA driver here")
    status = getattr(driver, function)(*arguments)
    if status:
        words = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(words))
        raise EngineError(f"{function}: {words.value.decode() if words.value else f'error {status}'}")


def handle(value: int) -> ctypes.c_void_p:
    """Return a handle as the driver takes it: ctypes would cut a plain number to 32 bits."""
    return ctypes.c_void_p(value)


def _pointer(value: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(value)


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
