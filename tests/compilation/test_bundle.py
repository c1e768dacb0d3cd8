import json

import numpy as np
import pytest

import mammofast
from mammofast.bundles import load_bundle
from mammofast.compilation import bundle as module
from mammofast.compilation.adapters import Mapped
from mammofast.compilation.bundle import RANDOM_NOTICE, Choice, compile_bundle, compile_engine
from mammofast.compilation.compiler import Target
from mammofast.compilation.networks import Weights
from mammofast.engine import load_engine
from mammofast.engine import tensorrt as trt
from mammofast.errors import BundleError, EngineError, ModelError

CPU = Target("onnxruntime")
SMALL = {"width": 1 / 16}
DETECTOR = Choice(weights=Weights(random=0), options=SMALL, sizes=((160, 96), (320, 160)))
SEGMENTER = Choice(weights=Weights(random=0), options=SMALL, sizes=((64, 64),))
METHODS = {
    "two_stage": {"detector": DETECTOR, "segmenter": SEGMENTER},
    "whole_image": {"segmenter": SEGMENTER},
    "tiled": {"segmenter": Choice(weights=Weights(random=0), options=SMALL, sizes=((256, 256),))},
}
PARAMETERS = {"two_stage": {}, "whole_image": {}, "tiled": {"pixel_size_mm": 1.0}}


def image():
    """A breast-like shape with something bright in it."""
    y, x = np.mgrid[:400, :320]
    breast = (x / 220) ** 2 + ((y - 200) / 180) ** 2 < 1
    mass = (x - 80) ** 2 + (y - 180) ** 2 < 30**2
    return (1000 * breast + 1500 * (breast & mass) + 10 * (y % 7)).astype(np.uint16)


@pytest.mark.parametrize("method", METHODS)
def test_a_bundle_of_each_method_screens(method, tmp_path):
    found = compile_bundle(method, METHODS[method], CPU, tmp_path / "b", parameters=PARAMETERS[method])
    bundle = load_bundle(tmp_path / "b")
    assert (bundle.id, bundle.method) == (found["bundle"], method)
    assert bundle.notice == RANDOM_NOTICE
    for role, report in found["networks"].items():
        assert report["verified"]
        assert all(output["max_abs"] <= output["budget"] for output in report["outputs"].values())
        assert bundle.networks[role].target == "cpu"
    with mammofast.open_bundle(tmp_path / "b") as screener:
        result = screener.screen(image(), pixel_spacing=(0.5, 0.5))
    assert result.error is None
    assert result.mask.shape == (400, 320)


def test_the_same_choices_make_the_same_bundle(tmp_path):
    first, second = (
        compile_bundle("whole_image", METHODS["whole_image"], CPU, tmp_path / name)["bundle"] for name in "ab"
    )
    other = {"segmenter": Choice(weights=Weights(random=1), options=SMALL, sizes=((64, 64),))}
    assert first == second != compile_bundle("whole_image", other, CPU, tmp_path / "c")["bundle"]


def test_parameters_and_words_are_the_callers(tmp_path):
    compile_bundle(
        "whole_image",
        METHODS["whole_image"],
        CPU,
        tmp_path / "b",
        name="ours",
        notice="Ask first.",
        parameters={"threshold": 0.25},
    )
    bundle = load_bundle(tmp_path / "b")
    assert (bundle.name, bundle.parameters["threshold"]) == ("ours", 0.25)
    assert bundle.parameters["shape"] == [64, 64]
    assert bundle.notice == f"{RANDOM_NOTICE} Ask first."


def test_what_the_method_refuses_leaves_nothing_behind(tmp_path):
    with pytest.raises(BundleError, match="threshold: got 2"):
        compile_bundle("whole_image", METHODS["whole_image"], CPU, tmp_path / "b", parameters={"threshold": 2})
    with pytest.raises(BundleError, match="unknown entries"):
        compile_bundle("whole_image", METHODS["whole_image"], CPU, tmp_path / "b", parameters={"treshold": 0.5})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(BundleError, match="not empty"):
        compile_bundle("whole_image", METHODS["whole_image"], CPU, tmp_path / "b")
    with pytest.raises(BundleError, match="not empty"):
        compile_engine(Choice("aunet", Weights(random=0)), CPU, tmp_path / "b")
    assert (tmp_path / "b" / "mine.txt").read_text() == "mine"


def test_an_empty_folder_will_do(tmp_path):
    (tmp_path / "b").mkdir()
    compile_bundle("whole_image", METHODS["whole_image"], CPU, tmp_path / "b")
    assert (tmp_path / "b" / "manifest.json").exists()


def test_weights_are_never_made_up(tmp_path):
    with pytest.raises(EngineError, match=r"segmenter \(v19-unet-pp\): no weights. Give --weights segmenter=FILE"):
        compile_bundle("two_stage", {"detector": DETECTOR}, CPU, tmp_path / "b")
    with pytest.raises(EngineError, match=r"aunet: no weights\. Give --weights FILE; or --random"):
        compile_engine(Choice("aunet"), CPU, tmp_path / "b")
    with pytest.raises(EngineError, match="whose with --network"):
        compile_engine(Choice(None, Weights()), CPU, tmp_path / "b")


def test_a_network_that_is_not_the_roles_is_refused(tmp_path):
    choices = {"detector": Choice("unet", Weights(random=0), SMALL, ((64, 64),)), "segmenter": SEGMENTER}
    with pytest.raises(EngineError, match=r"detector: 'unet' gives \['mask'\], expected \['stride_8'"):
        compile_bundle("two_stage", choices, CPU, tmp_path / "b")
    with pytest.raises(ModelError, match="did you mean"):
        compile_engine(Choice("aunt", Weights(random=0)), CPU, tmp_path / "b")
    with pytest.raises(EngineError, match=r"size: got \(60, 64\), aunet takes multiples of 16"):
        compile_engine(Choice("aunet", Weights(random=0), SMALL, ((60, 64),)), CPU, tmp_path / "b")


