"""PyTorch as an engine: its files, on the CPU, and its life on a card over a fake of torch.cuda."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import nn

from mammofast.compilation.networks import Weights
from mammofast.compilation.sources import from_catalogue
from mammofast.engine import TensorSpec, load_engine, on_device
from mammofast.engine.on_device import Memory, Placed
from mammofast.engine.torch import on_card
from mammofast.engine.torch.file import read_file
from mammofast.errors import EngineError
from tests.engine.fake_torch_cuda import FakeTorchCuda, borrowed

# Grey in, three equal channels inside; batch normalizations; several heads of any size.
AUNET = {"options": {"width": 0.125}, "sizes": [(64, 64)], "channels": 1}


@pytest.fixture(scope="module")
def aunet():
    return from_catalogue("aunet", Weights(random=3), **AUNET)


@pytest.fixture(scope="module")
def yolo():
    return from_catalogue("yolov3", Weights(random=3), options={"width": 0.125}, sizes=[(64, 64), (96, 64)])


def images(source, n, size=None, seed=0):
    return np.random.default_rng(seed).random((n, source.channels, *(size or source.sizes[0])), dtype=np.float32)


def test_fp32_is_the_network_itself(aunet, yolo):
    for source in (aunet, yolo):
        with load_engine(source.torch_file("fp32"), "torch") as engine:
            for size in source.sizes:
                x = images(source, 2, size)
                expected, found = source.reference(x), engine.run({source.input: x})
                assert list(found) == list(expected)
                for name, values in found.items():
                    # Channels last adds in another order.
                    np.testing.assert_allclose(values, expected[name], atol=1e-5 * max(1, np.abs(expected[name]).max()))
                    assert values.dtype == np.float32
                    assert values.flags.c_contiguous


@pytest.mark.parametrize("precision, least, most", [("bf16", 1e-5, 0.1), ("fp16", 1e-6, 0.02)])
def test_half_precision_rounds_and_is_half_the_size(aunet, precision, least, most):
    x = images(aunet, 2)
    with load_engine(aunet.torch_file(precision), "torch", precision=precision) as engine:
        found = engine.run({aunet.input: x})["mask"]
    error = np.abs(found - aunet.reference(x)["mask"]).max()
    assert least < error < most
    assert len(aunet.torch_file(precision)) < 0.6 * len(aunet.torch_file("fp32"))


def test_batch_normalizations_stay_fp32():
    """A variance of 1e6 is none in fp16."""
    source = from_catalogue("unet-p2", Weights(random=0), options={"width": 0.125}, sizes=[(64, 64)])
    state = load_tensors(source.torch_file("fp16"))
    kinds = {key.rpartition(".")[2]: {str(state[k].dtype) for k in state if k.endswith(key)} for key in state}
    assert kinds["running_var"] == kinds["running_mean"] == {"torch.float32"}
    convolutions = [value for key, value in state.items() if key.endswith("weight") and value.ndim == 4]
    assert convolutions
    assert {value.dtype for value in convolutions} == {torch.float16}


def test_a_row_does_not_depend_on_its_batch(aunet):
    x = images(aunet, 5)
    with load_engine(aunet.torch_file("fp32"), "torch") as engine:
        together = engine.run({aunet.input: x})["mask"]
        for i in range(5):
            np.testing.assert_array_equal(together[i], engine.run({aunet.input: x[i : i + 1]})["mask"][0])


def test_it_states_its_tensors_as_other_engines_do(aunet, yolo):
    for source in (aunet, yolo):
        with (
            load_engine(source.torch_file("fp32"), "torch") as ours,
            load_engine(source.model, "onnxruntime") as theirs,
        ):
            assert ours.inputs == theirs.inputs
            assert [spec.name for spec in ours.outputs] == [spec.name for spec in theirs.outputs]
    with load_engine(aunet.torch_file("fp32"), "torch") as engine:
        assert engine.inputs == (TensorSpec("image", (None, 1, 64, 64), "float32"),)
        with pytest.raises(EngineError, match="expected float32"):
            engine.run({"image": np.zeros((1, 1, 64, 32), np.float32)})


def test_the_process_keeps_its_threads_and_inputs_may_be_read_only(aunet):
    x = images(aunet, 1)
    x.flags.writeable = False
    before = torch.get_num_threads()
    seen = []
    with load_engine(aunet.torch_file("fp32"), "torch", threads=before + 2) as engine:
        engine._network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        engine.run({"image": x})
    assert (seen, torch.get_num_threads()) == ([before + 2], before)


def header(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["mammofast"])


def with_header(content, **changes):
    return save(load_tensors(content), {"mammofast": json.dumps(header(content) | changes)})


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "no file of `mammofast compile --to torch`"),
        (b"\x80\x04K\x01.", "no file of"),
        (b"\xff" * 64, "no file of"),
        (save({"a": torch.zeros(1)}), "no file of"),
        (save({"a": torch.zeros(1)}, {"mammofast": '{"format": 1}'}), "no file of"),
        (save({"a": torch.zeros(1)}, {"mammofast": "[" * 100_000}), "no file of"),
    ],
)
def test_what_is_no_such_file_is_refused(content, words):
    with pytest.raises(EngineError, match=words):
        load_engine(content, "torch")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"format": 2}, "format is unknown"),
        ({"more": 1}, "no file of"),
        ({"network": "os.system"}, "no network is called 'os.system'"),
        ({"options": {"nonsense": 1}}, "cannot be built"),
        ({"options": {"width": 0.25}}, "weights are not those of 'aunet'"),
        ({"part": "__class__"}, "part '__class__'"),
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"precision": "fp16"}, "got 'fp32', the file's weights are fp16"),
    ],
)
def test_a_header_that_was_changed_is_refused(aunet, changes, words):
    with pytest.raises(EngineError, match=words):
        load_engine(with_header(aunet.torch_file("fp32"), **changes), "torch")


def test_weights_that_are_missing_or_too_many_are_refused(aunet):
    content = aunet.torch_file("fp32")
    state = load_tensors(content)
    # One of each kind: convolutions, and all that batch normalizations have.
    gone = {key.rpartition(".")[2]: key for key in sorted(state)}
    assert {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"} <= gone.keys()
    without = [{k: v for k, v in state.items() if k != key} for key in gone.values()]
    for changed in (*without, state | {"more": torch.zeros(1)}):
        with pytest.raises(EngineError, match="weights are not those"):
            load_engine(save(changed, {"mammofast": json.dumps(header(content))}), "torch")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so(aunet):
    with pytest.raises(EngineError, match=r"device: got 'cuda', and PyTorch sees no NVIDIA card here"):
        load_engine(aunet.torch_file("fp16"), "torch", "cuda", "fp16")


# On a card.


@pytest.fixture
def cuda(monkeypatch):
    """Put a card into PyTorch."""
    fake = FakeTorchCuda()
    monkeypatch.setattr(on_card, "cuda", fake)
    monkeypatch.setattr(on_card, "_torch_device", lambda device: torch.device("cpu"))
    monkeypatch.setattr(on_card, "_pinned", lambda shape: torch.full(tuple(shape), 77.0))
    monkeypatch.setattr(on_card, "_borrowed", borrowed)
    # Tensors of the CPU have no CUDA Array Interface.
    monkeypatch.setattr(
        on_device, "place", lambda name, array: Placed(array.data_ptr(), tuple(array.shape), np.dtype(np.float32))
    )
    return fake


class Affine(nn.Module):
    """y = 2x + 1, and its first channel; counts how often it is called."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        assert not torch.is_grad_enabled()
        assert torch.backends.cudnn.deterministic != torch.backends.cudnn.benchmark
        self.deterministic = torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32
        y = self.factor * x + 1
        return y, y[:, :1]


