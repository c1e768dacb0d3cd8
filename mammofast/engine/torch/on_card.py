"""PyTorch on a card: channels last, each shape captured once as a CUDA graph and replayed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import cuda, nn

from mammofast.engine.base import Tensor
from mammofast.engine.device import card
from mammofast.engine.on_device import PREPARING, DeviceArray, DeviceEngine, Memory, Placed, Shape, card_index
from mammofast.engine.torch.file import Recipe
from mammofast.errors import EngineError

# cuDNN and the allocator settle within this many runs; PyTorch's own examples have three.
_WARM_UPS = 3


class TorchCardEngine(DeviceEngine):
    """A network of the catalogue on a card.

    recipe, network: what :func:`mammofast.engine.torch.file.read_file` returned; the network moves to the card.
    captured: False runs it layer by layer with cuDNN's fastest algorithms, whatever order they add in, as PyTorch is
    used otherwise: what CUDA graphs are measured against.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, device: str, *, captured: bool = True) -> None:
        self._recipe, self._name, self._captured = recipe, device, captured
        self._device, self.card = _torch_device(device), card_index(device)
        self._shapes: dict[Shape, _Prepared] = {}
        with self._errors(), cuda.device(self._device):
            self._network: nn.Module | None = network.to(self._device)
            self._own = cuda.Stream(device=self._device)
            self._pool = cuda.graph_pool_handle()
            cuda.synchronize(self._device)
        self.stream = self._own.cuda_stream
        self._weights = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        super().__init__(recipe.specs(recipe.inputs), recipe.specs(recipe.outputs))

    def share(self) -> "TorchCardEngine":
        """Return another engine over the same weights, which go when the last of them is closed."""
        return TorchCardEngine(self._recipe, self._open, self._name, captured=self._captured)

    @property
    def memory(self) -> Memory:
        """What it takes of the card."""
        return Memory(self._weights, sum(prepared.nbytes for prepared in self._shapes.values()))

    def free_memory(self) -> int:
        """Return how many bytes of its card nobody has taken; what PyTorch keeps for itself is taken."""
        with self._errors():
            free: int = cuda.mem_get_info(self._device)[0]
        return free

    def pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return memory of the host that the card can read while the CPU works, without PyTorch: it would keep it."""
        theirs = card(self.card)
        with theirs.current():
            return theirs.pinned((nbytes,), np.uint8)

    def upload(self, tensors: Mapping[str, Tensor]) -> dict[str, DeviceArray]:
        """Enqueue the copies of a batch to the engine's buffers; waits for what its own stream has first."""
        buffers = self.buffers({name: tensor.shape for name, tensor in tensors.items()})
        self.synchronize()  # an earlier batch may not have left the pinned memory yet
        (spec,) = self.inputs
        prepared = self._shapes[tensors[spec.name].shape]
        if prepared.pinned is None:
            prepared.pinned = _pinned(prepared.input.shape)
        np.copyto(prepared.pinned.numpy(), tensors[spec.name])
        with self._on(self.stream):
            prepared.input.copy_(prepared.pinned, non_blocking=True)
        return buffers

    def download(self, outputs: Mapping[str, DeviceArray]) -> dict[str, Tensor]:
        """Return outputs of :meth:`run_on_device` when the engine's own stream has come that far."""
        with self._on(self.stream):
            found = {name: _pinned(output.shape) for name, output in outputs.items()}  # type: ignore[attr-defined]
            for name, output in outputs.items():
                found[name].copy_(output, non_blocking=True)
            self._own.synchronize()
        # PyTorch keeps pinned memory for its next caller: what is the caller's own is a copy.
        return {name: values.numpy().copy() for name, values in found.items()}

    def synchronize(self) -> None:
        """Wait for the engine's own stream."""
        with self._errors():
            self._own.synchronize()

    @property
    def _open(self) -> nn.Module:
        if self._network is None:
            raise EngineError("this engine is closed; open the bundle again")
        return self._network

    def _enqueue(self, inputs: Mapping[str, Placed], stream: int) -> dict[str, DeviceArray]:
        (spec,) = self.inputs
        placed = inputs[spec.name]
        prepared = self._prepare(placed.shape)
        with self._on(stream):
            if placed.pointer != prepared.input.data_ptr():
                prepared.input.copy_(_borrowed(placed, self._device), non_blocking=True)
            if prepared.graph is None:
                prepared.outputs = self._outputs(prepared.input)
            else:
                prepared.graph.replay()
        return dict(prepared.outputs)

    def _buffers(self, shapes: Mapping[str, Shape]) -> dict[str, DeviceArray]:
        (spec,) = self.inputs
        return {spec.name: self._prepare(tuple(shapes[spec.name])).input}

    def _prepare(self, shape: Shape) -> "_Prepared":
        """Return what a shape runs in; made, and waited for, the first time."""
        if shape not in self._shapes:
            # PyTorch captures one graph at a time in a process, and cuDNN's settings are the process's.
            with PREPARING, self._on(self.stream):
                image = torch.zeros(shape, device=self._device)
                for _ in range(_WARM_UPS):
                    outputs = self._outputs(image)
                self._own.synchronize()
                before = cuda.memory_reserved(self._device)
                graph = None
                if self._captured:
                    del outputs
                    graph, outputs, before = self._capture(image)
                taken = max(cuda.memory_reserved(self._device) - before, 0) + image.nbytes
            self._shapes[shape] = _Prepared(image, outputs, graph, taken)
            self.graphs += graph is not None
        return self._shapes[shape]

    def _capture(self, image: torch.Tensor) -> tuple[Any, dict[str, Any], int]:
        """Return the graph, where its outputs lie, and the bytes that were reserved before."""
        cuda.empty_cache()
        before = cuda.memory_reserved(self._device)
        graph = cuda.CUDAGraph()
        # Other threads may allocate meanwhile.
        with cuda.graph(graph, pool=self._pool, stream=self._own, capture_error_mode="thread_local"):
            outputs = self._outputs(image)
        return graph, outputs, before

    def _outputs(self, image: torch.Tensor) -> dict[str, Any]:
        # fp32 is fp32: TF32 keeps ten bits of a factor. What cuDNN times would differ from one process to the next.
        exact = {"deterministic": self._captured, "benchmark": not self._captured, "allow_tf32": False}
        with torch.backends.cudnn.flags(enabled=True, **exact):
            values = self._open(image)
        values = (values,) if isinstance(values, torch.Tensor) else values
        return {spec.name: value.contiguous() for spec, value in zip(self.outputs, values, strict=True)}

    @contextmanager
    def _on(self, stream: int) -> Iterator[None]:
        """Within the block PyTorch enqueues on a stream of this card."""
        with self._errors(), torch.inference_mode(), cuda.device(self._device), cuda.stream(self._theirs(stream)):
            yield

    def _theirs(self, stream: int) -> Any:
        if stream == self.stream:
            return self._own
        return cuda.ExternalStream(stream, device=self._device) if stream else cuda.default_stream(self._device)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise EngineError(
                "the card has no memory left; run smaller batches, or fewer workers on this card"
            ) from error
        except RuntimeError as error:
            raise EngineError(f"PyTorch could not run the network on {self._name}: {error}") from error

    def _close(self) -> None:
        with self._errors():
            cuda.synchronize(self._device)  # others' streams may still run what is freed now
        self._shapes.clear()
        self._network = None
        cuda.empty_cache()


@dataclass(slots=True)
class _Prepared:
    """One shape: its input and outputs on the card, the graph over them, the bytes these take."""

    input: torch.Tensor
    outputs: dict[str, Any]
    graph: Any
    nbytes: int
    pinned: torch.Tensor | None = None


class _Borrowed:
    """Somebody's device memory, as PyTorch takes it."""

    def __init__(self, placed: Placed) -> None:
        self.__cuda_array_interface__ = {
            "shape": placed.shape,
            "typestr": placed.dtype.str,
            "data": (placed.pointer, False),
            "strides": None,
            "version": 3,
        }


def _borrowed(placed: Placed, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(_Borrowed(placed), device=device)


def _pinned(shape: Shape) -> torch.Tensor:
    return torch.empty(shape, pin_memory=True)


def _torch_device(device: str) -> torch.device:
    if not cuda.is_available():
        raise EngineError(
            f"device: got {device!r}, and PyTorch sees no NVIDIA card here (it was built "
            f"{f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'})"
        )
    return torch.device("cuda", card_index(device))
