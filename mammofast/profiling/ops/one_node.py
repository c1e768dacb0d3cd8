"""An operator of ONNX as a network of its own: how ONNX Runtime's ops are called."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = Sequence[int | None]


def session(
    operator: str, inputs: Mapping[str, tuple[type, Shape]], output: tuple[type, Shape], **attributes: Any
) -> Any:
    """Return ONNX Runtime's session, on one thread. inputs: name to (type, shape), in the operator's order."""
    import onnxruntime
    from onnx import helper

    def value(name: str, kind: type, shape: Shape) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)

    graph = helper.make_graph(
        [helper.make_node(operator, list(inputs), ["output"], **attributes)],
        operator,
        [value(name, *each) for name, each in inputs.items()],
        [value("output", *output)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feed(**arrays: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return arrays as ONNX Runtime takes them."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
