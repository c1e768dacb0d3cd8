"""A volume bundle of small real networks: the breast is what is bright before contrast, a mass what takes up more."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.methods.bundle_folder import write_folder

STRIDE = 16
PARAMETERS = {
    "region": {"shape": [48, 64], "channels": [{"phase": 0}], "contrast": "minmax", "over": "volume"},
    "detection": {"shape": [96, 128], "channels": [{"phase": 1, "minus": 0}], "contrast": "minmax", "over": "volume"},
    "anchors": {"scales": [1, 2], "ratios": [1.0]},
    "proposals": 20,
    "score_threshold": 0.6,
    "linking": {"min_iou": 0.3},
}


def _model(nodes, constants, inputs, outputs):
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def region():
    """Breast is what is brighter than a quarter of the range."""
    nodes = [
        helper.make_node("Sub", ["image", "least"], ["over"]),
        helper.make_node("Mul", ["over", "gain"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["mask"]),
    ]
    constants = {"least": np.float32(0.25), "gain": np.float32(40)}
    return _model(nodes, constants, {"image": ["n", 1, "r", "c"]}, {"mask": ["n", 1, "r", "c"]})


def trunk(anchors=2, nan_above=None):
    """Features are mean and largest brightness; an anchor is something where the mean is above a tenth.

    nan_above: gives NaN for a slice with a pixel brighter than this.
    """
    nodes, constants, source = [], {}, "image"
    if nan_above is not None:
        constants |= {"most": np.float32(nan_above), "none": np.float32(0)}
        nodes += [
            helper.make_node("ReduceMax", ["image"], ["top"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Sub", ["most", "top"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),
            helper.make_node("Mul", ["root", "none"], ["poison"]),
            helper.make_node("Add", ["image", "poison"], ["poisoned"]),
        ]
        source = "poisoned"
    # Some of the boxes move, and grow or shrink, with the brightness.
    constants |= {
        "w": np.array([0] * anchors + [30, 25][:anchors], np.float32).reshape(-1, 1, 1, 1),
        "b": np.array([0] * anchors + [-3] * anchors, np.float32),
        "dw": np.tile(np.array([0.2, -0.1, 0.3, -0.2], np.float32), anchors).reshape(-1, 1, 1, 1),
        "db": np.zeros(4 * anchors, np.float32),
    }
    pool = {"kernel_shape": [STRIDE] * 2, "strides": [STRIDE] * 2}
    nodes += [
        helper.make_node("AveragePool", [source], ["mean"], **pool),
        helper.make_node("MaxPool", [source], ["largest"], **pool),
        helper.make_node("Concat", ["mean", "largest"], ["features"], axis=1),
        helper.make_node("Conv", ["mean", "w", "b"], ["objectness"]),
        helper.make_node("Conv", ["mean", "dw", "db"], ["deltas"]),
    ]
    outputs = {"features": ["n", 2, "h", "w_"], "objectness": ["n", 2 * anchors, "h", "w_"]}
    outputs["deltas"] = ["n", 4 * anchors, "h", "w_"]
    return _model(nodes, constants, {"image": ["n", 1, "r", "c"]}, outputs)


def head():
    """A mass is what is bright on the whole."""
    rng = np.random.default_rng(0)
    constants = {
        "wc": np.array([[0, 12], [0, 3]], np.float32),
        "bc": np.array([0, -3], np.float32),
        "wd": rng.normal(0, 0.4, (2, 8)).astype(np.float32),
        "bd": np.zeros(8, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["rois"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["mean", "wc", "bc"], ["classes"]),
        helper.make_node("Gemm", ["mean", "wd", "bd"], ["deltas"]),
    ]
    return _model(nodes, constants, {"rois": ["k", 2, 7, 7]}, {"classes": ["k", 2], "deltas": ["k", 8]})


def write_bundle(folder, networks=(), **parameters):
    """Write a bundle; ``networks`` replace the usual ones by name."""
    networks = {"region": region(), "trunk": trunk(), "head": head(), **dict(networks)}
    parameters = {**PARAMETERS, **parameters}
    return write_folder(
        folder, networks, name="bright-volumes", method="volume", notice="", accepts={}, parameters=parameters
    )


def phases(seed=0, slices=6, rows=60, cols=80, masses=1, count=2):
    """Two bright breasts, and masses that take up contrast in the middle slices; (phases, slices, rows, cols)."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 60, (count, slices, rows, cols))
    y, x = np.mgrid[:rows, :cols]
    for side in (0.27, 0.73):
        breast = ((x - side * cols) / (0.2 * cols)) ** 2 + ((y - 0.5 * rows) / (0.4 * rows)) ** 2 < 1
        values[:, 1:, breast] += 400
    for mass in range(masses):
        here = (x - (0.27 + 0.46 * (mass % 2)) * cols) ** 2 + (y - 0.5 * rows) ** 2 < 64
        values[1:, 2:-1, here] += 900
    return values.astype(np.uint16)
