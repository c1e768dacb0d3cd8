"""What NVIDIA's driver says of the cards here, asked without any of CUDA's packages."""

import ctypes

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


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
