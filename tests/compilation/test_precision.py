import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mammofast.compilation.precision import check_types, convert
from mammofast.engine import load_engine
from mammofast.errors import EngineError

LOW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def model(nodes, weights, outputs=("y",), opset=18):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 8, 8])
    ys = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "c", "i", "j"]) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], ys, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def types(content):
    """Return the type of every value of a network, and its operators by the value each makes."""
    proto = onnx.load_model_from_string(content)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=False).graph
    values = {v.name: v.type.tensor_type.elem_type for v in [*inferred.value_info, *inferred.input, *inferred.output]}
    values |= {t.name: t.data_type for t in inferred.initializer}
    return values, {name: node for node in inferred.node for name in node.output}


def run(content, x, precision="fp32"):
    with load_engine(content, "onnxruntime", precision=precision) as engine:
        return engine.run({"x": x})


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)


@pytest.fixture
def kernel():
    return np.random.default_rng(1).normal(size=(2, 2, 3, 3)).astype(np.float32)


def conv_and(*nodes):
    return [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4), *nodes]


def test_fp32_is_left_alone(kernel):
    content = model(conv_and(helper.make_node("Relu", ["c"], ["y"])), {"w": kernel})
    assert convert(content, "fp32") is content


@pytest.mark.parametrize("precision", LOW)
def test_inputs_and_outputs_stay_float32_and_all_between_is_low(precision, kernel):
    content = convert(model(conv_and(helper.make_node("Relu", ["c"], ["y"])), {"w": kernel}), precision)
    values, makers = types(content)
    assert values["x"] == values["y"] == TensorProto.FLOAT
    convolution = makers["c"]
    assert [values[name] for name in convolution.input] == [LOW[precision]] * 2
    assert makers["y"].op_type == "Cast"


