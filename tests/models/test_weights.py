"""Weight files of every kind, whole and broken; and that none of them runs."""

import os
import pickle
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mammofast.errors import ModelError
from mammofast.models import create
from mammofast.models.weights import BACKBONES, LAYOUTS, load_weights


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))


@pytest.fixture
def state():
    state = network(seed=1).state_dict()
    state["1.running_mean"] += 0.25
    return state


def same(loaded, state):
    return all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.bin"])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(tmp_path, state, name, legacy):
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    loaded = network()
    load_weights(loaded, tmp_path / name)
    assert same(loaded, state)


def test_safetensors(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    loaded = network()
    load_weights(loaded, str(tmp_path / "w.safetensors"))
    assert same(loaded, state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": prefixed(state, "module.")},
        lambda state: prefixed(state, "module."),
        lambda state: prefixed(state, "module._orig_mod."),
        lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
    ],
    ids=["state_dict", "model", "model_state_dict", "module", "compiled", "before 0.4.1"],
)
def test_wrapped(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "w.pt")
    loaded = network()
    load_weights(loaded, tmp_path / "w.pt")
    assert same(loaded, state)


def test_half_precision_becomes_the_networks(tmp_path, state):
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "w.pt")
    loaded = network()
    load_weights(loaded, tmp_path / "w.pt")
    assert loaded[0].weight.dtype == torch.float32
    torch.testing.assert_close(loaded[0].weight, state["0.weight"], rtol=1e-3, atol=1e-3)


def test_the_epsilon_is_set_when_given(tmp_path, state):
    torch.save(state, tmp_path / "w.pt")
    loaded = network()
    load_weights(loaded, tmp_path / "w.pt")
    assert loaded[1].eps == 1e-5
    load_weights(loaded, tmp_path / "w.pt", norm_eps=1e-3)
    assert loaded[1].eps == 1e-3


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["pickle", "legacy", "zip"])
@pytest.mark.parametrize("inside", [False, True])
def test_code_in_a_file_does_not_run(tmp_path, state, how, inside):
    mark, path = tmp_path / "ran", tmp_path / "w.pt"
    content = {"state_dict": state, "bomb": Bomb(mark)} if inside else Bomb(mark)
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    before = {key: value.clone() for key, value in network().state_dict().items()}
    loaded = network()
    with pytest.raises(
        ModelError, match=r"would run code from the file, so it is refused: save network.state_dict\(\)"
    ):
        load_weights(loaded, path)
    assert not mark.exists()
    assert same(loaded, before)
    with suppress(Exception):
        torch.load(path, weights_only=False)
    assert mark.exists(), "the bomb is a bomb"


def test_a_whole_module_is_refused_with_the_way_out(tmp_path):
    torch.save(network(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"whole pickled module.*save network.state_dict\(\)"):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.to_sparse, lambda t: t.to(torch.complex64), lambda t: t.to("meta")],
    ids=["sparse", "complex", "meta"],
)
def test_tensors_that_are_not_plain_numbers(tmp_path, state, change):
    key = next(iter(state))
    torch.save(state | {key: change(state[key])}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="expected a plain one"):
        load_weights(network(), tmp_path / "w.pt")


