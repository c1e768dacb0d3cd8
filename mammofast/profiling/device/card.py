"""A CUDA card as measurements see it: arrays carried there and back, its clock, and the device forms of the ops.

What tells the card's time and copies its memory is torch or CuPy, whichever is installed and sees the card: both are
what a developer has, neither is needed to use the ops.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mammofast.errors import ProfilingError
from mammofast.ops import _cuda, _native, device

# Of no card so far: holding longer than asked only costs time, holding shorter would let the host's pace be measured.
_FASTEST_HZ = 3e9


class Card(Protocol):
    """Where device forms of ops run.

    name: of the card. clock: what tells its time. forms: the functions of :mod:`mammofast.ops.device`. l2_bytes: of its
    second-level cache. emulated: whether the kernels run on the host instead, so that times say nothing. torch_device:
    where torch's ways of doing the same run, None where it cannot. alone: whether no other library shall run there.
    """

    name: str
    clock: str
    forms: Any
    l2_bytes: int
    emulated: bool
    torch_device: str | None
    alone: bool

    def put(self, array: npt.NDArray[Any]) -> Any:
        """Return a copy on the card."""

    def get(self, array: Any) -> npt.NDArray[Any]:
        """Return a copy on the host, once the card has made it."""

    def copying(self, n_bytes: int) -> Callable[[], Any]:
        """Return a call that copies so many bytes from one place of the card's memory to another."""

    def mark(self) -> Any:
        """Mark this place in the default stream."""

    def seconds(self, start: Any, end: Any) -> float:
        """Wait for the second mark and return the time between the two."""

    def hold(self, seconds: float) -> None:
        """Keep the default stream from starting anything new for at least so long."""

    def wait(self) -> None:
        """Wait until the card has nothing to do."""


class UntimedCard:
    """A card, or the kernels emulated on the host, by the host's clock: for results, not for times.

    emulated, torch_device, alone: as :class:`Card` has them.
    """

    l2_bytes = 0
    clock = "the host's"

    def __init__(self, emulated: bool = False, torch_device: str | None = None, alone: bool = False) -> None:
        self.forms: Any = device
        self.emulated = emulated
        self.torch_device = torch_device
        self.alone = alone
        self._native: Any = _cuda.kernels("device")
        self.name: str = self._native.devices()["cards"][0][0]
        self._something = self.put(np.zeros(1, np.int32))

    def put(self, array: npt.NDArray[Any]) -> Any:
        """Return a copy on the card."""
        return self._native.to_device(array, _cuda.LEGACY_STREAM, 0)

    def get(self, array: Any) -> npt.NDArray[Any]:
        """Return a copy on the host, once the card has made it."""
        return _cuda.to_host(array)

    def copying(self, n_bytes: int) -> Callable[[], Any]:
        """There is no such thing."""
        raise ProfilingError("device: got a card without a clock of its own, expected one whose copies can be timed")

    def mark(self) -> Any:
        """Return the host's time once everything is done."""
        self.wait()
        return time.perf_counter()

    def seconds(self, start: Any, end: Any) -> float:
        """Return the time between the two."""
        return float(end - start)

    def hold(self, seconds: float) -> None:
        """Nothing is held."""

    def wait(self) -> None:
        """Wait for the default stream."""
        self.get(self._something)


class _TorchCard(UntimedCard):
    """The first card that torch sees, by its own clock."""

    def __init__(self) -> None:
        import torch

        super().__init__(torch_device="cuda")
        self._torch = torch
        self.clock = f"torch {torch.__version__}"
        self.l2_bytes: int = torch.cuda.get_device_properties(0).L2_cache_size

    def copying(self, n_bytes: int) -> Callable[[], Any]:
        source = self._torch.randint(0, 255, (n_bytes,), dtype=self._torch.uint8, device="cuda")
        target = self._torch.empty_like(source)
        return lambda: target.copy_(source)

    def mark(self) -> Any:
        event = self._torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def hold(self, seconds: float) -> None:
        self._torch.cuda._sleep(int(seconds * _FASTEST_HZ))

    def wait(self) -> None:
        self._torch.cuda.synchronize()


class _CupyCard(UntimedCard):
    """The first card that CuPy sees, by its own clock."""

    def __init__(self) -> None:
        import cupy

        super().__init__()
        self._cupy = cupy
        self.clock = f"cupy {cupy.__version__}"
        self.l2_bytes: int = cupy.cuda.runtime.getDeviceProperties(0)["l2CacheSize"]
        self._spin = cupy.RawKernel(
            'extern "C" __global__ void spin(long long cycles)'
            "{ const long long start = clock64(); while (clock64() - start < cycles) {} }",
            "spin",
        )

    def copying(self, n_bytes: int) -> Callable[[], Any]:
        source = self._cupy.random.randint(0, 255, n_bytes, dtype=self._cupy.uint8)
        target = self._cupy.empty_like(source)
        return lambda: target.data.copy_from_device_async(source.data, n_bytes, self._cupy.cuda.Stream.null)

    def mark(self) -> Any:
        event = self._cupy.cuda.Event()
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        end.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, end)) / 1e3

    def hold(self, seconds: float) -> None:
        self._spin((1,), (1,), (np.int64(seconds * _FASTEST_HZ),))

    def wait(self) -> None:
        self._cupy.cuda.runtime.deviceSynchronize()


def open_card() -> Card:
    """Return the first card of this machine, by its own clock.

    Raises
    ------
    ProfilingError
        Where the kernels cannot run, or torch and CuPy are missing or see no card.

    """
    if (why := _native.why_no_cuda()) is not None:
        raise ProfilingError(f"device: the CUDA kernels cannot run here: {why}")
    if find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return _TorchCard()
    if find_spec("cupy") is not None:
        import cupy

        if cupy.is_available():
            return _CupyCard()
    raise ProfilingError(
        "device: got no card that torch or CuPy sees, expected one; install one of them for this machine's driver "
        "(the ops themselves need neither)"
    )