def test_fp16_gives_what_rounding_by_hand_gives(image, kernel):
    """Input, weights and result are rounded to fp16."""
    content = convert(model(conv_and(helper.make_node("Relu", ["c"], ["y"])), {"w": kernel}), "fp16")
    x, w = (a.astype(np.float16).astype(np.float64) for a in (image, kernel))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.maximum(np.einsum("ncijkl,ockl->noij", windows, w), 0)
    found = run(content, image, "fp16")["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=8e-3)  # a unit in the last place of 12, the largest
    assert np.abs(found - expected).max() > 1e-6  # it is not fp32


@pytest.mark.parametrize("precision", LOW)
def test_probabilities_are_computed_from_logits_in_float32(precision, kernel):
    tail = [
        helper.make_node("Softmax", ["c"], ["s"], axis=1),
        helper.make_node("Gather", ["s", "one"], ["g"], axis=1),
        helper.make_node("Mul", ["g", "half"], ["h"]),
        helper.make_node("Add", ["h", "half"], ["y"]),
    ]
    weights = {"w": kernel, "one": np.array([1], np.int64), "half": np.float32(0.5)}
    values, makers = types(convert(model(conv_and(*tail), weights), precision))
    for name in ("s", "g", "h", "y"):
        assert makers[name].op_type != "Cast"
        assert values[makers[name].input[0]] == TensorProto.FLOAT
    assert values[makers["c"].input[0]] == LOW[precision]


def test_a_residual_at_the_end_is_no_ending(kernel):
    """Only arithmetic with constants ends a network: a sum of two convolutions is low."""
    nodes = conv_and(
        helper.make_node("Conv", ["c", "w"], ["d"], pads=[1] * 4), helper.make_node("Add", ["c", "d"], ["y"])
    )
    values, makers = types(convert(model(nodes, {"w": kernel}), "fp16"))
    assert makers["y"].op_type == "Cast"
    assert values[makers["y"].input[0]] == TensorProto.FLOAT16


def test_the_scales_of_resize_stay_float32_even_computed_ones(image, kernel):
    nodes = conv_and(
        helper.make_node("Add", ["one", "ones"], ["sum"]),
        helper.make_node("Mul", ["sum", "one"], ["scales"]),
        helper.make_node("Resize", ["c", "", "scales"], ["r"], mode="nearest"),
        helper.make_node("Mul", ["r", "one"], ["y"]),
    )
    weights = {"w": kernel, "one": np.float32(1), "ones": np.array([0, 0, 1, 1], np.float32)}
    fp32 = model(nodes, weights)
    content = convert(fp32, "fp16")
    values, makers = types(content)
    assert values["scales"] == values["sum"] == TensorProto.FLOAT
    assert values[makers["r"].input[0]] == TensorProto.FLOAT16
    assert run(content, image, "fp16")["y"].shape == (3, 2, 16, 16)
    np.testing.assert_allclose(run(content, image, "fp16")["y"], run(fp32, image)["y"], atol=2e-2)


def test_constants_and_types_in_attributes_follow(image):
    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node(
            "ConstantOfShape", ["shape"], ["threes"], value=numpy_helper.from_array(np.array([3], np.float32))
        ),
        helper.make_node("Cast", ["shape"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["sizes"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["x", "two"], ["a"]),
        helper.make_node("Add", ["a", "threes"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Max", ["r", "largest"], ["y"]),
    ]
    content = convert(model(nodes, {}), "fp16")
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    np.testing.assert_allclose(
        run(content, image, "fp16")["y"], np.maximum(np.maximum(2 * image + 3, 0), 8), rtol=2**-9
    )


def test_a_batch_norm_becomes_a_product_and_a_sum_rounded_once(image):
    """A variance below fp16's range would divide by zero, had the norm itself been converted."""
    gamma, beta = np.array([1, 2], np.float32), np.array([0.5, -1], np.float32)
    mean, variance = np.array([0.1, 0], np.float32), np.array([1e-7, 4], np.float32)
    nodes = [
        helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["n"], epsilon=1e-8),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    content = convert(model(nodes, {"g": gamma, "b": beta, "m": mean, "v": variance}), "fp16")
    assert {node.op_type for node in onnx.load_model_from_string(content).graph.node} == {"Cast", "Mul", "Add", "Relu"}
    rank = (1, 2, 1, 1)
    factor = gamma / np.sqrt(variance.astype(np.float64) + 1e-8)
    shift = (beta - mean * factor).reshape(rank)
    expected = np.maximum(image * factor.reshape(rank) + shift, 0)
    # Four roundings of what may cancel: as large a part of the largest term.
    largest = np.abs(image * factor.reshape(rank)) + np.abs(shift)
    assert (np.abs(run(content, image, "fp16")["y"] - expected) <= 4 * 2**-11 * largest).all()


def test_transposed_convolutions_stay_float32_in_bf16_only(kernel):
    nodes = conv_and(
        helper.make_node("ConvTranspose", ["c", "w"], ["t"]),
        helper.make_node("Relu", ["t"], ["y"]),
    )
    content = model(nodes, {"w": kernel})
    for precision, kind in (("bf16", TensorProto.FLOAT), ("fp16", TensorProto.FLOAT16)):
        values, makers = types(convert(content, precision))
        assert {values[name] for name in makers["t"].input} == {kind}
        assert {values[name] for name in makers["c"].input} == {LOW[precision]}


def test_bf16_weights_are_rounded_to_eight_bits(kernel):
    content = convert(model(conv_and(helper.make_node("Relu", ["c"], ["y"])), {"w": kernel}), "bf16")
    (weights,) = onnx.load_model_from_string(content).graph.initializer
    np.testing.assert_array_equal(
        numpy_helper.to_array(weights).astype(np.float32), kernel.astype(ml_dtypes.bfloat16).astype(np.float32)
    )


def test_weights_past_the_range_of_fp16_are_named(kernel):
    kernel[0, 0, 0, 0] = 70_000
    content = model(conv_and(helper.make_node("Relu", ["c"], ["y"])), {"w": kernel})
    with pytest.raises(EngineError, match=r"weights 'w' reach 7e\+04 and fp16 ends at 65504; compile with bf16"):
        convert(content, "fp16")
    convert(content, "bf16")


def test_subgraphs_and_unknown_precisions_are_refused(kernel):
    with pytest.raises(EngineError, match="precision: got 'fp8'"):
        convert(b"", "fp8")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 2, 8, 8])],
    )
    node = helper.make_node("If", ["yes"], ["y"], name="fork", then_branch=branch, else_branch=branch)
    with pytest.raises(EngineError, match=r"If \(node 'fork'\) holds a subgraph"):
        convert(model([node], {"yes": np.array(True)}), "fp16")


