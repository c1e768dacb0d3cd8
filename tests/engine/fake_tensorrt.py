"""TensorRT without a card: a package whose engines compute y = 2x + 1 and its first channel."""

import json
import weakref
from enum import IntEnum
from types import ModuleType, SimpleNamespace

import numpy as np

VERSION = "10.99.1"
PROFILES = ([[1, 2, 4, 4], [2, 2, 4, 4], [3, 2, 4, 4]], [[1, 2, 6, 8], [3, 2, 6, 8], [3, 2, 6, 8]])


def serialized(version=VERSION, activations=1000, profiles=PROFILES, kind="FLOAT"):
    """Return an engine's bytes."""
    facts = {"version": version, "activations": activations, "profiles": profiles, "kind": kind}
    return json.dumps(facts).encode()


class TensorIOMode(IntEnum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(IntEnum):
    FLOAT, HALF, BF16 = range(3)


class EngineValidity(IntEnum):
    VALID, SUBOPTIMAL, INVALID = range(3)


class EngineInvalidityDiagnostics(IntEnum):
    VERSION_MISMATCH, UNSUPPORTED_CC = 1, 2


class EngineStat(IntEnum):
    TOTAL_WEIGHTS_SIZE, STRIPPED_WEIGHTS_SIZE = range(2)


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class DynamicShapesKernelSpecializationStrategy(IntEnum):
    LAZY, EAGER, NONE = range(3)


class CudaGraphStrategy(IntEnum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR, ERROR, WARNING = range(3)


def nptype(kind):
    return {DataType.FLOAT: np.float32, DataType.HALF: np.float16}[kind] if kind != DataType.BF16 else _no_type()


def _no_type():
    raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")


class FakeTensorRt(ModuleType):
    """One of the two packages over a card. fails: words of what is to go wrong."""

    def __init__(self, card, rtx):
        super().__init__("tensorrt_rtx" if rtx else "tensorrt")
        self.card = card
        self.__version__ = VERSION
        self.fails = set()
        self.executions = 0
        self.engines = weakref.WeakSet()
        self.contexts = weakref.WeakSet()
        self.compiled = 0
        self.caches = []
        names = [ILogger, TensorIOMode, DataType, EngineStat, ExecutionContextAllocationStrategy]
        if rtx:
            names += [EngineValidity, EngineInvalidityDiagnostics, DynamicShapesKernelSpecializationStrategy]
            names += [CudaGraphStrategy]
        for value in names:
            setattr(self, value.__name__, value)
        self.nptype = nptype
        self.Builder = object
        self.Runtime = lambda log: (RtxRuntime if rtx else Runtime)(self, log)


class Runtime:
    def __init__(self, trt, log):
        self.trt, self.log = trt, log

    def deserialize_cuda_engine(self, model):
        self.trt.card.need_context()
        facts = json.loads(model)
        if facts["version"] != self.trt.__version__:
            self.log.log(ILogger.Severity.ERROR, f"engine of version {facts['version']}, expecting {VERSION}")
            return None
        return (RtxEngine if isinstance(self, RtxRuntime) else Engine)(self, facts)


class RtxRuntime(Runtime):
    def get_engine_validity(self, model):
        if "fit" in self.trt.fails:
            return EngineValidity.INVALID, 2
        return EngineValidity.VALID, 0


class Engine:
    num_io_tensors = 3

    def __init__(self, runtime, facts):
        self.runtime, self.facts = runtime, facts
        self.trt, self.log = runtime.trt, runtime.log
        self.num_optimization_profiles = len(facts["profiles"])
        self.device_memory_size_v2 = facts["activations"]
        self.trt.engines.add(self)

    def get_tensor_name(self, i):
        return ("x", "y", "first")[i]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType[self.facts["kind"]]

    def get_tensor_shape(self, name):
        return (-1, 1 if name == "first" else 2, -1, -1)

    def get_tensor_profile_shape(self, name, profile):
        assert name == "x"
        return self.facts["profiles"][profile]

    def get_engine_stat(self, stat):
        assert stat == EngineStat.TOTAL_WEIGHTS_SIZE
        return 500

    def create_execution_context(self, strategy):
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return self._context(Context)

    def _context(self, kind):
        self.trt.card.need_context()
        if "context" in self.trt.fails:
            self.log.log(ILogger.Severity.ERROR, "no context today")
            return None
        return kind(self)


class RuntimeCache:
    """Kernels by shape, as "compiled" as a list of them."""

    def __init__(self, trt):
        self.trt = trt
        self.kernels = []

    def serialize(self):
        return memoryview(json.dumps(self.kernels).encode())

    def deserialize(self, blob):
        self.trt.card.need_context()
        if "cache" in self.trt.fails:
            return False
        self.kernels = json.loads(bytes(blob))
        return True


class RtxEngine(Engine):
    def create_runtime_config(self):
        def create_runtime_cache():
            self.trt.caches.append(RuntimeCache(self.trt))
            return self.trt.caches[-1]

        return SimpleNamespace(
            set_execution_context_allocation_strategy=lambda value: setattr(self, "strategy", value),
            create_runtime_cache=create_runtime_cache,
            set_runtime_cache=lambda cache: setattr(self, "cache", cache),
        )

    def create_execution_context(self, config):
        assert self.strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        assert config.dynamic_shapes_kernel_specialization_strategy is DynamicShapesKernelSpecializationStrategy.EAGER
        assert config.cuda_graph_strategy is CudaGraphStrategy.DISABLED
        assert isinstance(self.cache, RuntimeCache)
        return self._context(RtxContext)


class Context:
    def __init__(self, engine):
        self.engine, self.card = engine, engine.trt.card
        self.shapes, self.addresses = {}, {}
        self.profile, self.memory, self.ran = None, None, False
        engine.trt.contexts.add(self)

    def set_optimization_profile_async(self, profile, stream):
        self.profile = profile
        return True

    def set_input_shape(self, name, shape):
        smallest, _, largest = self.engine.facts["profiles"][self.profile]
        if not all(a <= n <= b for a, n, b in zip(smallest, shape, largest, strict=True)):
            return False
        self.shapes[name] = shape
        return True

    def infer_shapes(self):
        return [] if "x" in self.shapes else ["x"]

    def get_tensor_shape(self, name):
        n, channels, rows, cols = self.shapes["x"]
        return (n, 1 if name == "first" else channels, rows, cols)

    def set_device_memory(self, memory, size):
        assert size >= self.engine.device_memory_size_v2
        self.memory = (memory, size)

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream):
        trt, card = self.engine.trt, self.card
        card.need_context()
        trt.executions += 1
        capturing = stream in card.captures
        if "execute" in trt.fails or (capturing and (not self.ran or "capture" in trt.fails)):
            self.engine.log.log(ILogger.Severity.ERROR, "cannot allocate now" if capturing else "no kernels today")
            return False
        assert set(self.addresses) == {"x", "y", "first"}
        self.ran = True
        addresses, shapes, memory = (
            dict(self.addresses),
            {name: self.get_tensor_shape(name) for name in "xy"},
            self.memory,
        )
        first = self.get_tensor_shape("first")

        def compute():
            card.view(*memory)[:] = 3

            def at(name, shape):
                interface = {"shape": shape, "typestr": "<f4", "data": (addresses[name], False)}
                return card.array(interface)

            x = at("x", shapes["x"])
            with np.errstate(all="ignore"):  # warming up reads what was in memory
                at("y", shapes["y"])[...] = 2 * x + 1
            at("first", first)[...] = x[:, :1]

        card.enqueue(stream, compute)
        return True


class RtxContext(Context):
    def execute_async_v3(self, stream):
        kernels = self.engine.cache.kernels
        if list(self.shapes["x"]) not in kernels:
            self.engine.trt.compiled += 1
            kernels.append(list(self.shapes["x"]))
        return super().execute_async_v3(stream)

    def is_stream_capturable(self, stream):
        return "capturable" not in self.engine.trt.fails