RECIPE = SimpleNamespace(
    inputs=("x", (None, 2, None, None)),
    outputs=("y", (None, 2, None, None), "first", (None, 1, None, None)),
    specs=lambda pairs: tuple(TensorSpec(*pairs[i : i + 2], "float32") for i in range(0, len(pairs), 2)),
)


def check(outputs, x):
    np.testing.assert_array_equal(outputs["y"], 2 * x + 1)
    np.testing.assert_array_equal(outputs["first"], 2 * x[:, :1] + 1)


@pytest.fixture
def engine(cuda):
    return on_card.TorchCardEngine(RECIPE, Affine(), "cuda")


def batch(n, seed=0, size=(4, 6)):
    return np.random.default_rng(seed).random((n, 2, *size), dtype=np.float32)


def test_each_shape_is_captured_once_and_replayed(cuda, engine):
    for seed, n in enumerate([1, 3, 1, 3, 3]):
        x = batch(n, seed)
        check(engine.run({"x": x}), x)
    assert engine.graphs == 2
    # Three runs to warm up and one to be captured, each shape; replays call nothing.
    assert engine._network.calls == 8
    assert cuda.modes == ["thread_local"] * 2
    assert len(set(cuda.pools)) == 1
    assert engine._network.deterministic


def test_settings_of_the_process_stay_as_they_were(cuda, engine):
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    engine.run({"x": batch(1)})
    after = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    assert after == before


