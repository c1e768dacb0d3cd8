"""What every backend offers, and which module holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from mammofast.errors import EngineError

_BACKENDS = {"onnxruntime": "mammofast.engine.onnxruntime"}

Tensors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named input or output; ``None`` stands for an axis whose size is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits."""
        return len(shape) == len(self.shape) and all(
            mine is None or mine == theirs for mine, theirs in zip(self.shape, shape, strict=True)
        )


class Engine(Protocol):
    """One network on one device. Not to be used after ``close``."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, tensors: Mapping[str, npt.NDArray[np.float32]]) -> Tensors:
        """Run one batch. Raises EngineError on a missing, misshapen or mistyped input."""

    def close(self) -> None:
        """Give the network's memory back; closing twice is allowed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def load_engine(model: bytes, backend: str, device: str = "cpu", threads: int = 1) -> Engine:
    """Load a compiled network from bytes that were checked already.

    Parameters
    ----------
    model: the backend's own file format (for onnxruntime: ONNX with its weights inside).
    backend: a name of ``_BACKENDS``.
    device: "cpu"; other devices come with the backends that drive them.
    threads: threads of one run.

    Raises
    ------
    EngineError
        When the backend is unknown or not installed, the device is not its own, or it refuses the model.

    """
    if backend not in _BACKENDS:
        raise EngineError(f"backend: got {backend!r}, expected one of {sorted(_BACKENDS)}")
    try:
        module = import_module(_BACKENDS[backend])
    except ImportError as error:
        raise EngineError(f"backend {backend!r} is not installed ({error}); pip install {backend}") from error
    engine: Engine = module.load(model, device, threads)
    return engine
