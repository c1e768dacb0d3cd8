"""One card's streams, events, pinned and device memory: the only module that imports pycuda.

Everything is in the card's primary context, which PyTorch and the CUDA runtime use too, as ``pycuda.autoprimaryctx``
has it; but for any card and from any thread.
"""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import EngineError

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

# CU_STREAM_NON_BLOCKING: work on the legacy default stream, PyTorch's for one, does not hold it up.
_NON_BLOCKING = 1
_HOW = 'pip install "mammofast[cuda]", which compiles it with the headers of a CUDA toolkit'


@cache
def card(index: int) -> "Card":
    """Return a card; its primary context is kept until the process ends.

    Raises
    ------
    EngineError
        When pycuda is not installed, or there is no such card.

    """
    return Card(index)


class Card:
    """An NVIDIA card. What it makes is freed within ``current()``, on any thread."""

    def __init__(self, index: int) -> None:
        try:
            self._cuda: Any = import_module("pycuda.driver")
        except ImportError as error:
            raise EngineError(f"running on a card needs pycuda, which is not installed ({error}); {_HOW}") from error
        try:
            self._cuda.init()
            self._context = self._cuda.Device(index).retain_primary_context()
        except self._cuda.Error as error:
            raise EngineError(f"card {index} cannot be used: {error}") from error
        # Left to its destructor, pycuda would release it as if it had made it, and complain.
        atexit.register(self._context.detach)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the card this thread's for the block; what CUDA reports within is an EngineError."""
        with self._errors():
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._cuda.MemoryError as error:
            raise EngineError(
                f"the card has no memory left ({self._room()}); run smaller batches, or fewer workers on this card"
            ) from error
        except self._cuda.Error as error:
            raise EngineError(f"the card reports: {error}") from error

    def _room(self) -> str:
        try:
            self._context.push()
            try:
                free, total = (value >> 20 for value in self._cuda.mem_get_info())
            finally:
                self._context.pop()
        except self._cuda.Error:  # a card that is lost by now does not say
            return "it does not say how much it has"
        return f"{free} of {total} MiB are free"

    def stream(self) -> "Stream":
        """Make a stream that does not wait for the legacy default stream."""
        return Stream(self._cuda.Stream(_NON_BLOCKING))

    def event(self) -> "Event":
        """Make an event."""
        return Event(self._cuda.Event())

    def allocate(self, shape: Shape, dtype: npt.DTypeLike) -> "Buffer":
        """Make an array on the card, of whatever values, aligned to 256 bytes."""
        # The driver allocates nothing of size 0.
        nbytes = max(prod(shape) * np.dtype(dtype).itemsize, 1)
        return Buffer(self._cuda.mem_alloc(nbytes), shape, np.dtype(dtype))

    def pinned(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """Make an array in memory that the card can read while the CPU works; it goes when nobody refers to it."""
        array: Array = self._cuda.pagelocked_empty(shape, dtype)
        return array

    def upload(self, pointer: int, source: Array, stream: "Stream") -> None:
        """Enqueue a copy to the card; ``source``, pinned, must stay as it is until the stream has come that far."""
        self._cuda.memcpy_htod_async(pointer, source, stream.theirs)

    def download(self, target: Array, pointer: int, stream: "Stream") -> None:
        """Enqueue a copy from the card; ``target``, pinned, is written when the stream has come that far."""
        self._cuda.memcpy_dtoh_async(target, pointer, stream.theirs)

    def free_memory(self) -> int:
        """Return how many bytes of the card nobody has taken."""
        free: int = self._cuda.mem_get_info()[0]
        return free

    def synchronize(self) -> None:
        """Wait for everything on the card, whoever enqueued it in this process."""
        self._context.synchronize()


class Stream:
    """A CUDA stream."""

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs
        self.handle: int = theirs.handle

    def synchronize(self) -> None:
        """Wait for all that was enqueued."""
        self.theirs.synchronize()

    def wait(self, event: "Event") -> None:
        """Have what is enqueued from now on wait for an event."""
        self.theirs.wait_for_event(event.theirs)


class Event:
    """A place in a stream."""

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs

    def record(self, stream: Stream) -> None:
        """Place it after what the stream has."""
        self.theirs.record(stream.theirs)

    def synchronize(self) -> None:
        """Wait until the stream has come here."""
        self.theirs.synchronize()


class Buffer:
    """An array on the card, C-contiguous."""

    def __init__(self, allocation: Any, shape: Shape, dtype: np.dtype[Any]) -> None:
        self._allocation = allocation
        self.pointer = int(allocation)
        self.shape = shape
        self.dtype = dtype

    @property
    def nbytes(self) -> int:
        """Its size."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        # No "stream": what is enqueued on the one it was made on needs no waiting, and nobody else reads it.
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "version": 3,
        }

    def free(self) -> None:
        """Give the memory back, once."""
        self._allocation.free()
