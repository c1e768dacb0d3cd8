"""ONNX files of others, checked before anything reads their weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from mammofast.errors import EngineError

Shape = tuple[int | None, ...]

# What protobuf can hold in one message; larger networks keep their weights beside it.
_LARGEST = 2 << 30
_IMAGE_RANK = 4
_FIRST_WITH_CONSTANTS = 4
# First bytes of what is often taken for ONNX.
_OTHERS = {b"PK": "a zip, such as PyTorch's checkpoints are", b"\x80": "a pickle, which is never opened"}


@dataclass(frozen=True, slots=True)
class Interface:
    """A network's one input and its outputs, by the file.

    batch, rows, cols: None where the axis is free.
    """

    input: str
    batch: int | None
    channels: int
    rows: int | None
    cols: int | None
    outputs: tuple[str, ...]

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the one size that the file allows.

        Raises
        ------
        EngineError
            When it leaves the size open.

        """
        if self.rows is None or self.cols is None:
            raise EngineError(f"size: input {self.input!r} takes images of any size; say which with --size ROWSxCOLS")
        return ((self.rows, self.cols),)


def read_onnx(path: Path) -> tuple[bytes, Interface]:
    """Read and check a file.

    Raises
    ------
    EngineError
        When it is not ONNX, keeps weights in other files, or is not a network of one image input in float32.

    """
    try:
        content = path.read_bytes() if path.stat().st_size < _LARGEST else b""
    except OSError as error:
        raise EngineError(f"the ONNX file cannot be read: {error.strerror}") from error
    if not content:
        raise EngineError("the ONNX file is empty, or larger than the 2 GiB that one file of ONNX can hold")
    for start, words in _OTHERS.items():
        if content.startswith(start):
            raise EngineError(f"this is not an ONNX file but {words}; export the network to ONNX first")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf has an exception of its own, and it is no ValueError
        raise EngineError("this is not an ONNX file, or it was cut off; export the network again") from error
    _check_weights_inside(model.graph)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise EngineError(f"this is not a sound ONNX file: {str(error).splitlines()[0]}") from error
    if take_weights_from_inputs(model):
        content = model.SerializeToString()
    return content, _interface(model)


def input_and_output_shapes(content: bytes) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return a sound file's shapes by name, None where an axis is free."""
    model = onnx.load_model_from_string(content)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: _shape(value) for value in model.graph.input if value.name not in weights}
    return inputs, {value.name: _shape(value) for value in model.graph.output}


def take_weights_from_inputs(model: ModelProto) -> bool:
    """Make constants of weights that are inputs with a default too, as all were before ONNX's IR 4; say if any were."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) == len(graph.input):
        return False
    model.ir_version = max(model.ir_version, _FIRST_WITH_CONSTANTS)
    inputs = [type(value).FromString(value.SerializeToString()) for value in inputs]
    del graph.input[:]
    graph.input.extend(inputs)
    return True


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """Return the networks inside an operator: an If's branches, a Loop's body."""
    single = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return single + [graph for attribute in node.attribute for graph in attribute.graphs]


def check_no_subgraphs(graph: GraphProto) -> None:
    """Refuse operators that hold networks, whose names and types nothing here would follow.

    Raises
    ------
    EngineError
        With the first such node.

    """
    for node in graph.node:
        if subgraphs(node):
            raise EngineError(
                f"{node.op_type} (node {node.name!r}) holds a subgraph, which cannot be converted or renamed; export "
                "the network for one path, without it"
            )


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Return all of a network's constants, those of its subgraphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in subgraphs(node):
            yield from _tensors(inner)


def _check_weights_inside(graph: GraphProto) -> None:
    tensors = _tensors(graph)
    outside = [tensor.name for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
    if outside:
        raise EngineError(
            f"weights outside the file: {outside[0]!r} and {len(outside) - 1} more are kept in files beside it, which "
            "no manifest would hash; save it whole: onnx.save(onnx.load(FILE), NEW, save_as_external_data=False)"
        )


def _interface(model: ModelProto) -> Interface:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    for value in (*inputs, *model.graph.output):
        kind = value.type.tensor_type.elem_type
        if kind != TensorProto.FLOAT:
            name = TensorProto.DataType.Name(kind)
            raise EngineError(f"{value.name!r} is {name}, expected FLOAT: export in fp32, compile converts")
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != _IMAGE_RANK:
        shapes = {value.name: _shape(value) for value in inputs}
        raise EngineError(f"inputs: got {shapes}, expected one of shape (n, channels, rows, cols)")
    batch, channels, rows, cols = _shape(inputs[0])
    if channels is None:
        raise EngineError(f"input {inputs[0].name!r}: the number of channels is open, expected a fixed one")
    outputs = tuple(value.name for value in model.graph.output)
    return Interface(inputs[0].name, batch, channels, rows, cols, outputs)


def _shape(value: ValueInfoProto) -> Shape:
    return tuple(axis.dim_value or None for axis in value.type.tensor_type.shape.dim)