@pytest.mark.parametrize("precision", LOW)
def test_a_node_of_several_outputs_has_one_type(precision, image, kernel):
    """Of a split at the end, one part is an output and the other goes on to a convolution."""
    nodes = conv_and(
        helper.make_node("Split", ["c"], ["y", "rest"], axis=1, num_outputs=2),
        helper.make_node("Conv", ["rest", "one"], ["z"]),
    )
    fp32 = model(nodes, {"w": kernel, "one": np.ones((1, 1, 1, 1), np.float32)}, ("y", "z"))
    content = convert(fp32, precision)
    values, makers = types(content)
    assert values["y"] == values["z"] == TensorProto.FLOAT
    assert values[makers["z"].input[0]] == LOW[precision]
    check_types(content)
    if precision == "fp16":
        np.testing.assert_allclose(run(content, image, "fp16")["y"], run(fp32, image)["y"], atol=2e-2)


def test_a_split_all_of_which_ends_the_network_stays_float32(kernel):
    nodes = conv_and(helper.make_node("Split", ["c"], ["y", "z"], axis=1, num_outputs=2))
    content = convert(model(nodes, {"w": kernel}, ("y", "z")), "bf16")
    assert {name for name, node in types(content)[1].items() if node.op_type == "Split"} == {"y", "z"}
    check_types(content)


def test_all_that_a_node_makes_for_a_resize_is_float32(image, kernel):
    """A split gives scales, which are float32 by definition, and a factor, which need not be."""
    nodes = conv_and(
        helper.make_node("Split", ["five", "parts"], ["scales", "factor"], axis=0),
        helper.make_node("Resize", ["c", "", "scales"], ["r"], mode="nearest"),
        helper.make_node("Mul", ["r", "factor"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
    )
    weights = {"w": kernel, "five": np.array([1, 1, 2, 2, 3], np.float32), "parts": np.array([4, 1], np.int64)}
    fp32 = model(nodes, weights)
    content = convert(fp32, "fp16")
    np.testing.assert_allclose(run(content, image, "fp16")["y"], run(fp32, image)["y"], atol=5e-2)


def test_weights_that_are_inputs_too_are_converted(image, kernel):
    old = onnx.load_model_from_string(model(conv_and(helper.make_node("Relu", ["c"], ["y"])), {"w": kernel}, opset=8))
    old.ir_version = 3
    old.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, kernel.shape))
    onnx.checker.check_model(old)
    content = convert(old.SerializeToString(), "fp16")
    values, makers = types(content)
    assert [values[name] for name in makers["c"].input] == [TensorProto.FLOAT16] * 2
    assert [value.name for value in onnx.load_model_from_string(content).graph.input] == ["x"]
    onnx.checker.check_model(onnx.load_model_from_string(content))
    expected = run(old.SerializeToString(), image)["y"]
    np.testing.assert_allclose(run(content, image, "fp16")["y"], expected, atol=2e-2)


def test_types_that_do_not_fit_are_seen_in_bf16(kernel):
    content = convert(model(conv_and(helper.make_node("Relu", ["c"], ["y"])), {"w": kernel}), "bf16")
    check_types(content)
    broken = onnx.load_model_from_string(content)
    next(node for node in broken.graph.node if node.op_type == "Conv").input[1] = "w32"
    broken.graph.initializer.append(numpy_helper.from_array(kernel, "w32"))
    with pytest.raises(EngineError, match="types do not fit together once converted"):
        check_types(broken.SerializeToString())