def test_an_onnx_file_of_others_becomes_a_bundle(segmenter_file, tmp_path):
    theirs = Choice(str(segmenter_file()), outputs={"mask": Mapped("scores", "softmax", 1)})
    compile_bundle("whole_image", {"segmenter": theirs}, CPU, tmp_path / "b", parameters={"background": None})
    bundle = load_bundle(tmp_path / "b")
    assert bundle.notice == ""
    with mammofast.open_bundle(tmp_path / "b") as screener:
        (finding,) = screener.screen(image()).findings
    # It finds what is bright: the disc of radius 30 around (80, 180).
    assert np.abs(np.array(finding.box) - [50, 150, 111, 211]).max() <= 12
    assert finding.area_px == pytest.approx(np.pi * 30**2, rel=0.5)


def test_an_onnx_file_must_say_which_of_its_tensors_is_meant(segmenter_file, tmp_path):
    theirs = Choice(str(segmenter_file()))
    with pytest.raises(
        EngineError, match=r"which tensor of the file is 'mask'\? Say it with --output segmenter\.mask="
    ):
        compile_bundle("whole_image", {"segmenter": theirs}, CPU, tmp_path / "b")


def test_one_engine_of_an_onnx_file_keeps_its_names(segmenter_file, tmp_path):
    compile_engine(Choice(str(segmenter_file(batch=1))), CPU, tmp_path / "e")
    entry = json.loads((tmp_path / "e" / "engine.json").read_text())["networks"]["theirs"]
    with load_engine((tmp_path / "e" / entry["file"]).read_bytes(), "onnxruntime") as engine:
        assert engine.inputs[0].name == "pixels"
        assert engine.inputs[0].shape == (1, 1, 32, 32)


@pytest.mark.parametrize("backend, precision", [("onnxruntime", "fp16"), ("openvino", "fp32"), ("openvino", "bf16")])
def test_other_backends_and_precisions_of_the_cpu(backend, precision, tmp_path):
    found = compile_engine(Choice("aunet", Weights(random=0), SMALL, ((64, 64),)), Target(backend, precision), tmp_path)
    errors = found["networks"]["aunet"]["outputs"]["mask"]
    assert 0 < errors["max_abs"] <= errors["budget"]
    entry = json.loads((tmp_path / "engine.json").read_text())["networks"]["aunet"]
    assert (entry["backend"], entry["precision"], "verified" in entry) == (backend, precision, False)


def test_an_engine_past_its_budget_is_refused_and_not_written(tmp_path):
    target = Target("onnxruntime", "fp16", budget=1e-6)
    with pytest.raises(EngineError, match=r"aunet: the engine differs from its network: 'mask' by .*--budget"):
        compile_engine(Choice("aunet", Weights(random=0), SMALL, ((64, 64),)), target, tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"backend": "openvino", "precision": "fp16"}, r"precision: got 'fp16', expected one of \['fp32', 'bf16'\]"),
        ({"backend": "abacus"}, "backend: got 'abacus'"),
        ({"backend": "openvino", "budget": 2.0}, "budget: got 2.0"),
        ({"backend": "onnxruntime", "compute_capabilities": ("8.6",)}, "only tensorrt-rtx builds for other cards"),
        ({"backend": "tensorrt-rtx", "timing_cache": "x"}, "has none, its kernels are compiled"),
    ],
)
def test_what_a_target_cannot_be_is_said_at_once(options, words):
    with pytest.raises(EngineError, match=words):
        Target(**options)


def needs_rtx():
    try:
        trt.import_flavour("tensorrt-rtx")
    except ImportError:
        pytest.skip("TensorRT for RTX is not installed")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_an_engine_for_a_gpu_is_not_verified_and_brings_what_to_compare_it_with(precision, tmp_path):
    needs_rtx()
    choices = METHODS["two_stage"]
    target = Target("tensorrt-rtx", precision, compute_capabilities=("8.6",))
    found = compile_bundle("two_stage", choices, target, tmp_path / "b")
    bundle = load_bundle(tmp_path / "b")
    for role, network in bundle.networks.items():
        assert (network.backend, network.target, network.verified) == ("tensorrt-rtx", "sm_86", False)
        assert set(network.parity.budget) == set(bundle.networks[role].parity.budget) != set()
        bundle.read(role)
        # The CPU stands in for fp16 and fp32; it has no bf16.
        assert bool(found["networks"][role]["outputs"]) == (precision != "bf16")
    cases = np.load(tmp_path / "b" / bundle.networks["detector"].parity.file, allow_pickle=False)
    assert {cases[f"{k}.input.image"].shape[2:] for k in range(3)} == {(160, 96), (320, 160)}
    with pytest.raises((EngineError, BundleError)):
        mammofast.open_bundle(tmp_path / "b")


def test_a_manifest_whose_hash_does_not_match_is_refused(tmp_path):
    compile_bundle("whole_image", METHODS["whole_image"], CPU, tmp_path / "b")
    file = tmp_path / "b" / "segmenter.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="the manifest says"):
        mammofast.open_bundle(tmp_path / "b")


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(folder, compiled):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_check", stop)
    with pytest.raises(KeyboardInterrupt):
        compile_bundle("whole_image", METHODS["whole_image"], CPU, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
