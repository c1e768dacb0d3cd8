"""What engines on a card offer beside :class:`Engine`: arrays that stay there, work that is only enqueued."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from mammofast.engine.base import Engine, Tensor
from mammofast.engine.loss import is_lost, lose
from mammofast.errors import DeviceLostError, EngineError
from mammofast.ops._cuda import is_contiguous

Shape = tuple[int, ...]

PREPARING = Lock()
"""Held by who prepares a shape: whatever waits for the whole card meanwhile would spoil the capture of a CUDA graph."""


class DeviceArray(Protocol):
    """An array on a card, of whoever speaks the CUDA Array Interface: the ops, PyTorch, CuPy, Numba."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the card.

    weights: of the network, once for all engines that share it. context: what this engine has beside them so far:
    activations, inputs and outputs of every shape that it has run.
    """

    weights: int
    context: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a device array lies, and what it is."""

    pointer: int
    shape: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Its size."""
        return prod(self.shape) * self.dtype.itemsize


class DeviceEngine(Engine):
    """A network on a card. One engine serves one thread and one stream at a time; :meth:`share` makes another.

    The first run at a shape prepares it: memory, kernels, a CUDA graph. That waits; later ones only enqueue.
    """

    card: int
    """Number of the card, as this process counts them."""
    stream: int
    """Handle of the engine's own CUDA stream, for who has none."""
    graphs: int = 0
    """Shapes that are replayed from a CUDA graph; where capture fails, kernels are launched one by one."""

    def run_on_device(self, inputs: Mapping[str, DeviceArray], stream: int) -> dict[str, DeviceArray]:
        """Enqueue one batch and return where every output will lie.

        Parameters
        ----------
        inputs: arrays on this engine's card, C-contiguous, written by what was enqueued on ``stream`` before. Those of
            :meth:`buffers` are read where they lie, others are copied there.
        stream: handle of a CUDA stream; 0 is the legacy default stream.

        The outputs are the engine's own memory: what reads them is to be enqueued on the same stream, before the
        engine's next run of whatever shape.

        Raises
        ------
        EngineError
            When an input is missing, misshapen or mistyped, the card has no memory left, the network could not be
            enqueued, or the engine is closed. What goes wrong later shows where the stream is waited for.

        """
        placed = {name: place(name, array) for name, array in inputs.items()}
        self._check(placed)
        try:
            return self._enqueue(placed, stream)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"the network could not be run: {error}") from error

    def buffers(self, shapes: Mapping[str, Shape]) -> dict[str, DeviceArray]:
        """Return the engine's own inputs of these shapes, to be written in place; valid until it is closed.

        Raises
        ------
        EngineError
            When the network does not take these shapes, or the card has no memory left.

        """
        self._check({spec.name: Placed(0, shapes.get(spec.name, ()), np.dtype(spec.dtype)) for spec in self.inputs})
        return self._buffers(shapes)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """After an error within the block, wait for the engine's own stream, and tell whether the card is still there.

        Raises
        ------
        DeviceLostError
            When the stream cannot be waited for: an error that stays, say an illegal address, an uncorrectable bit of
            memory, a card that fell off its bus. One that passes, say memory that ran out, is raised as it came.

        """
        try:
            yield
        except DeviceLostError:
            raise
        except Exception as error:
            try:
                self.synchronize()
            except EngineError as still:
                raise lose(self.card, still) from error
            raise

    def close(self) -> None:
        """Give the network's memory back; that of a lost card goes with the process, since calls might not return."""
        if is_lost(self.card):
            self._closed = True
        super().close()

    @abstractmethod
    def share(self) -> Self:
        """Return another engine over the same weights, which go when the last of them is closed."""

    @property
    @abstractmethod
    def memory(self) -> Memory:
        """What it takes of the card."""

    @abstractmethod
    def free_memory(self) -> int:
        """Return how many bytes of its card nobody has taken."""

    @abstractmethod
    def pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return memory of the host that the card can read while the CPU works; it goes when nobody refers to it.

        Raises
        ------
        EngineError
            When there is no way to have it, or no more of it.

        """

    @abstractmethod
    def upload(self, tensors: Mapping[str, Tensor]) -> dict[str, DeviceArray]:
        """Enqueue the copies of a batch to the engine's buffers, on its own stream."""

    @abstractmethod
    def download(self, outputs: Mapping[str, DeviceArray]) -> dict[str, Tensor]:
        """Return outputs of :meth:`run_on_device` when the engine's own stream has come that far."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for the engine's own stream."""

    def _run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self.watched():
            return self.download(self.run_on_device(self.upload(tensors), self.stream))

    @abstractmethod
    def _enqueue(self, inputs: Mapping[str, Placed], stream: int) -> dict[str, DeviceArray]: ...

    @abstractmethod
    def _buffers(self, shapes: Mapping[str, Shape]) -> dict[str, DeviceArray]: ...


def card_index(device: str) -> int:
    """Return the number in "cuda:1"; the first card is "cuda"."""
    return int(device.partition(":")[2] or 0)


def place(name: str, array: DeviceArray) -> Placed:
    """Say where a device array lies.

    Raises
    ------
    EngineError
        When it is none, or not C-contiguous.

    """
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise EngineError(f"input {name!r}: got {type(array).__name__}, expected an array on a CUDA device")
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    if not is_contiguous(interface):
        raise EngineError(f"input {name!r}: got strides {interface['strides']}, expected a C-contiguous array")
    return Placed(interface["data"][0], shape, dtype)
