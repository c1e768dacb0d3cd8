"""``--to torch``: bundles that PyTorch runs, on the CPU or a card."""

import numpy as np
import pytest

import mammofast
from mammofast.bundles import load_bundle, open_network
from mammofast.compilation.bundle import Choice, compile_bundle, compile_engine
from mammofast.compilation.compiler import Target, compile_source
from mammofast.compilation.networks import Weights
from mammofast.compilation.parity import make_cases
from mammofast.compilation.rcnn import from_rcnn
from mammofast.compilation.sources import from_catalogue
from mammofast.engine import load_engine
from mammofast.engine.torch.file import read_file
from mammofast.errors import EngineError

SMALL = {"width": 1 / 16}
CHOICES = {
    "detector": Choice(weights=Weights(random=0), options=SMALL, sizes=((160, 96), (320, 160))),
    "segmenter": Choice(weights=Weights(random=0), options=SMALL, sizes=((64, 64),)),
}


def image():
    y, x = np.mgrid[:400, :320]
    return (1000 * (x < 150) + 1500 * ((x - 80) ** 2 + (y - 180) ** 2 < 30**2) + 10 * (y % 7)).astype(np.uint16)


def test_a_bundle_screens_as_onnx_runtimes_does(tmp_path):
    found = {}
    for backend in ("torch", "onnxruntime"):
        report = compile_bundle("two_stage", CHOICES, Target(backend), tmp_path / backend)
        assert all(network["verified"] for network in report["networks"].values())
        with mammofast.open_bundle(tmp_path / backend) as screener:
            found[backend] = screener.screen(image(), pixel_spacing=(0.5, 0.5))
    bundle = load_bundle(tmp_path / "torch")
    for network in bundle.networks.values():
        assert (network.backend, network.target, network.file[-12:]) == ("torch", "cpu", ".safetensors")
        assert set(network.versions) == {"torch", "safetensors"}
    ours, theirs = found["torch"].detections, found["onnxruntime"].detections
    assert len(ours) == len(theirs) > 0
    np.testing.assert_allclose(np.sort(ours, axis=0), np.sort(theirs, axis=0), atol=1e-2)  # ties change places


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_for_a_card_it_is_compared_here_and_once_more_there(precision, tmp_path):
    target = Target("torch", precision, device="cuda")
    report = compile_bundle("whole_image", {"segmenter": CHOICES["segmenter"]}, target, tmp_path / "b")
    (measured,) = report["networks"]["segmenter"]["outputs"].values()
    assert 0 < measured["max_abs"] <= measured["budget"]
    bundle = load_bundle(tmp_path / "b")
    network = bundle.networks["segmenter"]
    assert (network.target, network.precision, network.verified) == ("sm_75+ptx", precision, False)
    assert bundle.read_parity("segmenter")
    with pytest.raises(EngineError, match=r"compiled for sm_75\+ptx, (and no NVIDIA card|not for the CPU)"):
        open_network(bundle, "segmenter", "cpu")


def test_an_onnx_file_is_not_pytorchs(segmenter_file, tmp_path):
    with pytest.raises(EngineError, match="theirs: torch runs networks of the catalogue, not ONNX files"):
        compile_engine(Choice(network=str(segmenter_file())), Target("torch"), tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_only_torch_has_a_device_to_choose():
    for backend in ("onnxruntime", "tensorrt-rtx"):
        with pytest.raises(EngineError, match=f"device: {backend} has none to choose"):
            Target(backend, device="cuda")
    with pytest.raises(EngineError, match="workspace: torch has none"):
        Target("torch", device="cuda", workspace=1)
    with pytest.raises(EngineError, match="timing cache: torch has none, it times nothing"):
        Target("torch", timing_cache="x")


def test_all_options_are_in_the_file_whatever_another_versions_defaults_are():
    content = from_catalogue("yolov3-coco", Weights(random=0), options=SMALL, sizes=[(64, 64)]).torch_file("fp32")
    recipe, _ = read_file(content)
    assert recipe.options == {"classes": 80, "width": 1 / 16}


def test_group_normalizations_keep_their_digits():
    """Channels last, PyTorch's own would be past the budget of fp32."""
    source = from_catalogue("deeplabv3-r18-gn-extra", Weights(random=0), options={"width": 0.125})
    report = compile_source(source, Target("torch")).report()
    assert report["outputs"]["mask"]["max_abs"] < 1e-5


def test_the_parts_of_faster_rcnn():
    for source in from_rcnn("faster-rcnn-r101-c4", Weights(random=0), options=SMALL, sizes=[(64, 64)]).values():
        with load_engine(source.torch_file("fp32"), "torch") as engine:
            for case in make_cases(source):
                found = engine.run({source.input: case.input})
                for name, expected in case.outputs.items():
                    np.testing.assert_allclose(found[name], expected, atol=1e-4 * np.abs(expected).max())