def test_somebodys_array_is_copied_and_the_engines_buffer_is_not(cuda, engine):
    x = torch.from_numpy(np.round(batch(2) * 100))
    found = engine.run_on_device({"x": x}, 42)
    waits = cuda.waits
    x += 5
    check({name: values.numpy() for name, values in found.items()}, (x - 5).numpy())
    found = engine.run_on_device({"x": x}, 0)
    check({name: values.numpy() for name, values in found.items()}, x.numpy())
    assert cuda.waits == waits
    (mine,) = engine.buffers({"x": (2, 2, 4, 6)}).values()
    assert mine.data_ptr() == engine._shapes[2, 2, 4, 6].input.data_ptr()
    with torch.inference_mode():
        mine.fill_(3)
    found = engine.run_on_device({"x": mine}, 42)
    check({name: values.numpy() for name, values in found.items()}, np.full((2, 2, 4, 6), 3, np.float32))


def test_streams_are_the_callers(cuda, engine, monkeypatch):
    seen = []
    monkeypatch.setattr(cuda.CUDAGraph, "replay", lambda graph: seen.append(cuda.current[-1]))
    x = torch.zeros(1, 2, 4, 6)
    for stream in (42, 0, engine.stream):
        engine.run_on_device({"x": x}, stream)
    assert seen == [42, 0, engine.stream]


def test_not_captured_it_is_pytorch_as_it_is_used_otherwise(cuda):
    engine = on_card.TorchCardEngine(RECIPE, Affine(), "cuda", captured=False)
    for seed in range(3):
        x = batch(2, seed)
        check(engine.run({"x": x}), x)
    assert (engine.graphs, cuda.modes, engine._network.calls) == (0, [], 6)
    assert not engine._network.deterministic


def test_memory_is_stated(cuda, engine):
    assert engine.memory == Memory(4, 0)
    engine.run({"x": batch(1)})
    engine.run({"x": batch(3)})
    assert engine.memory == Memory(4, 2 * 1000 + 4 * 4 * 2 * 4 * 6)


def test_engines_that_share_weights_have_buffers_of_their_own(cuda, engine):
    a, b = batch(1, 1), batch(1, 2)
    other = engine.share()
    assert other.stream != engine.stream
    first = engine.run_on_device(engine.upload({"x": a}), engine.stream)
    second = other.run_on_device(other.upload({"x": b}), other.stream)
    check(other.download(second), b)
    engine.close()
    check(other.run({"x": b}), b)
    with pytest.raises(EngineError, match="closed"):
        engine.run({"x": a})
    with pytest.raises(EngineError, match="closed"):
        engine.share()
    emptied = cuda.emptied
    engine.close()
    assert cuda.emptied == emptied
    del first


def test_a_full_card_is_an_error_of_that_run(cuda, engine):
    x = batch(1)
    engine.run({"x": x})
    cuda.full = True
    with pytest.raises(EngineError, match="no memory left; run smaller batches"):
        engine.run({"x": batch(2)})
    check(engine.run({"x": x}), x)
    cuda.full = False
    check(engine.run({"x": batch(2)}), batch(2))


def test_a_catalogues_network_on_the_card_gives_what_it_gives_on_the_cpu(cuda, aunet):
    content = aunet.torch_file("bf16")
    recipe, network = read_file(content)
    x = images(aunet, 2)
    with on_card.TorchCardEngine(recipe, network, "cuda") as engine:
        engine.run({"image": 0 * x})
        found = engine.run({"image": x})["mask"]
    with load_engine(content, "torch", precision="bf16") as engine:
        np.testing.assert_allclose(found, engine.run({"image": x})["mask"], atol=0.02)
    assert found.std() > 0
