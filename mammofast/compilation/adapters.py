"""An ONNX file of others, given the names and the probabilities that a method asks for."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mammofast.bundles.manifest import ACTIVATIONS
from mammofast.compilation.onnx_files import check_no_subgraphs
from mammofast.errors import EngineError

_THEIRS = "theirs/"
_IMAGE_RANK = 4
_NODES = {"sigmoid": "Sigmoid", "softmax": "Softmax"}


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where a method's output comes from: the file's tensor, what is done to it, the channel that is kept then."""

    tensor: str
    activation: str = "none"
    channel: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Mapped":
        """Read TENSOR[:ACTIVATION[:CHANNEL]].

        Raises
        ------
        EngineError
            When it is not that.

        """
        parts = text.split(":")
        tensor, activation, channel = [*parts, "none", "0"][:3] if len(parts) == 1 else [*parts, "0"][:3]
        known = activation in ACTIVATIONS and channel.isdigit()
        if not tensor or not known or len(parts) > 3:
            raise EngineError(
                f"output: got {text!r}, expected TENSOR[:ACTIVATION[:CHANNEL]], ACTIVATION one of {list(ACTIVATIONS)}"
            )
        return cls(tensor, activation, int(channel) if len(parts) == 3 else None)


def adapt(model: bytes, input: str, outputs: dict[str, Mapped], size: tuple[int, int] | None = None) -> bytes:
    """Return the network with its input called ``input`` and these outputs only.

    size: (rows, cols) of the input, where they are to be fixed.

    Raises
    ------
    EngineError
        When the network has no such output, or none of shape (n, channels, rows, cols) with this channel, or has
        subgraphs.

    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    check_no_subgraphs(graph)
    there = {value.name for value in graph.output}
    if missing := sorted({mapped.tensor for mapped in outputs.values()} - there):
        raise EngineError(f"output: the file has no {missing}, only {sorted(there)}")
    weights = {tensor.name for tensor in graph.initializer}
    (old,) = (value for value in graph.input if value.name not in weights)
    del graph.value_info[:]
    if size is not None:
        for axis, side in zip(old.type.tensor_type.shape.dim[2:], size, strict=True):
            axis.dim_value = side
    _check_channels(proto, outputs)
    _rename_all(graph, old.name, input)
    del graph.output[:]
    for name, mapped in outputs.items():
        _append(graph, f"{_THEIRS}{mapped.tensor}", name, mapped)
    adapted: bytes = proto.SerializeToString()
    return adapted


def _check_channels(proto: onnx.ModelProto, outputs: dict[str, Mapped]) -> None:
    """Check the outputs' shapes as far as ONNX can infer them."""
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in inferred.output}
    for name, mapped in outputs.items():
        shape = shapes[mapped.tensor]
        if len(shape) != _IMAGE_RANK:
            raise EngineError(
                f"output {name!r}: {mapped.tensor!r} has {len(shape)} axes, expected (n, channels, rows, cols)"
            )
        channels = shape[1].dim_value
        if mapped.channel is not None and channels and mapped.channel >= channels:
            raise EngineError(
                f"output {name!r}: {mapped.tensor!r} has no channel {mapped.channel}, only 0 to {channels - 1}"
            )


def _rename_all(graph: onnx.GraphProto, input: str, new: str) -> None:
    """Call the input ``new`` and put a word before all other names, so that none of them is a method's."""

    def name(old: str) -> str:
        return new if old == input else f"{_THEIRS}{old}" if old else ""

    for value in (*graph.input, *graph.initializer):
        value.name = name(value.name)
    for node in graph.node:
        node.input[:] = map(name, node.input)
        node.output[:] = map(name, node.output)


def _append(graph: onnx.GraphProto, tensor: str, name: str, mapped: Mapped) -> None:
    """Add the nodes that make an output of a tensor, and the output."""

    def constant(suffix: str, value: object) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{name}.{suffix}"))
        return f"{name}.{suffix}"

    if mapped.activation in ("sigmoid", "softmax"):
        attributes = {"axis": 1} if mapped.activation == "softmax" else {}
        graph.node.append(helper.make_node(_NODES[mapped.activation], [tensor], [f"{name}.active"], **attributes))
        tensor = f"{name}.active"
    elif mapped.activation == "tanh":
        half = constant("half", np.float32(0.5))
        graph.node.append(helper.make_node("Mul", [tensor, half], [f"{name}.half_range"]))
        graph.node.append(helper.make_node("Add", [f"{name}.half_range", half], [f"{name}.active"]))
        tensor = f"{name}.active"
    if mapped.channel is not None:
        index = constant("channel", np.array([mapped.channel], np.int64))
        graph.node.append(helper.make_node("Gather", [tensor, index], [f"{name}.kept"], axis=1))
        tensor = f"{name}.kept"
    graph.node.append(helper.make_node("Identity", [tensor], [name]))
    graph.output.append(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *(f"{name}_{i}" for i in (1, 2, 3))])
    )
