"""Running a built engine: its weights once, a context of its own for every shape, replayed from a CUDA graph.

A graph holds the addresses that were there when it was captured, so each shape keeps its context, its inputs and its
outputs. Shapes of one engine run one after the other and share the memory of activations.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np

from mammofast.engine.base import Engine, Tensor
from mammofast.engine.device import Array, Buffer, Stream
from mammofast.engine.driver import copy_on_card
from mammofast.engine.graphs import Graph
from mammofast.engine.on_device import (
    PREPARING,
    DeviceArray,
    DeviceEngine,
    Memory,
    Placed,
    Shape,
    card_index,
    place,
)
from mammofast.engine.tensorrt.flavour import import_flavour, require_card
from mammofast.engine.tensorrt.weights import Weights
from mammofast.errors import EngineError


class TensorRtEngine(DeviceEngine):
    """One of the engines over the same weights, with memory and a stream of its own."""

    def __init__(self, weights: Weights) -> None:
        self._weights, self._card, self.card = weights, weights.card, weights.index
        self._prepared: dict[tuple[Shape, ...], _Prepared] = {}
        self._pinned: dict[int, Array] = {}
        with self._card.current(), ExitStack() as made:
            weights.take()
            made.callback(weights.release)
            self._activations = self._card.allocate((weights.activations,), np.uint8)
            made.callback(self._activations.free)
            self._stream: Stream | None = self._card.stream()
            self.stream = self._stream.handle
            self._made = made.pop_all()
        super().__init__(weights.inputs, weights.outputs)

    def share(self) -> "TensorRtEngine":
        """Return another engine over the same weights, which go when the last of them is closed."""
        if self._closed:
            raise EngineError("this engine is closed; open the bundle again")
        return TensorRtEngine(self._weights)

    @property
    def memory(self) -> Memory:
        """What it takes of the card; activations are those of the largest shape that the engine was built for."""
        own = sum(prepared.nbytes for prepared in self._prepared.values())
        return Memory(self._weights.nbytes, self._activations.nbytes + own)

    def free_memory(self) -> int:
        """Return how many bytes of its card nobody has taken."""
        with self._card.current():
            return self._card.free_memory()

    def pinned(self, nbytes: int) -> Array:
        """Return memory of the host that the card can read while the CPU works."""
        with self._card.current():
            return self._card.pinned((nbytes,), np.uint8)

    def upload(self, tensors: Mapping[str, Tensor]) -> dict[str, DeviceArray]:
        """Enqueue the copies of a batch to the engine's buffers; waits for what its own stream has first."""
        buffers = self.buffers({name: tensor.shape for name, tensor in tensors.items()})
        self.synchronize()  # an earlier batch may not have left the pinned memory yet
        with self._card.current():
            for name, buffer in buffers.items():
                placed = place(name, buffer)
                pinned = self._pinned_for(placed)
                np.copyto(pinned, tensors[name])
                self._card.upload(placed.pointer, pinned, self._own)
        return buffers

    def download(self, outputs: Mapping[str, DeviceArray]) -> dict[str, Tensor]:
        """Return outputs of :meth:`run_on_device` when the engine's own stream has come that far."""
        placed = {name: place(name, array) for name, array in outputs.items()}
        with self._card.current():
            for found in placed.values():
                self._card.download(self._pinned_for(found), found.pointer, self._own)
            self._own.synchronize()
        return {name: self._pinned[found.pointer].copy() for name, found in placed.items()}

    def synchronize(self) -> None:
        """Wait for the engine's own stream."""
        with self._card.current():
            self._own.synchronize()

    @property
    def _own(self) -> Stream:
        if self._stream is None:
            raise EngineError("this engine is closed; open the bundle again")
        return self._stream

    def _pinned_for(self, placed: Placed) -> Array:
        if placed.pointer not in self._pinned:
            self._pinned[placed.pointer] = self._card.pinned(placed.shape, placed.dtype)
        return self._pinned[placed.pointer]

    def _enqueue(self, inputs: Mapping[str, Placed], stream: int) -> dict[str, DeviceArray]:
        with self._card.current():
            prepared = self._prepare({name: placed.shape for name, placed in inputs.items()})
            for name, placed in inputs.items():
                target = prepared.inputs[name]
                if placed.pointer != target.pointer:
                    copy_on_card(target.pointer, placed.pointer, placed.nbytes, stream)
            prepared.enqueue(stream)
        return dict(prepared.outputs)

    def _buffers(self, shapes: Mapping[str, Shape]) -> dict[str, DeviceArray]:
        with self._card.current():
            return dict(self._prepare(shapes).inputs)

    def _prepare(self, shapes: Mapping[str, Shape]) -> "_Prepared":
        key = tuple(tuple(shapes[spec.name]) for spec in self.inputs)
        if key not in self._prepared:
            with PREPARING:
                prepared = _Prepared(self._weights, self._activations, self._own, shapes)
                self._weights.keep_kernels()
            self._prepared[key] = prepared
            self._made.callback(prepared.close)
            self.graphs += prepared.graph is not None
        return self._prepared[key]

    def _close(self) -> None:
        with self._card.current(), self._made:
            self._made.callback(self._forget)
            self._card.synchronize()  # others' streams may still run what is freed now

    def _forget(self) -> None:
        self._pinned.clear()
        self._stream = None


