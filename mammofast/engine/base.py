"""What every backend offers, and which module holds it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from mammofast.errors import EngineError

Tensor = npt.NDArray[np.float32]


class Described(Protocol):
    """What an array says of itself, wherever it lies."""

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named input or output; ``None`` stands for an axis whose size is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def accepts(self, tensor: Described) -> bool:
        """Whether an array fits."""
        return (
            tensor.dtype == self.dtype
            and len(tensor.shape) == len(self.shape)
            and all(mine in (None, size) for mine, size in zip(self.shape, tensor.shape, strict=True))
        )


class Engine(ABC):
    """One compiled network on one device, in memory until it is closed; best used in a ``with`` block."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._closed = False

    def run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch and return every output by name, a row for each of the inputs'; the caller owns the arrays.

        Raises
        ------
        EngineError
            When an input is missing, misshapen or mistyped, the network fails, or the engine is closed.

        """
        self._check(tensors)
        try:
            outputs = self._run(tensors)
        except EngineError:
            raise
        except Exception as error:  # the backends' own exceptions have no public base
            raise EngineError(f"the network could not be run: {error}") from error
        rows = {len(tensor) for tensor in (*tensors.values(), *outputs.values())}
        if len(rows) != 1:  # OpenVINO computes on where shapes do not match
            raise EngineError(f"the network could not be run: inputs and outputs have {sorted(rows)} rows, not as many")
        return outputs

    def close(self) -> None:
        """Give the network's memory back; closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._close()

    def _check(self, tensors: Mapping[str, Described]) -> None:
        """Refuse what is not this network's input, and everything once it is closed."""
        if self._closed:
            raise EngineError("this engine is closed; open the bundle again")
        if set(tensors) != {spec.name for spec in self.inputs}:
            raise EngineError(f"inputs: got {sorted(tensors)}, expected {[spec.name for spec in self.inputs]}")
        for spec in self.inputs:
            got = tensors[spec.name]
            if not spec.accepts(got):
                raise EngineError(f"input {spec.name!r}: got {got.dtype}{got.shape}, expected {spec.dtype}{spec.shape}")

    @abstractmethod
    def _run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]: ...

    @abstractmethod
    def _close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Backend:
    module: str
    install: str
    precisions: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu",)


# TensorRT's networks are strongly typed: any type that ONNX can say. PyTorch computes in its weights' type.
_TYPES = ("fp32", "bf16", "fp16")

_BACKENDS = {
    "onnxruntime": _Backend("mammofast.engine.onnxruntime", "pip install onnxruntime", ("fp32", "fp16")),
    "openvino": _Backend("mammofast.engine.openvino", 'pip install "mammofast[openvino]"', ("fp32", "bf16")),
    "tensorrt": _Backend("mammofast.engine.tensorrt.session", 'pip install "mammofast[tensorrt]"', _TYPES, ("cuda",)),
    "tensorrt-rtx": _Backend(
        "mammofast.engine.tensorrt.session", 'pip install "mammofast[tensorrt-rtx]"', _TYPES, ("cuda",)
    ),
    "torch": _Backend("mammofast.engine.torch.eager", 'pip install "mammofast[torch]"', _TYPES, ("cpu", "cuda")),
}


def backends() -> dict[str, tuple[str, ...]]:
    """Return every backend's name and the precisions it has."""
    return {name: backend.precisions for name, backend in _BACKENDS.items()}


def check_precision(backend: str, precision: str) -> None:
    """Check that a backend exists and has a precision, installed or not.

    Raises
    ------
    EngineError
        When it does not.

    """
    if backend not in _BACKENDS:
        raise EngineError(f"backend: got {backend!r}, expected one of {sorted(_BACKENDS)}")
    known = _BACKENDS[backend].precisions
    if precision not in known:
        raise EngineError(
            f"precision: got {precision!r}, expected one of {list(known)}, which is what {backend} has here"
        )


def load_engine(model: bytes, backend: str, device: str = "cpu", precision: str = "fp32", threads: int = 1) -> Engine:
    """Load a compiled network from bytes that were checked already.

    Parameters
    ----------
    model: the backend's own file format (for onnxruntime and openvino: ONNX with its weights inside; for
        torch: see :mod:`mammofast.engine.torch.file`).
    backend: a name of ``_BACKENDS``.
    device: "cpu", or "cuda" or "cuda:i" for the backends that drive it.
    precision: of the arithmetic, one that the backend has.
    threads: threads of one run.

    Raises
    ------
    EngineError
        When the backend is unknown or not installed, the device or the precision is not its own, or it refuses the
        model.

    """
    check_precision(backend, precision)
    found = _BACKENDS[backend]
    if device.partition(":")[0] not in found.devices:
        raise EngineError(
            f"device: got {device!r}, expected one of {list(found.devices)}, which is what {backend} has here; "
            "`mammofast compile` makes a bundle for another backend"
        )
    try:
        module = import_module(found.module)
        engine: Engine = module.load(model, backend, device, precision, threads)
    except EngineError:
        raise
    except ImportError as error:
        raise EngineError(f"backend {backend!r} is not installed ({error}); {found.install}") from error
    except Exception as error:
        raise EngineError(f"{backend} refused the network: {error}") from error
    return engine
