"""Any ONNX file under a method's names; networks that must be verified; networks that do not fit this machine."""

import hashlib
import io
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mammofast.bundles import fit, load_bundle, open_network
from mammofast.errors import BundleError, EngineError


def two_heads():
    """input_1 (n, 3, 4) → "logits", the same, and "double"."""
    nodes = [
        helper.make_node("Identity", ["input_1"], ["logits"]),
        helper.make_node("Add", ["input_1"] * 2, ["double"]),
    ]
    tensors = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3, 4]) for n in ("input_1", "logits", "double")
    ]
    graph = helper.make_graph(nodes, "net", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture
def make_bundle(tmp_path):
    def make(network=None, files=None):
        contents = {"net.onnx": two_heads(), **(files or {})}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        entry = {
            "file": "net.onnx",
            "sha256": hashlib.sha256(contents["net.onnx"]).hexdigest(),
            "backend": "onnxruntime",
            "precision": "fp32",
            "target": "cpu",
            **(network or {}),
        }
        manifest = {"format": 1, "name": "b", "method": "tiled", "parameters": {}, "networks": {"segmenter": entry}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        return load_bundle(tmp_path)

    return make


VALUES = np.random.default_rng(0).normal(0, 3, (2, 3, 4)).astype(np.float32)


def run(bundle, name, values=VALUES):
    with open_network(bundle, "segmenter") as engine:
        return engine.run({name: values})


def test_names_are_the_files_own_unless_the_manifest_maps_them(make_bundle):
    outputs = run(make_bundle(), "input_1")
    assert set(outputs) == {"logits", "double"}
    outputs = run(make_bundle({"inputs": {"image": "input_1"}, "outputs": {"mask": "double"}}), "image")
    np.testing.assert_array_equal(outputs["mask"], 2 * VALUES)
    np.testing.assert_array_equal(outputs["logits"], VALUES)


def test_a_mapped_name_goes_before_the_files_own(make_bundle):
    outputs = run(make_bundle({"outputs": {"logits": "double"}}), "input_1")
    np.testing.assert_array_equal(outputs["logits"], 2 * VALUES)


def test_activations_and_channels(make_bundle):
    exact = VALUES.astype(np.float64)
    powers = np.exp(exact)
    chances = {
        "none": exact,
        "sigmoid": 1 / (1 + np.exp(-exact)),
        "softmax": powers / powers.sum(axis=1, keepdims=True),
        "tanh": (exact + 1) / 2,
    }
    for activation, expected in chances.items():
        for channel in (None, 0, 2):
            output = {"tensor": "logits", "activation": activation, "channel": channel}
            bundle = make_bundle({"outputs": {"mask": output}})
            got = run(bundle, "input_1")["mask"]
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected if channel is None else expected[:, [channel]], atol=1e-6)
            with open_network(bundle, "segmenter") as engine:
                spec = next(spec for spec in engine.outputs if spec.name == "mask")
            assert spec.shape == (None, 3 if channel is None else 1, 4)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "tanh"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_a_network_could_not_compute_stays_visible_behind_an_activation(make_bundle, activation, poison):
    values = np.full((1, 3, 4), 1000, np.float32)
    values[0, 0] = -1000
    assert np.isfinite(
        run(make_bundle({"outputs": {"m": {"tensor": "logits", "activation": activation}}}), "input_1", values)["m"]
    ).all()
    values[0, 1, 2] = poison
    got = run(
        make_bundle({"outputs": {"m": {"tensor": "logits", "activation": activation, "channel": 1}}}), "input_1", values
    )
    assert not np.isfinite(got["m"][0, 0, 2])


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"inputs": {"image": "pixels"}}, "'inputs' names ['pixels'], the file has ['input_1']"),
        ({"outputs": {"mask": "sigmoid_0"}}, "'outputs' names ['sigmoid_0'], the file has ['logits', 'double']"),
        ({"inputs": {"image": "input_1", "crop": "input_1"}}, "a name of its own"),
        ({"inputs": {"image": 3}}, "every entry of 'inputs' must be a string"),
        ({"inputs": ["image"]}, "got a list"),
        ({"outputs": {"mask": {"tensor": "logits", "activation": "relu"}}}, "activation 'relu'"),
        ({"outputs": {"mask": {"tensor": "logits", "channel": 3}}}, "has 3 channels, none of index 3"),
        ({"outputs": {"mask": {"tensor": "logits", "channel": True}}}, "channel True"),
        ({"outputs": {"mask": {"tensor": "logits", "channel": -1}}}, "channel -1"),
        ({"outputs": {"mask": {"activation": "tanh"}}}, "missing entries ['tensor']"),
        ({"outputs": {"mask": 3}}, "got a int"),
        ({"target": "gpu"}, "target 'gpu'"),
        ({"target": "sm_86;sm_89"}, "target"),
        ({"target": 86}, "'target' is 86"),
        ({"verified": "no"}, "'verified' is 'no'"),
        ({"verified": False}, "'parity' must name"),
        ({"parity": {"file": "../p.npz", "sha256": "", "budget": {"m": 1}}}, "plain name"),
        ({"parity": {"file": "p.npz", "sha256": "", "budget": {}}}, "largest absolute error"),
        ({"parity": {"file": "p.npz", "sha256": "", "budget": {"m": -1}}}, "largest absolute error"),
        ({"parity": {"file": "p.npz", "sha256": "", "budget": {"m": True}}}, "largest absolute error"),
        ({"versions": {"onnx": 1}}, "'versions' must be a string"),
    ],
)
def test_what_the_manifest_says_of_a_network_must_make_sense(make_bundle, network, words):
    with pytest.raises(BundleError) as caught, open_network(make_bundle(network), "segmenter"):
        pass
    assert words in str(caught.value)


