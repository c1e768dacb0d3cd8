"""P4's and P5's networks at an eighth of their width, as ONNX: ONNX Runtime gives what PyTorch gives."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from mammofast.models import create, find

SIDES = {"cgan": (256, 256), "cgan-ngf64": (256, 256), "cascaded-unet": (128, 64)}
NAMES = [
    "yolov3", "yolov3-coco", "v19-unet-pp", "v19-unet-pp-fast", "xnet-vgg19", "xnet-vgg19-transpose", "vgg19-unet",
    "cgan", "cgan-discriminator", "cgan-ngf64", "cascaded-unet", "unet-pp", "unet-pp-deep-supervision",
    "unet-pp-keras", "unet-pp-64",
]  # fmt: skip


def as_onnx(network, example, outputs, axes):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            buffer,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes=dict.fromkeys(["image", *outputs], axes),
            opset_version=18,
            dynamo=False,
        )
    return buffer.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_agrees(name):
    torch.manual_seed(3)
    network = create(name, width=1 / 8).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
    rows, cols = SIDES.get(name, (64, 96))
    channels = find(name).input[0]
    names = ["stride_8", "stride_16", "stride_32"] if find(name).output == "yolo" else ["mask"]
    model = as_onnx(network, torch.rand(1, channels, rows, cols), names, {0: "n"})
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    batch = torch.rand(3, channels, rows, cols)
    with torch.no_grad():
        expected = network(batch)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for got, wanted in zip(session.run(names, {"image": batch.numpy()}), expected, strict=True):
        scale = max(1.0, wanted.abs().max().item())
        assert np.abs(got - wanted.numpy()).max() < 1e-4 * scale
        assert np.ptp(got) > 1e-3 * scale, "a flat output proves nothing"


def test_one_detector_for_every_size():
    torch.manual_seed(3)
    network = create("yolov3", width=1 / 8).eval()
    names = ["stride_8", "stride_16", "stride_32"]
    with warnings.catch_warnings():
        # One name for an axis of four tensors: it is only a name.
        warnings.simplefilter("ignore", UserWarning)
        model = as_onnx(network, torch.rand(1, 3, 64, 96), names, [0, 2, 3])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for rows, cols in [(64, 96), (160, 32)]:
        image = torch.rand(2, 3, rows, cols)
        with torch.no_grad():
            expected = network(image)
        for got, wanted in zip(session.run(names, {"image": image.numpy()}), expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=1e-4, atol=1e-4)
