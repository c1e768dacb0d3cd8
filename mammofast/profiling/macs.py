"""Multiply-adds of an ONNX network and the values that they move, from its own shapes."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple


class Work(NamedTuple):
    """What a network's convolutions and matrix products do in one run.

    macs: multiply-adds. values: that they move, each layer reading its input and its weights once and writing its
    output once. What lies between them counts nothing, since runtimes fuse it into them; nor does a cache that keeps
    an output for the next layer, or a tile that is read again.
    """

    macs: int
    values: int


def count_onnx_work(model: bytes, shape: Sequence[int]) -> Work | None:
    """Return the work of one run on inputs of a shape.

    None where the package onnx is missing, or a layer's shape cannot be known beforehand: half a count is none.
    """
    if not find_spec("onnx"):
        return None
    import onnx

    proto = onnx.load_model_from_string(model)
    weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                weights[node.output[0]] = tuple(attribute.t.dims)
    (given,) = (value for value in proto.graph.input if value.name not in weights)
    for axis, size in zip(given.type.tensor_type.shape.dim, shape, strict=True):
        axis.dim_value = size
    for value in proto.graph.output:  # symbols that contradict the sizes just fixed
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = dict(weights)
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        if dims and all(dims):
            shapes[value.name] = dims
    counted = [node for node in inferred.node if node.op_type in _COUNTED]
    try:
        return Work(
            sum(_COUNTED[node.op_type](node, shapes) for node in counted),
            sum(prod(shapes[name]) for node in counted for name in (*filter(None, node.input), node.output[0])),
        )
    except KeyError:
        return None


def _conv(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    # A kernel's inputs per group are the weight's second axis.
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _conv_transpose(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _matmul(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


_COUNTED = {"Conv": _conv, "ConvTranspose": _conv_transpose, "MatMul": _matmul, "Gemm": _matmul}