def parity(budget=1e-6, error=0.0, **arrays):
    """Return a manifest's entries and the file of a network whose outputs are off by ``error``."""
    content = io.BytesIO()
    expected = VALUES.copy()
    expected[1, 2, 3] += np.float32(error)
    cases = {
        "0.input.image": VALUES,
        "0.output.mask": expected,
        "3.input.image": VALUES[:1],
        "3.output.mask": VALUES[:1],
    }
    np.savez(content, **{**cases, **arrays})
    entry = {
        "inputs": {"image": "input_1"},
        "outputs": {"mask": "logits"},
        "verified": False,
        "parity": {
            "file": "p.npz",
            "sha256": hashlib.sha256(content.getvalue()).hexdigest(),
            "budget": {"mask": budget},
        },
    }
    return entry, {"p.npz": content.getvalue()}


def test_a_network_that_is_not_verified_is_opened_within_its_budget_and_refused_beyond(make_bundle):
    run(make_bundle(*parity(budget=0.25, error=0.125)), "image")
    with pytest.raises(
        EngineError, match=r"'segmenter' is not verified.* 'mask' of case 0 is off by 0\.5, .* 0\.25; .*compile"
    ):
        open_network(make_bundle(*parity(budget=0.25, error=0.5)), "segmenter")
    with pytest.raises(EngineError, match="off by nan"):
        open_network(make_bundle(*parity(budget=0.25, error=np.nan)), "segmenter")
    with pytest.raises(EngineError, match=r"case 3 is off by nan"):
        open_network(make_bundle(*parity(**{"3.output.mask": VALUES})), "segmenter")
    entry, files = parity(error=9)
    run(make_bundle(entry | {"verified": True}, files), "image")


def test_an_unverified_network_gives_its_memory_back(make_bundle, monkeypatch):
    closed = []
    monkeypatch.setattr("mammofast.engine.Engine.close", lambda self: closed.append(self))
    with pytest.raises(EngineError):
        open_network(make_bundle(*parity(error=1)), "segmenter")
    assert closed


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"0.output.mask": VALUES.astype(np.float64)}, "float64"),
        ({"surprise": VALUES}, "surprise"),
        ({"0.output.other": VALUES}, "'budget' has ['mask']"),
        ({"7.input.image": VALUES}, "case 7"),
        ({"0.output.mask": np.array([object()])}, "not an .npz of float32"),
    ],
)
def test_parity_files_of_another_form_are_refused(make_bundle, arrays, words):
    with pytest.raises(BundleError) as caught:
        open_network(make_bundle(*parity(**arrays)), "segmenter")
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"PK\x05\x06" + bytes(18), b"PK\x03\x04 damaged", b"text"])
def test_damaged_parity_files_and_pickles_are_refused(make_bundle, content):
    entry, _ = parity()
    entry["parity"]["sha256"] = hashlib.sha256(content).hexdigest()
    with pytest.raises(BundleError, match="parity file"):
        open_network(make_bundle(entry, {"p.npz": content}), "segmenter")


@pytest.mark.parametrize("damage", [{"data": 0xFF}, {"flags": 1}], ids=["compressed bytes", "encryption flag"])
def test_parity_files_damaged_inside_a_whole_archive_are_refused(make_bundle, damage):
    entry, _ = parity()
    file = io.BytesIO()
    np.savez_compressed(file, **{"0.input.image": VALUES, "0.output.mask": VALUES})
    content = bytearray(file.getvalue())
    header, listing = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    if "data" in damage:  # no block of a deflate stream begins so
        names = int.from_bytes(content[header + 26 : header + 28], "little")
        extra = int.from_bytes(content[header + 28 : header + 30], "little")
        content[header + 30 + names + extra] = damage["data"]
    else:
        content[header + 6] |= damage["flags"]
        content[listing + 8] |= damage["flags"]
    entry["parity"]["sha256"] = hashlib.sha256(content).hexdigest()
    with pytest.raises(BundleError, match=r"parity file is not an \.npz"):
        open_network(make_bundle(entry, {"p.npz": bytes(content)}), "segmenter")


def test_a_changed_or_missing_parity_file_is_refused(make_bundle):
    entry, files = parity()
    with pytest.raises(BundleError, match=r"p\.npz has SHA-256"):
        open_network(make_bundle(entry, {"p.npz": files["p.npz"] + b"!"}), "segmenter")
    bundle = make_bundle(entry, files)
    (bundle.folder / "p.npz").unlink()
    with pytest.raises(BundleError, match=r"p\.npz cannot be read"):
        open_network(bundle, "segmenter")


