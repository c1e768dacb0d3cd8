import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def segmenter_file(tmp_path):
    """Write somebody's ONNX network: grey image of 32 x 32 to two classes' logits, 1 where the pixel is bright."""

    def write(name="theirs.onnx", op="Conv", batch="n", kind=TensorProto.FLOAT, **attributes):
        x = helper.make_tensor_value_info("pixels", kind, [batch, 1, 32, 32])
        y = helper.make_tensor_value_info("scores", kind, [batch, 2, 32, 32])
        weights = {
            "w": np.array([-4, 4], np.float32).reshape(2, 1, 1, 1),
            "b": np.array([2, -2], np.float32),
        }
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        tensors = [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()]
        node = helper.make_node(op, ["pixels", "w", "b"], ["scores"], name="the_node", **attributes)
        graph = helper.make_graph([node], "g", [x], [y], tensors)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("theirs", 1)]
        path = tmp_path / name
        path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
        return path

    return write


@pytest.fixture
def outside(segmenter_file, tmp_path):
    """A network whose weights are in a file beside it."""
    model = onnx.load(segmenter_file())
    onnx.save(model, tmp_path / "o.onnx", save_as_external_data=True, location="o.bin", size_threshold=0)
    return tmp_path / "o.onnx"
