"""Group normalization for ONNX Runtime's CPU: sums whose order does not depend on where a row begins in memory.

ONNX Runtime's InstanceNormalization, as which PyTorch exports group normalization, adds a group's values up one after
another in fp32, from the first aligned address in steps of four. Where a group's values are no multiple of four, equal
rows of a batch are added in another order and differ in their last digits; and of millions of values the sum itself
loses some. A mean of means, as global average pooling, does neither.
"""

import math

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

_DEFAULT_EPSILON = 1e-5


def steady(model: bytes) -> bytes:
    """Return an fp32 network whose normalizations of groups of known size are computed from means of means."""
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    if all(node.op_type != "InstanceNormalization" for node in graph.node):
        return model
    shapes = _shapes(proto)
    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    nodes: list[NodeProto] = []
    for node in graph.node:
        reshape = producers.get(node.input[0]) if node.input else None
        whole = shapes.get(reshape.input[0], []) if reshape is not None and reshape.op_type == "Reshape" else []
        if node.op_type != "InstanceNormalization" or not all(whole[1:]) or not whole or node.input[1] not in constants:
            nodes.append(node)
            continue
        scale, shift = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
        values = math.prod(whole[1:]) // len(scale)
        nodes += _normalized(graph, node, scale, shift, values)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    changed: bytes = proto.SerializeToString()
    return changed


def _shapes(proto: ModelProto) -> dict[str, list[int]]:
    """Return the shapes of all values for a batch of one; 0 stands for what is not known."""
    single = ModelProto.FromString(proto.SerializeToString())
    for value in single.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in single.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    values = [*inferred.value_info, *inferred.input]
    return {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values}


def _normalized(
    graph: onnx.GraphProto,
    node: NodeProto,
    scale: npt.NDArray[np.float32],
    shift: npt.NDArray[np.float32],
    values: int,
) -> list[NodeProto]:
    """Return nodes that normalize (n, groups, values) over the last axis."""
    x, y = node.input[0], node.output[0]
    groups, part = len(scale), _divisor(values)
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), _DEFAULT_EPSILON)
    nodes: list[NodeProto] = []

    def constant(name: str, value: object) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{y}.{name}"))
        return f"{y}.{name}"

    def add(operator: str, inputs: list[str], name: str) -> str:
        output = name if name == y else f"{y}.{name}"
        nodes.append(helper.make_node(operator, inputs, [output], output))
        return output

    parts = constant("parts", np.array([0, groups * (values // part), part], np.int64))
    per_group = constant("per_group", np.array([0, groups, values // part], np.int64))

    def mean(name: str, of: str) -> str:
        of = add("GlobalAveragePool", [add("Reshape", [of, parts], f"{name}.parts")], f"{name}.means")
        return add("GlobalAveragePool", [add("Reshape", [of, per_group], f"{name}.per_group")], f"{name}.mean")

    centred = add("Sub", [x, mean("first", x)], "centred")
    variance = mean("second", add("Mul", [centred, centred], "squares"))
    raised = add("Add", [variance, constant("epsilon", np.float32(epsilon))], "raised")
    unit = add("Div", [centred, add("Sqrt", [raised], "deviation")], "unit")
    scaled = add("Mul", [unit, constant("scale", scale.reshape(-1, 1))], "scaled")
    add("Add", [scaled, constant("shift", shift.reshape(-1, 1))], y)
    return nodes


def _divisor(values: int) -> int:
    """Return the largest divisor that is not above the square root."""
    return next(i for i in range(math.isqrt(values), 0, -1) if values % i == 0)
