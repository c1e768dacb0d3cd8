"""Small real networks with known answers: they find what is bright."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.methods.bundle_folder import write_folder

STRIDES = (8, 16, 32)
ANCHORS = [[44, 88], [46, 90], [48, 92]] + [[50, 100]] * 6


def _model(nodes, constants, inputs, outputs):
    graph = helper.make_graph(
        nodes, "net", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bright_detector(nan_where_first_pixel_is_bright=False):
    """Objectness rises with the brightness around a stride-8 cell; boxes are the anchors, centred on their cells."""
    nodes, constants, outputs = [], {}, []
    source = "image"
    if nan_where_first_pixel_is_bright:
        constants |= {
            "zero4": np.zeros(4, np.int64),
            "ones4": np.array([2**31, 1, 1, 1], np.int64),
            "half": np.float32(0.5),
            "nil": np.float32(0),
        }
        nodes += [
            helper.make_node("Slice", ["image", "zero4", "ones4"], ["corner"]),
            helper.make_node("Sub", ["half", "corner"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),
            helper.make_node("Mul", ["root", "nil"], ["poison"]),
            helper.make_node("Add", ["image", "poison"], ["poisoned"]),
        ]
        source = "poisoned"
    for stride in STRIDES:
        weight = np.zeros((18, 1, 1, 1), np.float32)
        bias = np.zeros(18, np.float32)
        for anchor in range(3):
            weight[anchor * 6 + 4] = 10 if stride == 8 else 0
            bias[anchor * 6 + 4] = -8 if stride == 8 else -20
            bias[anchor * 6 + 5] = 10
        constants |= {f"w{stride}": weight, f"b{stride}": bias}
        around = 2 * stride if stride == 8 else stride
        pool = {"kernel_shape": [stride + around] * 2, "strides": [stride] * 2, "pads": [around // 2] * 4}
        nodes += [
            helper.make_node("AveragePool", [source], [f"mean{stride}"], **pool),
            helper.make_node("Conv", [f"mean{stride}", f"w{stride}", f"b{stride}"], [f"stride_{stride}"]),
        ]
        shape = ["n", 18, f"rows{stride}", f"cols{stride}"]
        outputs.append(helper.make_tensor_value_info(f"stride_{stride}", TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, "rows", "cols"])
    return _model(nodes, constants, [image], outputs)


def bright_segmenter(bias=-0.05):
    """Mass is what is not black once the crop is equalized."""
    constants = {"gain": np.float32(20), "bias": np.float32(bias)}
    nodes = [
        helper.make_node("Add", ["crop", "bias"], ["centred"]),
        helper.make_node("Mul", ["centred", "gain"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["mask"]),
    ]
    shape = ["n", 1, 256, 256]
    crop, mask = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("crop", "mask"))
    return _model(nodes, constants, [crop], [mask])


PARAMETERS = {
    "grey": {"modality": True, "voi": True, "invert": True},
    "contrast": {"low_percentile": 1.0, "high_percentile": 99.5},
    "scales": [[320, 160], [512, 256], [640, 320]],
    "strides": list(STRIDES),
    "anchors": ANCHORS,
    "confidence_threshold": 0.3,
    "nms_iou": 0.05,
    "fusion_threshold": 0.6,
    "crop_margin": 0.0,
    "crop_shape": [256, 256],
    "mask_threshold": 0.5,
    "box": "fused",
}


def write_bundle(folder, detector=None, segmenter=None, **parameters):
    networks = {"detector": detector or bright_detector(), "segmenter": segmenter or bright_segmenter()}
    parameters = {**PARAMETERS, **parameters}
    return write_folder(folder, networks, name="bright", method="two_stage", notice="For tests.", parameters=parameters)


@pytest.fixture
def make_bundle(tmp_path):
    """Write a bundle of networks with known answers; keywords change its parameters or networks."""
    count = 0

    def make(**changes):
        nonlocal count
        count += 1
        return write_bundle(tmp_path / f"bundle{count}", **changes)

    return make


@pytest.fixture
def networks():
    return {"detector": bright_detector, "segmenter": bright_segmenter}


@pytest.fixture
def bright_image():
    """An evenly grey breast in black air with bright textured ellipses; returns the pixels and the ellipses' boxes."""

    def make(seed=0, shape=(1400, 1000), ellipses=((500, 700, 90, 120),), dtype=np.uint16):
        rng = np.random.default_rng(seed)
        image = np.full(shape, 500)
        image[:, -shape[1] // 10 :] = 0
        rows, cols = np.ogrid[: shape[0], : shape[1]]
        boxes = []
        for x, y, a, b in ellipses:
            inside = ((cols - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1
            image[inside] = 3900 + rng.integers(0, 100, int(inside.sum()))
            boxes.append((x - a, y - b, x + a + 1, y + b + 1))
        return image.astype(dtype), boxes

    return make
