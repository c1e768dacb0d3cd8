import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mammofast.engine import TensorSpec, load_engine
from mammofast.errors import EngineError

BACKENDS = ["onnxruntime", "openvino"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    """One body for every backend."""
    return request.param


def affine():
    """Output y = 2x + 1 over (n, 3)."""
    constants = [numpy_helper.from_array(np.float32(2), "two"), numpy_helper.from_array(np.float32(1), "one")]
    nodes = [helper.make_node("Mul", ["x", "two"], ["d"]), helper.make_node("Add", ["d", "one"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return model


def test_runs_and_names_its_tensors(backend):
    with load_engine(affine().SerializeToString(), backend) as engine:
        assert engine.inputs == (TensorSpec("x", (None, 3), "float32"),)
        assert engine.outputs == (TensorSpec("y", (None, 3), "float32"),)
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        np.testing.assert_array_equal(engine.run({"x": x})["y"], 2 * x + 1)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"z": np.zeros((1, 3), np.float32)},
        {"x": np.zeros((1, 4), np.float32)},
        {"x": np.zeros(3, np.float32)},
        {"x": np.zeros((1, 3))},
    ],
)
def test_tensors_that_do_not_fit_are_refused(backend, tensors):
    with (
        load_engine(affine().SerializeToString(), backend) as engine,
        pytest.raises(EngineError, match="expected"),
    ):
        engine.run(tensors)


def test_a_closed_engine_says_so(backend):
    engine = load_engine(affine().SerializeToString(), backend)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({"x": np.zeros((1, 3), np.float32)})


@pytest.mark.parametrize("model", [b"", b"not a network", b"\x80\x04K\x01."])
def test_what_is_no_network_is_refused(backend, model):
    with pytest.raises(EngineError, match="refused the network"):
        load_engine(model, backend)


@pytest.mark.parametrize("where", ["{name}", "./{name}", "{folder}/{name}", "../{parent}/{name}"])
def test_weights_outside_the_file_are_never_read(backend, where, tmp_path, monkeypatch):
    """A manifest hashes the network's file: weights beside it would be read unhashed."""
    monkeypatch.chdir(tmp_path)
    model = affine()
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1024, 3), np.float32), "w"))
    model.graph.node[1].input[1] = "w"
    onnx.save(model, "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64)
    assert (tmp_path / "weights.bin").exists()
    model = onnx.load("m.onnx", load_external_data=False)
    (entry,) = [e for e in model.graph.initializer[-1].external_data if e.key == "location"]
    entry.value = where.format(name="weights.bin", folder=tmp_path, parent=tmp_path.name)
    with pytest.raises(EngineError):
        load_engine(model.SerializeToString(), backend)


def test_unknown_backends_devices_and_precisions_are_named(backend):
    with pytest.raises(EngineError, match="backend: got 'abacus'"):
        load_engine(b"", "abacus")
    with pytest.raises(EngineError, match="device: got 'cuda:0'"):
        load_engine(affine().SerializeToString(), backend, device="cuda:0")
    with pytest.raises(EngineError, match="precision: got 'fp8'"):
        load_engine(affine().SerializeToString(), backend, precision="fp8")


def test_outputs_are_the_callers_to_keep(backend):
    with load_engine(affine().SerializeToString(), backend) as engine:
        first = engine.run({"x": np.zeros((1, 3), np.float32)})["y"]
        engine.run({"x": np.full((1, 3), 9, np.float32)})
    np.testing.assert_array_equal(first, np.ones((1, 3), np.float32))


def test_a_network_that_fails_while_it_runs_is_an_engine_error(backend):
    """Two rows are added to n, so only two of them fit."""
    model = affine()
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3), np.float32), "two_rows"))
    model.graph.node[1].input[1] = "two_rows"
    with load_engine(model.SerializeToString(), backend) as engine:
        assert engine.run({"x": np.zeros((2, 3), np.float32)})["y"].shape == (2, 3)
        with pytest.raises(EngineError, match="could not be run"):
            engine.run({"x": np.zeros((5, 3), np.float32)})


def conv(kernel):
    """One 3 × 3 convolution without padding, n × 1 × rows × cols."""
    weights = numpy_helper.from_array(kernel[None, None], "k")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "rows", "cols"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "r", "c"])
    graph = helper.make_graph([helper.make_node("Conv", ["x", "k"], ["y"])], "g", [x], [y], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def test_fp32_is_fp32_and_bf16_only_where_it_is_asked_for(backend):
    """OpenVINO would take bf16 unasked: its 8 bits of mantissa would show."""
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(3, 3)).astype(np.float32), rng.normal(size=(1, 1, 64, 64)).astype(np.float32)
    exact = sum(kernel[i, j].astype(np.float64) * x[0, 0, i : 62 + i, j : 62 + j] for i in range(3) for j in range(3))
    with load_engine(conv(kernel), backend) as engine:
        assert np.abs(engine.run({"x": x})["y"][0, 0] - exact).max() < 1e-5


def test_bf16_rounds_to_eight_bits():
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(3, 3)).astype(np.float32), rng.normal(size=(1, 1, 64, 64)).astype(np.float32)
    with load_engine(conv(kernel), "openvino") as fp32, load_engine(conv(kernel), "openvino", precision="bf16") as bf16:
        difference = np.abs(fp32.run({"x": x})["y"] - bf16.run({"x": x})["y"]).max()
    # A CPU without bf16 arithmetic computes in fp32 instead.
    assert difference < 0.1


def test_onnx_runtime_does_not_log_what_it_raises(capfd):
    model = affine()
    model.graph.initializer.append(numpy_helper.from_array(np.array([5], np.int64), "five"))
    model.graph.node[1].CopyFrom(helper.make_node("Gather", ["d", "five"], ["y"], axis=1))
    with (
        load_engine(model.SerializeToString(), "onnxruntime") as engine,
        pytest.raises(EngineError, match="could not be run"),
    ):
        engine.run({"x": np.zeros((1, 3), np.float32)})
    with pytest.raises(EngineError, match="refused"):
        load_engine(b"no network", "onnxruntime")
    assert capfd.readouterr() == ("", "")
