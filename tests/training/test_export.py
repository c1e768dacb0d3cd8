"""What ONNX Runtime computes is what PyTorch trained."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from mammofast.models.compact_nested_unet import CompactNestedUNet
from mammofast.models.compact_yolo import CompactYolo
from mammofast.training.export import export_detector, export_segmenter, sharpen


def stirred(network):
    """Batch statistics as after training, not the zeros and ones of a new network."""
    torch.manual_seed(1)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
    return network.eval()


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    network = stirred(CompactYolo((8, 16, 16, 24, 32), (0, 1, 1, 1, 1)))
    path = tmp_path_factory.mktemp("onnx") / "detector.onnx"
    shapes = [(1, 1, 320, 160), (3, 1, 64, 96)]
    inputs = [torch.rand(shape) for shape in shapes]
    with torch.no_grad():
        expected = [[o.numpy() for o in network(x)] for x in inputs]
    export_detector(network, path)
    return path, inputs, expected


def test_detector(detector):
    path, inputs, expected = detector
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["stride_8", "stride_16", "stride_32"]
    for x, outputs in zip(inputs, expected, strict=True):
        for got, wanted in zip(session.run(None, {"image": x.numpy()}), outputs, strict=True):
            np.testing.assert_allclose(got, wanted, atol=2e-4)


def test_no_batch_norm_is_left(detector):
    onnx = pytest.importorskip("onnx")
    operators = {node.op_type for node in onnx.load(detector[0]).graph.node}
    assert "Conv" in operators
    assert "BatchNormalization" not in operators


def test_segmenter(tmp_path):
    network = stirred(CompactNestedUNet((8, 8, 16)))
    crop = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = torch.sigmoid(network(crop)).numpy()
    export_segmenter(network, (64, 64), tmp_path / "segmenter.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "segmenter.onnx", providers=["CPUExecutionProvider"])
    got = session.run(["mask"], {"crop": crop.numpy()})[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert 0 <= got.min() < got.max() <= 1


def test_sharpen_changes_objectness_alone_and_as_it_says():
    network = stirred(CompactYolo((8, 8, 8, 8, 8), (0, 0, 0, 0, 0)))
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = network(x)
        sharpen(network, 3.0, -0.5)
        after = network(x)
    for a, b in zip(before, after, strict=True):
        a, b = a.view(3, 6, -1), b.view(3, 6, -1)
        torch.testing.assert_close(b[:, 4], 3 * (a[:, 4] + 0.5))
        torch.testing.assert_close(b[:, [0, 1, 2, 3, 5]], a[:, [0, 1, 2, 3, 5]])
