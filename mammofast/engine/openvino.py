"""OpenVINO on the CPU: faster where the CPU has bf16 arithmetic and a bundle asks for it."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import openvino as ov

from mammofast.engine.base import Engine, Tensor, TensorSpec

# Without a hint OpenVINO takes bf16 silently wherever the CPU has it, fp32 network or not.
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_DTYPES = {"f32": "float32"}


class OpenVinoEngine(Engine):
    """An ONNX network compiled for this machine's CPU."""

    def __init__(self, model: bytes, precision: str, threads: int) -> None:
        options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        compiled = ov.Core().compile_model(_read(model), "CPU", options)
        self._request: ov.InferRequest | None = compiled.create_infer_request()
        super().__init__(tuple(map(_spec, compiled.inputs)), tuple(map(_spec, compiled.outputs)))

    def _run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert self._request is not None
        self._request.infer(dict(tensors))
        # A request's output memory is written again by its next run.
        return {spec.name: self._request.get_tensor(spec.name).data.copy() for spec in self.outputs}

    def _close(self) -> None:
        self._request = None


def _read(model: bytes) -> ov.Model:
    """Read a network in a folder of its own.

    A manifest hashes the network's file only: weights that it keeps in files beside it must not be found, and from
    memory OpenVINO looks for them in the current folder.
    """
    with TemporaryDirectory(prefix="mammofast-") as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(model)
        return ov.Core().read_model(path)


def _spec(port: ov.Output) -> TensorSpec:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorSpec(port.any_name, shape, _DTYPES.get(port.element_type.get_type_name(), "unknown"))


def load(model: bytes, backend: str, device: str, precision: str, threads: int) -> Engine:
    """Load an ONNX network."""
    return OpenVinoEngine(model, precision, threads)
