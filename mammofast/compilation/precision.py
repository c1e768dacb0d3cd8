"""An fp32 ONNX network as an fp16 or bf16 one, strongly typed: the type stands in the tensors, not in a builder's flag.

What is converted is everything between the inputs and the outputs, which stay float32, but

- what an operator defines as float32, such as the scales of Resize, and all that it is computed from;
- what ends a network: a softmax, sigmoid or tanh and the arithmetic with constants after it. They cost nothing and see
  the logits as they are, so that a probability near 0 or 1 keeps its digits;
- in bf16, transposed convolutions, for which TensorRT for RTX has no kernels in that type.

A batch normalization becomes a product and a sum, whose factors are computed in double and rounded once.
"""

from typing import TypeVar

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mammofast.compilation.onnx_files import check_no_subgraphs, take_weights_from_inputs
from mammofast.engine import load_engine
from mammofast.errors import EngineError

_FP32 = TensorProto.FLOAT
_TYPES = {
    "fp16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "bf16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
}
# Inputs that an operator defines as float32, whatever its data's type.
_FP32_INPUTS = {"Resize": (1, 2), "Upsample": (1,), "NonMaxSuppression": (0, 1, 3, 4)}
# What the builder of TensorRT for RTX has no kernels for in a type; computed in float32 between casts.
_FP32_OPERATORS = {TensorProto.BFLOAT16: ("ConvTranspose",)}
_ENDINGS = {"Softmax", "Sigmoid", "Tanh", "Slice", "Gather", "Split", "Identity"}
_ENDINGS_WITH_A_CONSTANT = {"Add", "Sub", "Mul", "Div"}
# Where an operator's type is an attribute of its own.
_TYPE_ATTRIBUTES = {"Cast": "to", "RandomNormalLike": "dtype", "RandomUniformLike": "dtype", "EyeLike": "dtype"}
_IMAGE_RANK = 4

P = TypeVar("P", NodeProto, TensorProto)


def convert(model: bytes, precision: str) -> bytes:
    """Return the network in another precision; its inputs and outputs stay float32.

    Parameters
    ----------
    model: an fp32 ONNX network without subgraphs (If, Loop, Scan).
    precision: "fp32" changes nothing; "fp16" or "bf16".

    Raises
    ------
    EngineError
        When a weight is too large for fp16, or the network has subgraphs.

    """
    if precision == "fp32":
        return model
    if precision not in _TYPES:
        raise EngineError(f"precision: got {precision!r}, expected one of {['fp32', *_TYPES]}")
    proto = onnx.load_model_from_string(model)
    _Conversion(proto, *_TYPES[precision]).run()
    converted: bytes = proto.SerializeToString()
    return converted


def check_types(model: bytes) -> None:
    """Check that the types in a bf16 network fit together, where nothing can run it: with fp16 in its place.

    ONNX's convolutions have no bf16 before opset 22, which TensorRT does not mind; ONNX Runtime would.

    Raises
    ------
    EngineError
        With the first operator that is given another type than it takes.

    """
    proto = onnx.load_model_from_string(model)
    attributes = [attribute for node in proto.graph.node for attribute in node.attribute]
    for tensor in (*proto.graph.initializer, *(attribute.t for attribute in attributes if attribute.HasField("t"))):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.data_type = TensorProto.FLOAT16  # of the same size; the values do not matter here
    for attribute in attributes:
        if attribute.name in _TYPE_ATTRIBUTES.values() and attribute.i == TensorProto.BFLOAT16:
            attribute.i = TensorProto.FLOAT16
    try:
        onnx.checker.check_model(proto, full_check=True)
        load_engine(proto.SerializeToString(), "onnxruntime").close()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, EngineError) as error:
        raise EngineError(f"the network's types do not fit together once converted: {error}") from error


