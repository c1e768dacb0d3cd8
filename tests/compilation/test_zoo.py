"""Every network of the catalogue at an eighth of its width: exported once in fp32, gated, converted, built."""

import numpy as np
import pytest
import torch

from mammofast.compilation import parity, samples
from mammofast.compilation.compiler import profiles
from mammofast.compilation.networks import Weights
from mammofast.compilation.precision import convert
from mammofast.compilation.rcnn import from_rcnn
from mammofast.compilation.sources import from_catalogue
from mammofast.engine import load_engine
from mammofast.engine import tensorrt as trt
from mammofast.models import create, find, names

try:
    trt.import_flavour("tensorrt-rtx")
    RTX = True
except ImportError:
    RTX = False

# Two engines, cut at ROI Align, have a test of their own.
ONE_ENGINE = [name for name in names() if find(name).output != "rcnn"]
SMALLEST = 64
# What P3's U-Net without padding can be fed: 16 k + 12.
VALID = 188


def options(name):
    """Return what makes a network small; this project's own are small as they are."""
    entry = find(name)
    if entry.paper == "-":
        return {}
    # Groups of 32 channels: an eighth would leave one channel in each, and a norm over it nothing.
    return {"width": 1 / 4 if "gn" in name else 1 / 8}


def size(name):
    """Return the smallest size of at least 64 that a network takes; not square, so that axes are not swapped unseen."""
    with torch.device("meta"):
        network = create(name, **options(name))
    if getattr(network, "margin", 0):
        return VALID, VALID + 16
    stride = 32 if find(name).output == "yolo" else getattr(network, "stride", 32)
    side = -(-SMALLEST // stride) * stride
    return side, side + (stride if stride < 64 else 0)


@pytest.fixture(scope="module", params=ONE_ENGINE)
def source(request):
    name = request.param
    return from_catalogue(name, Weights(random=1), options=options(name), sizes=[size(name)])


def test_onnx_runtime_agrees_with_pytorch_whatever_the_batch(source):
    cases = parity.make_cases(source)
    allowed = parity.budgets(source, cases, "fp32", None)
    with load_engine(source.model, "onnxruntime") as engine:
        measured = parity.measure(engine, source, cases, allowed)
        three = np.concatenate([samples.noise(source.channels, source.sizes[0], seed) for seed in range(3)])
        together, alone = engine.run({source.input: three}), engine.run({source.input: three[1:2]})
    parity.check(source.name, measured, "fp32")
    for name, errors in measured.items():
        # A constant would agree with anything.
        assert np.ptp(cases[0].outputs[name]) > 1e-4 * errors.largest
        np.testing.assert_allclose(together[name][1], alone[name][0], atol=allowed[name])
        if source.probabilities:
            assert 0 <= together[name].min() < together[name].max() <= 1


@pytest.mark.skipif(not RTX, reason="TensorRT for RTX is not installed")
def test_it_builds_for_tensorrt_in_fp32_and_fp16(source):
    cases = parity.make_cases(source)
    for precision in ("fp32", "fp16"):
        model = convert(source.model, precision)
        if precision == "fp16":
            with load_engine(model, "onnxruntime", precision="fp16") as engine:
                measured = parity.measure(engine, source, cases, parity.budgets(source, cases, "fp16", None))
            parity.check(source.name, measured, "fp16")
        assert len(trt.build(model, "tensorrt-rtx", profiles(source, 4)).engine) > len(model) / 2


RCNN = [name for name in names() if find(name).output == "rcnn"]


@pytest.mark.parametrize("name", RCNN)
def test_faster_rcnn_is_two_engines_whatever_the_image_and_the_number_of_proposals(name):
    sizes = [(96, 128), (128, 96)]
    sources = from_rcnn(name, Weights(random=1), options=options(name), sizes=sizes)
    for source in sources.values():
        cases = parity.make_cases(source)
        allowed = parity.budgets(source, cases, "fp32", None)
        with load_engine(source.model, "onnxruntime") as engine:
            parity.check(source.name, parity.measure(engine, source, cases, allowed), "fp32")
        if RTX:
            for precision in ("fp32", "fp16"):
                trt.build(convert(source.model, precision), "tensorrt-rtx", profiles(source, 2))
    (profile,) = profiles(sources["head"], 2)
    assert profile["rois"][2] == (300, sources["head"].channels, 7, 7)
    assert {name: len(profiles(source, 2)) for name, source in sources.items()} == {"trunk": 2, "head": 1}
