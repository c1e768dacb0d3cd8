"""Networks on backends: what they cost, and which of them a name stands for."""

import importlib.util
from math import prod
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mammofast.bundles import load_bundle
from mammofast.engine import TensorSpec
from mammofast.engine.on_device import DeviceEngine, Memory
from mammofast.errors import EngineError, MammofastError, ProfilingError
from mammofast.models import create, find
from mammofast.models.counting import count_macs
from mammofast.profiling import engines, way_to_the_card
from mammofast.profiling.macs import count_onnx_work
from mammofast.profiling.sampling import Effort

BRIEF = Effort(warm_up=0, seconds=0.01, at_least=2)
SMALL = {"sizes": [(64, 64)], "width": 0.125}


def network(node, weight, given, output="output"):
    """Return one layer as an ONNX file with free rows and cols."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, weight, np.zeros(weight))
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [weight],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


@pytest.mark.parametrize(
    "operator, weight, attributes, macs",
    [
        # 8 × 8 outputs of 5 channels, each from 3 × 3 values of 4 channels.
        ("Conv", (5, 4, 3, 3), {"pads": [1, 1, 1, 1]}, 8 * 8 * 5 * 3 * 3 * 4),
        ("Conv", (5, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 4 * 4 * 5 * 3 * 3 * 4),
        # Two groups: each output channel sees half of the inputs.
        ("Conv", (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}, 8 * 8 * 6 * 3 * 3 * 2),
        # Every input value meets 2 × 2 weights for each of 5 channels.
        ("ConvTranspose", (4, 5, 2, 2), {"strides": [2, 2]}, 8 * 8 * 4 * 5 * 2 * 2),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_multiply_adds_by_hand(operator, weight, attributes, macs, batch):
    node = helper.make_node(operator, ["image", "weight"], ["output"], **attributes)
    work = count_onnx_work(network(node, weight, ["n", 4, "h", "w"]), (batch, 4, 8, 8))
    assert work.macs == batch * macs
    rows = {"strides": 4}.get(next(iter(attributes)), 8) if operator == "Conv" else 16
    outputs = rows * rows * (weight[1] if operator == "ConvTranspose" else weight[0])
    assert work.values == batch * (8 * 8 * 4 + outputs) + prod(weight)  # weights once, whatever the batch


def test_a_fully_connected_layer_by_hand():
    node = helper.make_node("MatMul", ["image", "weight"], ["output"])
    assert count_onnx_work(network(node, (7, 3), ["n", 7]), (5, 7)) == (5 * 7 * 3, 5 * 7 + 7 * 3 + 5 * 3)


def test_a_shape_that_cannot_be_known_gives_no_count():
    nodes = [
        helper.make_node("NonZero", ["image"], ["places"]),
        helper.make_node("Cast", ["places"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["weight", "floats"], ["output"]),
    ]
    model = onnx.load_model_from_string(network(nodes[0], (3, 2), ["n", 7], "output"))
    model.graph.node.extend(nodes[1:])
    assert count_onnx_work(model.SerializeToString(), (5, 7)) is None


@pytest.mark.parametrize("name", ["unet-p2", "fusionnet", "fc-densenet103-p2", "aunet", "fcn8s", "unet"])
def test_multiply_adds_of_the_catalogue(name):
    """Counted on the exported file and on the module: two ways that share nothing."""
    subject = engines.of_network(name, **SMALL)
    shape = (2, subject.channels, 64, 64)
    assert count_onnx_work(subject.model, shape).macs == count_macs(create(name, width=0.125), shape)


def test_table_6_is_the_papers(monkeypatch):
    monkeypatch.setattr(engines, "of_network", lambda name, sizes, **options: engines.Subject(
        name, "", b"", "onnxruntime", "fp32", 3, tuple(sizes)
    ))  # fmt: skip
    subjects = list(engines.of_paper("table-6"))
    assert {subject.name: subject.paper_fps for subject in subjects} == {
        "unet-p2": 59, "fusionnet": 36, "fc-densenet103-p2": 27, "aunet": 32
    }  # fmt: skip
    assert {subject.sizes for subject in subjects} == {((256, 256),)}
    assert {find(subject.name).paper for subject in subjects} == {"P2"}
    assert "1080 Ti" in subjects[0].reason


def test_an_unknown_table_is_refused():
    with pytest.raises(ProfilingError, match=r"got 'table-7', expected one of \['table-6'\]"):
        next(engines.of_paper("table-7"))


@pytest.fixture(scope="module")
def small():
    return engines.of_network("unet-p2", eager=True, **SMALL)


@pytest.fixture
def cases(small):
    return list(engines.engine_cases([small], BRIEF, batches=(1, 3)))


def test_a_case_for_each_batch_with_its_rates(small, cases):
    assert [case.facts["batch"] for case in cases] == [1, 3]
    gmac = count_macs(create("unet-p2", width=0.125), (1, 3, 64, 64)) / 1e9
    for case in cases:
        facts = case.facts
        assert facts["size"] == [64, 64]
        assert facts["gmac_per_image"] == pytest.approx(gmac)
        assert facts["gflops"] == pytest.approx(2 * gmac * case.throughput)
        assert facts["flop_per_byte"] == pytest.approx(2 * gmac * 1e9 / facts["bytes_per_image"])
        assert facts["share_of_ceiling"] == pytest.approx(facts["gflops"] / facts["ceiling_gflops"])
        assert set(case.samples) == {"onnxruntime, fp32", "PyTorch eager, fp32"}
        assert case.throughput == pytest.approx(case.items / np.sort(case.samples[case.ours])[_middle(case)])
        assert case.unit == "images"


def _middle(case):
    return (len(case.samples[case.ours]) - 1) // 2


def test_eager_pytorch_that_gives_something_else_is_refused(small):
    from dataclasses import replace

    wrong = replace(small, eager=lambda image: {name: 1 + out for name, out in small.eager(image).items()})
    with pytest.raises(ProfilingError, match="PyTorch eager, fp32 gives another result"):
        list(engines.engine_cases([wrong], BRIEF))


def test_a_bundles_networks_at_the_methods_sizes():
    detector, segmenter = engines.of_bundle("demo")
    parameters = load_bundle("demo").parameters
    assert detector.name == "demo/detector"
    assert detector.sizes == tuple(tuple(size) for size in parameters["scales"])
    assert segmenter.sizes == (tuple(parameters["crop_shape"]),)
    (case,) = engines.engine_cases([segmenter], BRIEF)
    assert case.facts["backend"] == "onnxruntime"
    assert case.facts["gmac_per_image"] > 0


def test_a_bundles_networks_at_other_sizes():
    assert [subject.sizes for subject in engines.of_target("demo", [(64, 32)])] == [((64, 32),)] * 2


@pytest.mark.parametrize("options", [{"eager": True}, {"width": 0.5}])
@pytest.mark.parametrize("target", ["demo", "network.onnx"])
def test_what_only_the_catalogues_networks_have_is_refused_of_others(target, options):
    with pytest.raises(ProfilingError, match=f"{target}: got an? .*, expected a network of the catalogue"):
        list(engines.of_target(target, **options))


def test_a_file(tmp_path, small):
    path = tmp_path / "network.onnx"
    path.write_bytes(small.model)
    (subject,) = engines.of_target(str(path), [])
    assert (subject.name, subject.channels, subject.sizes) == ("network.onnx", 3, ((64, 64),))
    (case,) = engines.engine_cases([subject], BRIEF)
    assert case.facts["size"] == [64, 64]
    (other,) = engines.of_target(str(path), [(32, 64)])
    with pytest.raises(EngineError, match=r"expected float32\(None, 3, 64, 64\)"):
        list(engines.engine_cases([other], BRIEF))


def test_a_name_that_stands_for_nothing():
    with pytest.raises(MammofastError, match="no-such-network"):
        list(engines.of_target("no-such-network"))


def test_a_backend_that_is_not_installed_is_an_error_that_says_so(small):
    with pytest.raises((EngineError, ImportError), match="no-such-backend"):
        list(engines.engine_cases([small], BRIEF, runs=[("no-such-backend", "fp32")]))
    if importlib.util.find_spec("tensorrt") is None:
        with pytest.raises((EngineError, ImportError), match=r"(?i)tensorrt"):
            list(engines.engine_cases([small], BRIEF, runs=[("tensorrt", "fp32")]))


def test_more_threads_than_cores_are_warned_of(small):
    from mammofast.machine import cores

    (case,) = engines.engine_cases([small], BRIEF, threads=cores() + 1)
    torch.set_num_threads(1)
    assert any("take turns" in warning for warning in case.warnings)
    assert case.name.endswith(f", {cores() + 1} threads")  # another case than that of one thread


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card, and PyTorch runs on it")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_pytorch_is_a_backend(small, precision):
    (case,) = engines.engine_cases([small], BRIEF, runs=[("torch", precision)])
    assert case.ours == f"torch, {precision}"
    assert case.facts["gmac_per_image"] > 0
    assert "split_ms" not in case.facts


def test_pytorch_runs_networks_of_the_catalogue_only(tmp_path, small):
    path = tmp_path / "network.onnx"
    path.write_bytes(small.model)
    for target in (str(path), "demo"):
        with pytest.raises(ProfilingError, match=r"file for onnxruntime, torch cannot run it; name a network of the"):
            list(engines.engine_cases(engines.of_target(target), BRIEF, runs=[("torch", "fp32")]))


class FakeCardEngine(DeviceEngine):
    """y = x, in steps that the test sees; what a stream has is only done when it is waited for."""

    def __init__(self):
        super().__init__(*((TensorSpec(name, (None, 3, 64, 64), "float32"),) for name in "xy"))
        self.card, self.stream, self.graphs, self.steps = 0, 1, 1, []
        self.memory = Memory(10, 20)

    share = memory = free_memory = pinned = None  # abstract

    def upload(self, tensors):
        self.steps.append("upload")
        return tensors

    def run_on_device(self, inputs, stream):
        self.steps.append("run")
        return {"y": inputs["x"]}

    def download(self, outputs):
        self.steps.append("download")
        return outputs

    def synchronize(self):
        self.steps.append("wait")

    def _enqueue(self, inputs, stream): ...

    def _buffers(self, shapes): ...

    def _close(self):
        self.steps.append("close")


def test_on_a_card_the_way_there_and_back_is_told_apart(small, monkeypatch):
    from dataclasses import replace

    opened, built = [], []
    split = {"host_to_device": 2.0, "compute": 1.0, "device_to_host": 1.0}
    monkeypatch.setattr(engines, "split_ms", lambda engine, tensors, effort: split)

    def load_engine(model, backend, device, precision, threads):
        opened.append((model, backend, device, precision))
        return FakeCardEngine()

    monkeypatch.setattr(engines, "load_engine", load_engine)
    monkeypatch.setattr(engines, "_built", lambda *arguments: built.append(arguments[1:]) or b"engine")
    subject = replace(small, eager=None)
    cases = list(engines.engine_cases([subject], BRIEF, runs=[("tensorrt-rtx", "fp32")], batches=(1, 4)))
    assert opened == [(b"engine", "tensorrt-rtx", "cuda", "fp32")]
    assert [(backend, largest) for backend, _, largest in built] == [("tensorrt-rtx", 4)]
    for case in cases:
        assert case.ours == "tensorrt-rtx, fp32, cuda"
        assert case.facts["split_ms"] == split
        assert case.facts["device_memory_bytes"] == {"weights": 10, "context": 20}
        assert case.facts["ceiling_gflops"] is None
        assert any(warning.startswith("transfer-bound: 75%") for warning in case.warnings)
        assert case.facts["gmac_per_image"] > 0


def test_each_step_is_waited_for():
    engine = FakeCardEngine()
    split = way_to_the_card.split_ms(engine, {"x": np.zeros((1, 3, 64, 64), np.float32)}, BRIEF)
    assert set(split) == {"host_to_device", "compute", "device_to_host"}
    assert engine.steps[3:8] == ["upload", "wait", "run", "wait", "download"]


def test_engines_are_built_for_the_sizes_and_batches_that_are_timed(small, monkeypatch):
    asked = []
    monkeypatch.setattr(
        engines, "build", lambda *arguments: asked.append(arguments[1:]) or SimpleNamespace(engine=b"e")
    )
    assert engines._converted(small, "tensorrt-rtx", "fp16", 8) == b"e"
    assert asked == [("tensorrt-rtx", [{"image": ((1, 3, 64, 64), (8, 3, 64, 64), (8, 3, 64, 64))}])]