def test_weights_rounded_to_whole_numbers(tmp_path, state):
    key = next(iter(state))
    torch.save(state | {key: (100 * state[key]).to(torch.int8)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="before quantization"):
        load_weights(network(), tmp_path / "w.pt")


def test_a_quantized_tensor(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are on their way out
        quantized = torch.quantize_per_tensor(torch.ones(2), scale=0.1, zero_point=0, dtype=torch.qint8)
        torch.save({"conv.bias": quantized}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="expected a plain one"):
        load_weights(network(), tmp_path / "w.pt")


def test_torchscript_is_refused_without_advice_to_open_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is on its way out
        torch.jit.script(nn.Conv2d(1, 1, 1)).save(tmp_path / "w.pt")
    with pytest.raises(ModelError, match="TorchScript") as caught:
        load_weights(network(), tmp_path / "w.pt")
    assert "state_dict()" in str(caught.value)
    assert "weights_only" not in str(caught.value)


def cut(path: Path, bytes_kept):
    path.write_bytes(path.read_bytes()[:bytes_kept])


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.weights"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match="is empty: copy it again"):
        load_weights(network(), tmp_path / name)


@pytest.mark.parametrize("kept", [1, 7, 100, 700, -1, -40])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_off(tmp_path, state, kind, kept):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    cut(path, kept)
    with pytest.raises(ModelError, match=r"no whole (PyTorch|safetensors) file|is damaged, or holds more"):
        load_weights(network(), path)


@pytest.mark.parametrize(
    "content, message",
    [
        ([torch.zeros(3)], "got a list, expected a state dict"),
        ({}, "got a dict, expected a state dict"),
        (torch.zeros(3), "got a Tensor, expected a state dict"),
        ({"epoch": 3}, "'epoch' is a int"),
        ({3: torch.zeros(3)}, "3 is a Tensor"),
    ],
)
def test_no_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("2.bias"), r"missing 2\.bias; unexpected none"),
        (lambda s: s.update(extra=torch.zeros(1)), r"missing none; unexpected extra"),
        (lambda s: s.update({"0.weight": torch.zeros(3, 3, 3, 3)}), r"0\.weight \(3, 3, 3, 3\) for \(3, 1, 3, 3\)"),
        (lambda s: s["0.weight"].view(-1)[4:5].fill_(float("nan")), r"not finite 0\.weight"),
        (lambda s: s["2.bias"].fill_(float("-inf")), r"not finite 2\.bias"),
        (lambda s: s.update({"2.bias": torch.full((2,), 1e300, dtype=torch.float64)}), r"not finite 2\.bias"),
        (lambda s: s["1.running_var"].fill_(-0.1), r"negative variance 1\.running_var"),
    ],
    ids=["missing", "unexpected", "shape", "nan", "infinity", "too large", "variance"],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path, state, change, message):
    change(state)
    torch.save(state, tmp_path / "w.pt")
    loaded = network()
    with pytest.raises(ModelError, match=message):
        load_weights(loaded, tmp_path / "w.pt")
    assert same(loaded, network().state_dict())


def test_what_is_no_file_or_no_format(tmp_path):
    with pytest.raises(ModelError, match=r"cannot be read \(No such file"):
        load_weights(network(), tmp_path / "none.pt")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(ModelError, match=r"cannot be read|no whole PyTorch file"):
        load_weights(network(), tmp_path / "folder.pt")
    (tmp_path / "w.h5").write_bytes(b"123")
    with pytest.raises(ModelError, match=r"end in \.safetensors, \.pt.* or \.weights"):
        load_weights(network(), tmp_path / "w.h5")
    with pytest.raises(ModelError, match=r"no layout is called 'caffe'; expected one of darknet"):
        load_weights(network(), tmp_path / "w.h5", "caffe")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_layout_does_not_fit_is_one_error(tmp_path, layout, state):
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w\.pt cannot be loaded into Sequential: "):
        load_weights(network(), tmp_path / "w.pt", layout)


def test_vgg19_of_torchvision_is_a_backbone(tmp_path):
    torch.manual_seed(3)
    donor, taker = create("vgg19-unet", width=1 / 8), create("v19-unet-pp", width=1 / 8)
    features = {key: value for key, value in donor.state_dict().items() if key.startswith("features.")}
    torch.save(features | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg19.pth")
    before = {key: value.clone() for key, value in taker.state_dict().items()}
    load_weights(taker, tmp_path / "vgg19.pth", "torchvision-vgg19")
    after = taker.state_dict()
    assert all(torch.equal(after[key], features[key]) for key in features)
    assert all(torch.equal(after[key], before[key]) for key in before if key not in features)
    assert {"torchvision-vgg19", "torchvision-resnet101"} <= BACKBONES <= set(LAYOUTS)


def test_the_fast_segmenter_takes_the_accurate_ones_weights(tmp_path):
    accurate, fast = create("v19-unet-pp", width=1 / 16), create("v19-unet-pp-fast", width=1 / 16)
    torch.save(accurate.state_dict(), tmp_path / "w.pt")
    load_weights(fast, tmp_path / "w.pt")
    assert all(torch.equal(value, accurate.state_dict()[key]) for key, value in fast.state_dict().items())
    torch.save(fast.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"missing heads\.1\.weight"):
        load_weights(accurate, tmp_path / "w.pt")
