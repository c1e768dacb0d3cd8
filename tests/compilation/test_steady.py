import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mammofast.compilation.export import export
from mammofast.compilation.steady import steady
from mammofast.engine import load_engine


def network(groups, channels, size):
    """A group normalization with factors of its own, and what it gives in double precision."""
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, channels).eval()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    axes = {"image": {0: "n"}, "y": {0: "n"}}
    model = export(norm, torch.zeros(1, channels, *size), "image", ["y"], axes)
    return model, lambda x: norm.double()(torch.from_numpy(x).double()).detach().numpy()


@pytest.mark.parametrize("groups, channels, size", [(1, 13, (9, 7)), (4, 8, (6, 5)), (2, 6, (1, 1)), (1, 1, (13, 17))])
def test_it_is_group_normalization_and_equal_rows_are_equal(groups, channels, size):
    model, expected = network(groups, channels, size)
    x = np.random.default_rng(1).normal(3, 2, (7, channels, *size)).astype(np.float32)
    x[[1, 3, 5, 6]] = x[0]
    content = steady(model)
    assert "InstanceNormalization" not in {node.op_type for node in onnx.load_model_from_string(content).graph.node}
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    with load_engine(content, "onnxruntime") as engine:
        found = engine.run({"image": x})["y"]
    np.testing.assert_allclose(found, expected(x), atol=2e-5)
    for row in (1, 3, 5, 6):
        np.testing.assert_array_equal(found[row], found[0])


def test_large_groups_keep_their_digits():
    model, expected = network(1, 4, (700, 650))
    x = np.random.default_rng(2).normal(30, 1, (1, 4, 700, 650)).astype(np.float32)
    with load_engine(steady(model), "onnxruntime") as engine:
        found = engine.run({"image": x})["y"]
    assert np.abs(found - expected(x)).max() < 5e-5


def test_a_network_without_them_is_left_alone():
    model = export(nn.ReLU(), torch.zeros(1, 1, 4, 4), "image", ["y"], {"image": {0: "n"}, "y": {0: "n"}})
    assert steady(model) is model


def test_groups_of_unknown_size_are_left_alone():
    axes = {"image": {0: "n", 2: "rows", 3: "cols"}, "y": {0: "n", 2: "r", 3: "c"}}
    content = steady(export(nn.GroupNorm(1, 2), torch.zeros(1, 2, 4, 4), "image", ["y"], axes))
    assert "InstanceNormalization" in {node.op_type for node in onnx.load_model_from_string(content).graph.node}