def test_inputs_that_the_network_does_not_take_are_told(make_bundle):
    wrong = np.zeros((1, 5, 4), np.float32)
    with pytest.raises(EngineError, match=r"case 0 of its parity file: input 'image'"):
        open_network(make_bundle(*parity(**{"0.input.image": wrong})), "segmenter")


RTX = {"backend": "tensorrt-rtx", "target": "sm_86", "versions": {"tensorrt-rtx": "1.7.1"}}


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have a card, and a version of TensorRT for RTX."""

    def set_up(capability=86, version="1.7.1.116"):
        monkeypatch.setattr(fit, "compute_capability", lambda index: capability if index == 0 else None)
        monkeypatch.setattr(fit, "installed_version", lambda backend: version)

    return set_up


@pytest.mark.parametrize(
    ("target", "capability", "fits"),
    [
        ("sm_86", 86, True),
        ("sm_86", 89, False),
        ("sm_86", 80, False),
        ("sm_80+ptx", 80, True),
        ("sm_80+ptx", 120, True),
        ("sm_80+ptx", 75, False),
        ("sm_86,sm_89", 89, True),
        ("sm_86,sm_89", 90, False),
        ("sm_86,sm_90+ptx", 120, True),
        ("sm_86+ptx,sm_120", 90, True),
    ],
)
def test_cards_that_a_target_runs_on(make_bundle, machine, target, capability, fits):
    machine(capability)
    bundle = make_bundle(RTX | {"target": target})
    if fits:
        assert fit.fitting_device(bundle, "segmenter", "auto") == "cuda"
    else:
        with pytest.raises(EngineError) as caught:
            fit.fitting_device(bundle, "segmenter", "auto")
        assert f"'segmenter' was compiled for {target}, card 0 is sm_{capability};" in str(caught.value)
        assert "mammofast compile tiled --to tensorrt-rtx" in str(caught.value)


@pytest.mark.parametrize(
    ("here", "fits"), [("1.7.1", True), ("1.7.1.116", True), ("1.7.10", False), ("1.8.0.3", False), ("1.7", False)]
)
def test_an_engine_runs_with_the_version_that_compiled_it(make_bundle, machine, here, fits):
    machine(version=here)
    bundle = make_bundle(RTX)
    if fits:
        assert fit.fitting_device(bundle, "segmenter", "cuda:0") == "cuda"
    else:
        with pytest.raises(
            EngineError, match=rf"compiled by tensorrt-rtx 1\.7\.1, here is {here}; .*mammofast compile"
        ):
            fit.fitting_device(bundle, "segmenter", "auto")


def test_an_engine_must_state_its_version(make_bundle, machine):
    machine()
    with pytest.raises(BundleError, match="'versions' must state the tensorrt-rtx"):
        fit.fitting_device(make_bundle(RTX | {"versions": {"torch": "2"}}), "segmenter", "auto")


def test_versions_of_onnx_files_are_information(make_bundle):
    bundle = make_bundle({"versions": {"onnxruntime": "0.1"}})
    assert fit.fitting_device(bundle, "segmenter", "auto") == fit.fitting_device(bundle, "segmenter", "cpu") == "cpu"


def test_devices_that_are_not_there_or_not_what_was_compiled_for(make_bundle, machine):
    machine()
    for bundle, device, words in (
        (make_bundle(RTX), "cpu", r"compiled for sm_86, not for the CPU; .*--to onnxruntime"),
        (make_bundle(RTX), "cuda:1", r"no NVIDIA card 1 with a driver is here"),
        (make_bundle(RTX), "tpu", r"device: got 'tpu'"),
        (make_bundle(), "cuda", r"compiled for the CPU, not for device 'cuda'"),
    ):
        with pytest.raises(EngineError, match=words):
            fit.fitting_device(bundle, "segmenter", device)


def test_the_hash_is_looked_at_before_the_machine(make_bundle):
    bundle = make_bundle(RTX | {"sha256": "0" * 64})
    with pytest.raises(BundleError, match="SHA-256"):
        open_network(bundle, "segmenter")


def test_compute_capability_without_a_card_is_none():
    assert fit.compute_capability(4000) is None


def test_a_backend_that_is_not_installed_is_left_to_the_engine_to_say(make_bundle, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("mammofast.engine.tensorrt.flavour.import_module", missing)
    monkeypatch.setattr(fit, "compute_capability", lambda index: 86)
    assert fit.installed_version("tensorrt-rtx") is None
    assert fit.fitting_device(make_bundle(RTX), "segmenter", "auto") == "cuda"
    with pytest.raises(EngineError, match="is not installed"):
        open_network(make_bundle(RTX), "segmenter")


def test_the_installed_version_is_the_packages_own():
    package = pytest.importorskip("tensorrt_rtx_bindings", reason="NOT TESTED: TensorRT for RTX is not installed")
    assert fit.installed_version("tensorrt-rtx") == package.__version__