class _Prepared:
    """One shape, ready to run: context, inputs, outputs, and its graph where it can be captured."""

    def __init__(self, weights: Weights, activations: Buffer, stream: Stream, shapes: Mapping[str, Shape]) -> None:
        self._weights = weights
        profile = weights.profile(shapes)
        self.graph: Graph | None = None
        self.inputs: dict[str, Buffer] = {}
        self.outputs: dict[str, Buffer] = {}
        with ExitStack() as made:
            self._context = weights.new_context()
            made.callback(self._forget)
            self._check(self._context.set_optimization_profile_async(profile, stream.handle), "choose a profile")
            stream.synchronize()
            for name, shape in shapes.items():
                self._check(self._context.set_input_shape(name, tuple(shape)), f"take {name!r} of {shape}")
            self._check(not self._context.infer_shapes(), "infer its shapes")
            self._context.set_device_memory(activations.pointer, activations.nbytes)
            for specs, buffers in ((weights.inputs, self.inputs), (weights.outputs, self.outputs)):
                for spec in specs:
                    shape = tuple(self._context.get_tensor_shape(spec.name))
                    buffers[spec.name] = weights.card.allocate(shape, spec.dtype)
                    made.callback(buffers[spec.name].free)
                    address = buffers[spec.name].pointer
                    self._check(self._context.set_tensor_address(spec.name, address), f"place {spec.name!r}")
            # The first run allocates, and compiles kernels: a graph captures what the second one does.
            self._execute(stream.handle)
            stream.synchronize()
            self.graph = self._captured(stream)
            if self.graph is not None:
                made.callback(self.graph.close)
            self._made = made.pop_all()

    @property
    def nbytes(self) -> int:
        """Of its inputs and outputs."""
        return sum(buffer.nbytes for buffer in (*self.inputs.values(), *self.outputs.values()))

    def enqueue(self, stream: int) -> None:
        """Enqueue one run."""
        if self.graph is not None:
            self.graph.launch(stream)
        else:
            self._execute(stream)

    def close(self) -> None:
        """Free it."""
        self._made.close()

    def _captured(self, stream: Stream) -> Graph | None:
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(stream.handle):
            return None
        try:
            return Graph(stream.handle, lambda: self._execute(stream.handle))
        except EngineError:
            return None

    def _execute(self, stream: int) -> None:
        self._check(self._context.execute_async_v3(stream), "run")

    def _check(self, succeeded: bool, what: str) -> None:
        if not succeeded:
            raise EngineError(f"the network could not {what}: {self._weights.why()}")

    def _forget(self) -> None:
        self._context = None


def load(model: bytes, backend: str, device: str, precision: str, threads: int) -> Engine:
    """Load an engine onto a card.

    Raises
    ------
    EngineError
        When there is no driver, card or pycuda, or the engine was made for another card or version.

    """
    index = card_index(device)
    import_flavour(backend)
    require_card(backend, index)
    return TensorRtEngine(Weights(model, backend, index))
