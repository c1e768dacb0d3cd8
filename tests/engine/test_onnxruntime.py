import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mammofast.engine import TensorSpec, load_engine
from mammofast.errors import EngineError


def affine():
    """Output y = 2x + 1 over (n, 3)."""
    constants = [numpy_helper.from_array(np.float32(2), "two"), numpy_helper.from_array(np.float32(1), "one")]
    nodes = [helper.make_node("Mul", ["x", "two"], ["d"]), helper.make_node("Add", ["d", "one"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return model


def test_runs_and_names_its_tensors():
    with load_engine(affine().SerializeToString(), "onnxruntime") as engine:
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
def test_tensors_that_do_not_fit_are_refused(tensors):
    with (
        load_engine(affine().SerializeToString(), "onnxruntime") as engine,
        pytest.raises(EngineError, match="expected"),
    ):
        engine.run(tensors)


def test_a_closed_engine_says_so():
    engine = load_engine(affine().SerializeToString(), "onnxruntime")
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({"x": np.zeros((1, 3), np.float32)})


@pytest.mark.parametrize("model", [b"", b"not a network", b"\x80\x04K\x01."])
def test_what_is_no_network_is_refused(model):
    with pytest.raises(EngineError, match="refused the network"):
        load_engine(model, "onnxruntime")


def test_weights_outside_the_file_are_never_read(tmp_path, monkeypatch):
    """A manifest hashes the network's file: weights beside it would be read unhashed."""
    monkeypatch.chdir(tmp_path)
    model = affine()
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1024, 3), np.float32), "w"))
    model.graph.node[1].input[1] = "w"
    onnx.save(model, "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64)
    assert (tmp_path / "weights.bin").exists()
    with pytest.raises(EngineError):
        load_engine((tmp_path / "m.onnx").read_bytes(), "onnxruntime")


def test_unknown_backends_and_devices_are_named():
    with pytest.raises(EngineError, match="backend: got 'abacus'"):
        load_engine(b"", "abacus")
    with pytest.raises(EngineError, match="device: got 'cuda:0'"):
        load_engine(affine().SerializeToString(), "onnxruntime", device="cuda:0")