class _Conversion:
    """One network on its way to ``kind``, "low" in what follows."""

    def __init__(self, model: ModelProto, kind: int, dtype: np.dtype[np.generic]) -> None:
        self.graph = model.graph
        self.kind, self.dtype = kind, dtype
        check_no_subgraphs(self.graph)
        take_weights_from_inputs(model)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        self.floats = {value.name for value in values if value.type.tensor_type.elem_type == _FP32}
        self.ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}

    def run(self) -> None:
        """Convert the network in place."""
        self._constants_to_weights()
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self._batch_norms_to_products()
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.floats |= {name for name, tensor in self.weights.items() if tensor.data_type == _FP32}
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self.kept = {value.name for value in self.graph.input} | self._needed_in_fp32() | self._endings()
        self.kept |= {
            name
            for node in self.graph.node
            if node.op_type in _FP32_OPERATORS.get(self.kind, ())
            for name in node.output
        }
        casts = self._cast_outputs()
        self._convert(casts)
        del self.graph.value_info[:]

    def _constants_to_weights(self) -> None:
        rest = []
        for node in self.graph.node:
            value = next((a for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                tensor = _copy(value.t)
                tensor.name = node.output[0]
                self.graph.initializer.append(tensor)
            else:
                rest.append(node)
        self._replace_nodes(rest)

    def _batch_norms_to_products(self) -> None:
        nodes: list[NodeProto] = []
        for node in self.graph.node:
            constant = all(name in self.weights for name in node.input[1:])
            if node.op_type != "BatchNormalization" or not constant or self.ranks.get(node.input[0]) != _IMAGE_RANK:
                nodes.append(node)
                continue
            gamma, beta, mean, variance = (
                numpy_helper.to_array(self.weights[name]).astype(np.float64) for name in node.input[1:]
            )
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            factor = gamma / np.sqrt(variance + epsilon)
            name, output = node.name or node.output[0], node.output[0]
            for suffix, values in (("factor", factor), ("shift", beta - mean * factor)):
                per_channel = values.astype(np.float32).reshape(1, -1, 1, 1)
                self.graph.initializer.append(numpy_helper.from_array(per_channel, f"{name}.{suffix}"))
            self.floats.add(f"{output}.scaled")
            nodes.append(
                helper.make_node("Mul", [node.input[0], f"{name}.factor"], [f"{output}.scaled"], f"{name}.Mul")
            )
            nodes.append(helper.make_node("Add", [f"{output}.scaled", f"{name}.shift"], [output], f"{name}.Add"))
        self._replace_nodes(nodes)

    def _replace_nodes(self, nodes: list[NodeProto]) -> None:
        """Set the graph's nodes, and drop the weights that none of them reads."""
        nodes = [_copy(node) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input} | {value.name for value in self.graph.output}
        weights = [_copy(tensor) for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(weights)

    def _needed_in_fp32(self) -> set[str]:
        """Return what an operator wants as float32 by definition, and what that is computed from."""
        kept: set[str] = set()
        needed = [
            name
            for node in self.graph.node
            for i, name in enumerate(node.input)
            if i in _FP32_INPUTS.get(node.op_type, ()) and node.op_type != "NonMaxSuppression"
        ]
        while needed:
            name = needed.pop()
            if name in self.floats and name not in kept and name not in self.weights:
                node = self.producers.get(name)
                # All that a node makes has one type.
                kept |= {name} if node is None else {made for made in node.output if made in self.floats}
                needed += () if node is None else node.input
        return kept

    def _endings(self) -> set[str]:
        """Return what is computed from the last logits on, by nodes all of whose floats can be kept."""
        ending = {value.name for value in self.graph.output}
        kept: set[str] = set()
        # From the last to the first: what reads a node's outputs is decided before the node.
        for node in reversed(self.graph.node):
            made = [name for name in node.output if name in self.floats]
            if made and self._ends(node) and all(name in ending for name in made):
                kept |= set(made)
                ending |= set(node.input)
        return kept

    def _ends(self, node: NodeProto) -> bool:
        if node.op_type in _ENDINGS:
            return True
        return node.op_type in _ENDINGS_WITH_A_CONSTANT and any(name in self.weights for name in node.input)

    def _cast_outputs(self) -> list[NodeProto]:
        """Rename the outputs that are low to begin with, and return the casts that make them float32."""
        low = {value.name for value in self.graph.output if value.name in self.floats - self.kept - set(self.weights)}
        names = {name: f"{name}.low" for name in low}
        for node in self.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        self.floats |= set(names.values())
        return [helper.make_node("Cast", [names[name]], [name], f"{name}.Cast", to=_FP32) for name in sorted(low)]

    def _convert(self, output_casts: list[NodeProto]) -> None:
        nodes: list[NodeProto] = []
        made: set[str] = set()

        def wanted(name: str, kind: int) -> str:
            """Return the name of a value in a type, made where it is not there yet."""
            if name not in self.floats or kind == (_FP32 if name in self.kept or name in self.weights else self.kind):
                return name
            other = f"{name}.low" if kind == self.kind else f"{name}.fp32"
            if other not in made:
                made.add(other)
                if name in self.weights:
                    self.graph.initializer.append(self._lowered(self.weights[name], other))
                else:
                    nodes.append(helper.make_node("Cast", [name], [other], f"{other}.Cast", to=kind))
            return other

        for node in self.graph.node:
            kind = self._kind(node)
            fp32 = _FP32_INPUTS.get(node.op_type, ())
            node.input[:] = [wanted(name, _FP32 if i in fp32 else kind) for i, name in enumerate(node.input)]
            if kind == self.kind:
                self._retype(node)
            nodes.append(node)
        self._replace_nodes([*nodes, *output_casts])

    def _kind(self, node: NodeProto) -> int:
        """Return the type that a node computes in: what it makes, or where that is no float, what it is given."""
        values = [name for name in node.output if name in self.floats]
        values = values or [name for name in node.input if name in self.floats and name not in self.weights]
        return _FP32 if values and all(name in self.kept for name in values) else self.kind

    def _retype(self, node: NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.name == _TYPE_ATTRIBUTES.get(node.op_type) and attribute.i == _FP32:
                attribute.i = self.kind
            if node.op_type == "ConstantOfShape" and attribute.t.data_type == _FP32:
                attribute.t.CopyFrom(self._lowered(attribute.t, ""))

    def _lowered(self, tensor: TensorProto, name: str) -> TensorProto:
        values: npt.NDArray[np.float32] = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            low = values.astype(self.dtype)
        if np.isfinite(values).all() and not np.isfinite(low.astype(np.float32)).all():
            largest = float(np.abs(values).max())
            raise EngineError(
                f"weights {tensor.name!r} reach {largest:.3g} and fp16 ends at 65504; compile with bf16 or fp32"
            )
        return numpy_helper.from_array(low, name)


def _copy(proto: P) -> P:
    twin = type(proto)()
    twin.CopyFrom(proto)
    return twin
