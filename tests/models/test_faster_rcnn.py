"""Faster R-CNN as it is compiled, cut after the head's first convolutions, against itself as it is trained."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from mammofast import ops
from mammofast.models.faster_rcnn import FasterRCNN

# In pixels of an image (112, 144): inside, on every border, over one and two, far outside, a point, all of it.
BOXES = [
    (20, 30, 90, 70),
    (0, 0, 50, 40),
    (94, 72, 144, 112),
    (-40, 50, 30, 100),
    (120, 90, 200, 180),
    (-90, -80, -30, -20),
    (300, 10, 400, 60),
    (60, 60, 60, 60),
    (-64, -64, 208, 176),
]


def network(**options):
    """A narrow one whose normalizations add what a bin outside the map must not lose."""
    torch.manual_seed(0)
    made = FasterRCNN(channels=1, width=1 / 16, **options)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                ("running_mean", -0.5, 0.5),
                ("running_var", 0.5, 2),
                ("weight", 0.5, 1),
                ("bias", -1, 1),
            ):
                nn.init.uniform_(getattr(module, value), low, high)
    return made.eval()


def image():
    return torch.randn(1, 1, 112, 144, generator=torch.Generator().manual_seed(1))


def plain_roi_align(features, box):
    """One box (7 × 7 bins of 2 × 2 samples) in float64, sample by sample."""
    channels, rows, cols = features.shape
    x_min, y_min, x_max, y_max = (side / 16 - 0.5 for side in box)
    bins = np.zeros((channels, 7, 7))
    for row, col in np.ndindex(14, 14):
        y, x = y_min + (row + 0.5) * (y_max - y_min) / 14, x_min + (col + 0.5) * (x_max - x_min) / 14
        if -1 <= y <= rows and -1 <= x <= cols:
            y, x = min(max(y, 0), rows - 1), min(max(x, 0), cols - 1)
            for i, j in np.ndindex(2, 2):
                below, right = min(int(y) + i, rows - 1), min(int(x) + j, cols - 1)
                weight = abs(1 - i - (y - int(y))) * abs(1 - j - (x - int(x)))
                bins[:, row // 2, col // 2] += weight * features[:, below, right] / 4
    return bins


def plain_rois(features):
    return torch.from_numpy(np.stack([plain_roi_align(features[0].numpy(), box) for box in BOXES]))


@pytest.mark.parametrize("options", [{"depth": 50}, {"depth": 101, "caffe": True}, {"depth": 18}])
def test_cut_after_the_heads_first_convolutions_it_is_the_same_network(options):
    net = network(**options).double()
    with torch.no_grad():
        features, *proposals = net.trunk_and_proposals(image().double())
        moved, *same = net.before_rois(image().double())
        expected = net.head(plain_rois(features))
        found = net.after_rois(plain_rois(moved))
    assert moved.shape[1] == (16 if options["depth"] == 18 else 32 + 128)
    for one, other in zip(proposals, same, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(expected, found, strict=True):
        assert one.std(dim=0).min() > 1e-4
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)


def onnx_runtimes_roi_align(features, boxes):
    """Return what ONNX Runtime's operator says."""
    node = helper.make_node(
        "RoiAlign", ["x", "boxes", "index"], ["y"], output_height=7, output_width=7, sampling_ratio=2,
        spatial_scale=1 / 16, mode="avg", coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    kinds = {"x": TensorProto.FLOAT, "boxes": TensorProto.FLOAT, "index": TensorProto.INT64}
    graph = helper.make_graph(
        [node], "roi_align", [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": features, "boxes": boxes, "index": np.zeros(len(boxes), np.int64)}
    return session.run(None, feeds)[0]


def our_roi_align(features, boxes):
    return ops.roi_align(features, boxes, np.zeros(len(boxes), np.int64), (7, 7), 1 / 16, 2)


@pytest.mark.parametrize("roi_align", [our_roi_align, onnx_runtimes_roi_align])
def test_nor_does_the_cut_show_with_the_roi_align_that_runs(roi_align):
    net, boxes = network(depth=50), np.array(BOXES, np.float32)
    with torch.no_grad():
        expected = net.head(plain_rois(net.trunk_and_proposals(image())[0].double()).float())
        found = net.after_rois(torch.from_numpy(roi_align(net.before_rois(image())[0].numpy(), boxes)))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_both_parts_hold_the_networks_own_weights():
    net = network(depth=50)
    held = {id(weight) for part in (net.before_rois, net.after_rois) for weight in part.parameters()}
    assert held == {id(weight) for weight in net.parameters()}
