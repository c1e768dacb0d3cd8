"""What is chosen for a role has an effect that screening can use, or is refused before anything is written."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import mammofast
from mammofast.bundles import load_bundle
from mammofast.compilation.adapters import Mapped, adapt
from mammofast.compilation.bundle import RANDOM_NOTICE, Choice, compile_bundle, compile_engine
from mammofast.compilation.compiler import Target
from mammofast.compilation.networks import Weights, created
from mammofast.compilation.onnx_files import read_onnx
from mammofast.compilation.sources import from_catalogue, from_onnx
from mammofast.engine import tensorrt as trt
from mammofast.errors import BundleError, EngineError
from mammofast.models import create, weights

CPU = Target("onnxruntime")
SMALL = {"width": 1 / 16}
FOREGROUND = {"mask": Mapped("scores", "softmax", 1)}


def whole_image(choice, out, target=CPU, **parameters):
    return compile_bundle("whole_image", {"segmenter": choice}, target, out, parameters=parameters)


# Weights


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """A file of the way down of a narrow U-Net, as if that were a layout."""
    monkeypatch.setitem(weights.LAYOUTS, "torchvision-vgg16", lambda path, network: weights.read_state(path))
    state = create("unet", **SMALL).state_dict()
    path = tmp_path / "contracting.pt"
    torch.save({key: torch.full_like(tensor, 0.5) for key, tensor in state.items() if "contracting" in key}, path)
    return path


def test_a_backbone_is_not_all_of_a_network(backbone, tmp_path):
    choice = Choice("unet", Weights(backbone, "torchvision-vgg16"), SMALL, ((64, 64),))
    with pytest.raises(
        EngineError, match=r"segmenter \(unet\): the layout 'torchvision-vgg16' is a backbone's.*random"
    ):
        whole_image(choice, tmp_path / "b")
    with pytest.raises(EngineError, match="unet: the layout 'torchvision-vgg16' is a backbone's"):
        compile_engine(choice, CPU, tmp_path / "e")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contracting.pt"]


def test_the_rest_of_a_network_is_random_where_that_is_asked_for_and_the_notice_says_so(backbone, tmp_path):
    choice = Choice("unet", Weights(backbone, "torchvision-vgg16", 7), SMALL, ((64, 64),))
    whole_image(choice, tmp_path / "b")
    assert load_bundle(tmp_path / "b").notice == RANDOM_NOTICE


def test_the_seed_is_the_rests(backbone):
    def state(seed):
        torch.rand(3)  # whoever calls has drawn something else before
        return created("unet", Weights(backbone, "torchvision-vgg16", seed), SMALL).state_dict()

    one, same, other = state(7), state(7), state(8)
    assert all(torch.equal(one[key], same[key]) for key in one)
    changed = {key for key in one if not torch.equal(one[key], other[key])}
    assert changed == {key for key in one if "contracting" not in key}


def test_a_file_of_all_weights_leaves_nothing_to_chance():
    assert not Weights("w.pt", None, 3).made_up
    assert Weights(random=3).made_up


# Shapes


@pytest.mark.parametrize(
    "mapped, words",
    [
        (Mapped("scores", "softmax"), "segmenter: gives"),  # both classes
        (Mapped("scores", "none", 1), r"goes from -?\d.* expected probabilities.* --output mask=TENSOR:softmax:1"),
        (Mapped("scores", "softmax", 5), r"output 'mask': 'scores' has no channel 5, only 0 to 1$"),
    ],
)
def test_what_screening_would_not_open_is_not_written(mapped, words, segmenter_file, tmp_path):
    with pytest.raises((BundleError, EngineError), match=words):
        whole_image(Choice(str(segmenter_file()), outputs={"mask": mapped}), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_parameter_that_is_not_the_networks_is_refused(segmenter_file, tmp_path):
    with pytest.raises(BundleError, match="segmenter"):
        whole_image(Choice(str(segmenter_file()), outputs=FOREGROUND), tmp_path / "b", shape=[64, 64])
    assert not (tmp_path / "b").exists()


def test_bundles_for_gpus_are_opened_too(segmenter_file, tmp_path):
    try:
        trt.import_flavour("tensorrt-rtx")
    except ImportError:
        pytest.skip("TensorRT for RTX is not installed")
    choice = Choice(str(segmenter_file()), outputs={"mask": Mapped("scores", "softmax")})
    with pytest.raises(BundleError, match="segmenter: gives"):
        whole_image(choice, tmp_path / "b", Target("tensorrt-rtx"))
    assert not (tmp_path / "b").exists()


def test_an_output_of_another_rank_is_named(segmenter_file):
    model = onnx.load(segmenter_file())
    model.graph.node.append(helper.make_node("ReduceMax", ["scores", "axes"], ["flat"], keepdims=0))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"))
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n"]))
    with pytest.raises(EngineError, match=r"output 'mask': 'flat' has 1 axes, expected \(n, channels, rows, cols\)"):
        adapt(model.SerializeToString(), "image", {"mask": Mapped("flat")})


def test_a_batch_of_several_only_is_refused(segmenter_file):
    with pytest.raises(EngineError, match="batch 4 is fixed: export with a free batch axis, or 1"):
        from_onnx(segmenter_file(batch=4))
    assert from_onnx(segmenter_file(batch=1)).one_row
    assert not from_onnx(segmenter_file()).one_row


def test_the_size_of_a_file_is_its_own(segmenter_file):
    with pytest.raises(EngineError, match=r"size: got \(64, 64\), input 'pixels' takes \(32, 32\) only"):
        from_onnx(segmenter_file(), [(64, 64)])


# Sizes


@pytest.mark.parametrize(
    "name, near, size",
    [
        ("fcn8s", (100, 128), (128, 128)),
        ("unet", (100, 97), (112, 112)),
        ("unet-valid", (190, 204), (204, 204)),
        ("unet-valid", (188, 189), (188, 204)),
    ],
)
def test_a_methods_size_becomes_the_networks_next(name, near, size):
    source = from_catalogue(name, Weights(random=0), options=SMALL, near=(near,))
    assert source.sizes == (size,)
    image = np.zeros((1, source.channels, *size), np.float32)
    lost = 2 * source.geometry["margin"]
    assert source.reference(image)["mask"].shape == (1, 1, size[0] - lost, size[1] - lost)


def test_a_stated_size_is_not_changed():
    with pytest.raises(
        EngineError, match=r"size: got \(190, 204\), unet-valid takes multiples of 16 plus 12.* 204x204"
    ):
        from_catalogue("unet-valid", Weights(random=0), options=SMALL, sizes=((190, 204),))


def test_a_file_in_a_tile_keeps_its_size(segmenter_file, tmp_path):
    choice = Choice(str(segmenter_file()), outputs=FOREGROUND)
    compile_bundle("tiled", {"segmenter": choice}, CPU, tmp_path / "b")
    assert load_bundle(tmp_path / "b").parameters["tile"] == [32, 32]


def test_what_p1_does_not_cut_off_stays(tmp_path):
    for name, background in (("aspp-fc-densenet", None), ("aunet", 0.02)):
        choice = Choice(name, Weights(random=0), {"width": 1 / 32}, ((64, 64),))
        whole_image(choice, tmp_path / name)
        assert load_bundle(tmp_path / name).parameters["background"] == background


# ONNX of others


def test_weights_that_are_inputs_too_become_weights(segmenter_file, tmp_path):
    model = onnx.load(segmenter_file())
    model.ir_version = 3
    model.opset_import[0].version = 8
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    path = tmp_path / "old.onnx"
    path.write_bytes(model.SerializeToString())
    content, interface = read_onnx(path)
    sound = onnx.load_model_from_string(content)
    assert [value.name for value in sound.graph.input] == [interface.input] == ["pixels"]
    onnx.checker.check_model(sound)
    choice = Choice(str(path), outputs=FOREGROUND)
    for k, target in enumerate((CPU, Target("onnxruntime", "fp16"), Target("openvino", "bf16"))):
        whole_image(choice, tmp_path / str(k), target)
        mammofast.open_bundle(tmp_path / str(k)).close()


@pytest.fixture
def forked(segmenter_file, tmp_path):
    """A network one of whose constants is in a branch."""

    def branch(name):
        node = helper.make_node("Add", ["both", f"{name}.one"], [name])
        one = numpy_helper.from_array(np.ones((1, 2, 1, 1), np.float32), f"{name}.one")
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)], [one]
        )

    model = onnx.load(segmenter_file())
    model.graph.node[0].output[0] = "both"
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node(
            "If", ["yes"], ["scores"], "fork", then_branch=branch("yes_branch"), else_branch=branch("no_branch")
        )
    )
    path = tmp_path / "forked.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_subgraphs_take_no_role(forked, tmp_path):
    with pytest.raises(EngineError, match=r"If \(node 'fork'\) holds a subgraph"):
        whole_image(Choice(str(forked), outputs=FOREGROUND), tmp_path / "b")
    compile_engine(Choice(str(forked)), CPU, tmp_path / "e")  # as it is, nothing has to be followed


def test_weights_outside_are_found_in_subgraphs(forked):
    model = onnx.load(forked)
    tensor = model.graph.node[-1].attribute[0].g.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="elsewhere.bin"))
    forked.write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=r"weights outside the file: 'no_branch.one' and 0 more"):
        read_onnx(forked)


# Where to


def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("mammofast.compilation.bundle.compile_source", lambda *args: pytest.fail("worked already"))
    (tmp_path / "file").write_bytes(b"")
    for out in (tmp_path / "file" / "b", "/proc/mammofast/b"):
        with pytest.raises(BundleError, match=r"--out .*b cannot be written"):
            whole_image(Choice(weights=Weights(random=0)), type(tmp_path)(out))
        with pytest.raises(BundleError, match=r"--out .*b cannot be written"):
            compile_engine(Choice("unet", Weights(random=0)), CPU, type(tmp_path)(out))


def test_done_is_called_after_each_network(tmp_path):
    said, done = [], []
    compile_engine(
        Choice("unet", Weights(random=0), SMALL, ((64, 64),)),
        *(CPU, tmp_path / "e"),
        lambda words, detail=False: said.append(words),
        lambda: done.append(len(said)),
    )
    assert said == ["unet: reference", "unet: fp32 for onnxruntime", "unet: comparing"]
    assert done == [3]
