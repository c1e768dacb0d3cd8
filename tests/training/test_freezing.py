"""What is frozen keeps its values, and what begins with given weights keeps more of them."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mammofast.errors import TrainingError
from mammofast.training.freezing import freeze
from mammofast.training.recipe_files import read_recipe
from mammofast.training.trainer import train


def learning(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_beginnings_and_what_a_star_stands_for():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)))
    freeze(network, ())
    assert learning(network) == {"0.weight", "0.bias", "1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias"}
    freeze(network, ("*.1.",))
    assert learning(network) == {"0.weight", "0.bias", "1.0.weight", "1.0.bias"}
    freeze(network, ("0.",))
    assert learning(network) == {"1.0.weight", "1.0.bias"}
    with pytest.raises(
        TrainingError, match=r"freeze: got '2\.', expected the beginning of a parameter's name, such as"
    ):
        freeze(network, ("1.", "2."))


@pytest.fixture
def rcnn(tiny):
    """P5's detector, narrow, on single images of the tiny phantoms."""
    return read_recipe(
        "p5-faster-rcnn",
        {
            "task": "rcnn", "training.epochs": 1, "training.batch": 4, "training.accumulate": 2,
            "network.options": {"width": 0.06, "depth": 50, "anchors": 3, "channels": 1}, "network.sizes": [[96, 80]],
            "optimizer.rate": 0.01,
            "bundle.parameters.anchors": {"stride": 16, "scales": [1.0, 2.0, 3.0], "ratios": [1.0]},
        },
    )  # fmt: skip


def test_given_weights_keep_their_normalization_and_first_stages(rcnn, tiny, tmp_path):
    """As in the public code that P5 is closest to: every batch normalization, and ResNet's first stages."""
    data = tiny.phantoms(3)
    options = {"device": "cpu", "cache": tmp_path / "examples"}
    first = train(rcnn, data, tiny.everything(data), tmp_path / "first", **options)
    second = train(rcnn, data, tiny.everything(data), tmp_path / "second", start=first.weights, **options)
    before, after = (load_file(run.weights) for run in (first, second))
    kept = {name for name in before if torch.equal(before[name], after[name])}
    trunk = "trunk_and_proposals.trunk."
    expected = {
        name
        for name in before
        if ".bn" in name or ".downsample.1." in name or name.startswith((f"{trunk}conv1.", f"{trunk}layer1."))
    }
    assert any(name.startswith("head.layer4") and name.endswith("running_mean") for name in expected)
    assert kept == expected


def test_random_weights_learn_their_normalization(rcnn, tiny, tmp_path):
    data = tiny.phantoms(3)
    run = train(rcnn, data, tiny.everything(data), tmp_path / "run", device="cpu", cache=tmp_path / "examples")
    norms = {name: tensor for name, tensor in load_file(run.weights).items() if ".bn" in name and tensor.ndim}
    for name, tensor in norms.items():
        new = 1.0 if name.endswith(("weight", "var")) else 0.0
        assert not torch.equal(tensor, torch.full_like(tensor, new)), name
