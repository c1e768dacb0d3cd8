"""A built engine on a card: what all its contexts share."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from mammofast.engine.base import TensorSpec
from mammofast.engine.device import Card, card
from mammofast.engine.driver import card_kind
from mammofast.engine.on_device import Shape
from mammofast.engine.tensorrt.flavour import import_flavour, make_log
from mammofast.engine.tensorrt.kernels import KernelCache
from mammofast.errors import EngineError


class Weights:
    """A deserialized engine on a card, freed when nobody uses it any more."""

    def __init__(self, model: bytes, flavour: str, index: int) -> None:
        """Deserialize; see :func:`load` for errors."""
        self.trt: Any = import_flavour(flavour)
        self.card: Card = card(index)
        self.index = index
        self.log = make_log(self.trt)
        self._users, self._lock = 0, Lock()
        with self.card.current():
            runtime = self.trt.Runtime(self.log)
            _check_fit(self.trt, runtime, model, flavour)
            engine = runtime.deserialize_cuda_engine(model)
            if engine is None:
                raise EngineError(f"{flavour} {self.trt.__version__} cannot read the engine: {self.why()}")
            config, self._kernels = _runtime_config(self.trt, engine, model, index)
        # The runtime must outlive the engine.
        self._kept: tuple[Any, Any, Any] | None = (runtime, engine, config)
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT]
        self.inputs = tuple(self._spec(engine, name) for name in given)
        self.outputs = tuple(self._spec(engine, name) for name in names if name not in given)
        self.nbytes = int(engine.get_engine_stat(self.trt.EngineStat.TOTAL_WEIGHTS_SIZE))
        self.activations = int(engine.device_memory_size_v2)

    @property
    def engine(self) -> Any:
        """The package's own object."""
        assert self._kept is not None, "freed only when nobody uses it"
        return self._kept[1]

    def take(self) -> None:
        """Count one more user."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Count one user less; the last one frees the engine."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._kept = self._kernels = None

    def new_context(self) -> Any:
        """Make an execution context without memory for activations."""
        assert self._kept is not None, "freed only when nobody uses it"
        config = self._kept[2]
        strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self.engine.create_execution_context(strategy if config is None else config)
        if context is None:
            raise EngineError(f"no context could be made to run the network in: {self.why()}")
        return context

    def keep_kernels(self) -> None:
        """Keep what was compiled for the shapes so far, where the package compiles here, for the next process."""
        if self._kernels is not None:
            self._kernels.keep()

    def profile(self, shapes: Mapping[str, Shape]) -> int:
        """Return the number of the optimization profile that has these shapes."""
        free = [spec.name for spec in self.inputs if None in spec.shape]
        built_for = [
            {name: [tuple(shape) for shape in self.engine.get_tensor_profile_shape(name, i)] for name in free}
            for i in range(self.engine.num_optimization_profiles)
        ]
        for i, profile in enumerate(built_for):
            if all(_within(shapes[name], smallest, largest) for name, (smallest, _, largest) in profile.items()):
                return i
        ranges = "; ".join(
            ", ".join(f"{name!r} {smallest} to {largest}" for name, (smallest, _, largest) in profile.items())
            for profile in built_for
        )
        asked = ", ".join(f"{name!r} {shapes[name]}" for name in free)
        raise EngineError(f"shapes: got {asked}, the engine was built for {ranges}; compile it again with this size")

    def why(self) -> str:
        """Return what the package logged as errors since it was last asked."""
        words = "; ".join(dict.fromkeys(self.log.errors)) or "it gives no reason"
        self.log.errors.clear()
        return words

    def _spec(self, engine: Any, name: str) -> TensorSpec:
        shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        try:
            dtype = np.dtype(self.trt.nptype(engine.get_tensor_dtype(name))).name
        except TypeError as error:
            raise EngineError(f"tensor {name!r}: its type has no counterpart in NumPy ({error})") from error
        return TensorSpec(name, shape, dtype)


def _runtime_config(trt: Any, engine: Any, model: bytes, index: int) -> tuple[Any, KernelCache | None]:
    """Return what contexts of TensorRT for RTX are made with, and the kernels that they compile; None for TensorRT."""
    if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
        return None, None
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    # Compiled in the background, kernels would change from one run to another, and results with them.
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # graphs are captured here
    kernels = KernelCache(config.create_runtime_cache(), model, f"{trt.__version__} {card_kind(index)}")
    config.set_runtime_cache(kernels.theirs)  # what one context compiles, all have
    return config, kernels


def _within(shape: Shape, smallest: Sequence[int], largest: Sequence[int]) -> bool:
    return all(low <= size <= high for size, low, high in zip(shape, smallest, largest, strict=True))


def _check_fit(trt: Any, runtime: Any, model: bytes, flavour: str) -> None:
    """Refuse an engine that does not fit this machine, where the package can tell."""
    if not hasattr(runtime, "get_engine_validity"):
        return
    validity, bits = runtime.get_engine_validity(model)
    if validity != trt.EngineValidity.INVALID:
        return
    members = trt.EngineInvalidityDiagnostics.__members__
    reasons = [name.lower().replace("_", " ") for name, bit in members.items() if bits & int(bit)]
    raise EngineError(
        f"this engine does not fit this machine ({flavour} {trt.__version__} says: "
        f"{', '.join(reasons) or 'it gives no reason'}); compile the bundle again, here: "
        f"mammofast compile ... --to {flavour}"
    )
