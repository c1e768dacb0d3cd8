"""ONNX Runtime on the CPU: the default engine, true fp32."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from mammofast.engine.base import Tensors, TensorSpec
from mammofast.errors import EngineError

_ERRORS_ONLY = 3
_DTYPES = {"tensor(float)": "float32"}


class OnnxRuntimeEngine:
    """An ONNX network in a session of its own."""

    def __init__(self, model: bytes, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads that spin would take the core from the workers beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Memory patterns are kept per input shape: five detection sizes would hold five copies of the arena.
        options.enable_mem_pattern = False
        # A manifest hashes the network's file only, so weights that it keeps in files beside it must not be found.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                model, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises one class per status code, none of them public
            raise EngineError(f"ONNX Runtime {ort.__version__} refused the network: {error}") from error
        self.inputs = tuple(map(_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_spec, self._session.get_outputs()))

    def run(self, tensors: Mapping[str, npt.NDArray[np.float32]]) -> Tensors:
        """Run one batch; see :class:`mammofast.engine.Engine`."""
        if self._session is None:
            raise EngineError("this engine is closed; open the bundle again")
        if set(tensors) != {spec.name for spec in self.inputs}:
            raise EngineError(f"inputs: got {sorted(tensors)}, expected {[spec.name for spec in self.inputs]}")
        for spec in self.inputs:
            got = tensors[spec.name]
            if not spec.accepts(got.shape) or got.dtype != spec.dtype:
                raise EngineError(f"input {spec.name!r}: got {got.dtype}{got.shape}, expected {spec.dtype}{spec.shape}")
        names = [spec.name for spec in self.outputs]
        try:
            values = self._session.run(names, dict(tensors))
        except Exception as error:
            raise EngineError(f"ONNX Runtime could not run the network: {error}") from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Drop the session."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _spec(node: ort.NodeArg) -> TensorSpec:
    return TensorSpec(
        name=node.name,
        shape=tuple(size if isinstance(size, int) else None for size in node.shape),
        dtype=_DTYPES.get(node.type, node.type),
    )


def load(model: bytes, device: str, threads: int) -> OnnxRuntimeEngine:
    """Load an ONNX network; ``device`` must be "cpu"."""
    if device != "cpu":
        raise EngineError(f"device: got {device!r}, expected 'cpu', the only one that ONNX Runtime drives here")
    return OnnxRuntimeEngine(model, threads)
