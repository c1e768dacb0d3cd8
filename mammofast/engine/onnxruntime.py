"""ONNX Runtime on the CPU: the default engine, true fp32; fp16 where a network's tensors are."""

import os
from collections.abc import Mapping

import onnxruntime as ort

from mammofast.engine.base import Engine, Tensor, TensorSpec

# It raises what it logs as an error too: said once is enough.
_FATAL_ONLY = 4
_DTYPES = {"tensor(float)": "float32"}


class OnnxRuntimeEngine(Engine):
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
        options.log_severity_level = _FATAL_ONLY
        self._session: ort.InferenceSession | None = ort.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
        super().__init__(tuple(map(_spec, self._session.get_inputs())), tuple(map(_spec, self._session.get_outputs())))

    def _run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert self._session is not None
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, self._session.run(names, dict(tensors)), strict=True))

    def _close(self) -> None:
        self._session = None


def _spec(node: ort.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(node.type, node.type))


def load(model: bytes, backend: str, device: str, precision: str, threads: int) -> Engine:
    """Load an ONNX network."""
    return OnnxRuntimeEngine(model, threads)
