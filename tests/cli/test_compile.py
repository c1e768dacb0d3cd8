import json
import pickle

import pytest
import torch
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.models import create

SMALL = ["--random", "--width", "0.0625", "--size", "64x64"]


def run(*arguments):
    return CliRunner().invoke(main, ["compile", *map(str, arguments)])


def test_a_bundle_in_one_line(tmp_path):
    done = run("whole_image", "--to", "onnxruntime", "--out", tmp_path / "b", *SMALL, "--verbose")
    assert done.exit_code == 0, done.output
    assert "segmenter  aunet, fp32 for onnxruntime" in done.output
    assert "mask: max " in done.output
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["notice"].startswith("Random weights")


def test_what_was_measured_as_json(tmp_path):
    done = run("unet", "--to", "onnxruntime", "--out", tmp_path / "e", *SMALL, "--json")
    found = json.loads(done.stdout)
    assert found["networks"]["unet"]["outputs"]["mask"]["max_abs"] < 1e-4


def test_quiet_says_nothing(tmp_path):
    assert run("unet", "--to", "onnxruntime", "--out", tmp_path / "e", *SMALL, "--quiet").output == ""


def test_roles_are_told_apart(tmp_path):
    done = run(
        "two_stage",
        *("--to", "onnxruntime", "--out", tmp_path / "b", "--random"),
        *("--network", "detector=compact-yolo", "--size", "detector=160x96", "--size", "detector=320x160"),
        *("--network", "segmenter=unet", "--size", "segmenter=64x64", "--option", "segmenter.width=0.0625"),
        *("--parameter", "fusion_threshold=0.5", "--parameter", "box=mask", "--name", "ours"),
    )
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["name"] == "ours"
    parameters = manifest["parameters"]
    assert (parameters["scales"], parameters["crop_shape"]) == ([[160, 96], [320, 160]], [64, 64])
    assert (parameters["fusion_threshold"], parameters["box"]) == (0.5, "mask")


def test_trained_weights_are_loaded_and_torn_ones_are_not(tmp_path):
    torch.manual_seed(3)
    network = create("unet", width=0.0625)
    path = tmp_path / "unet.pt"
    torch.save(network.state_dict(), path)
    arguments = ("--to", "onnxruntime", "--size", "64x64", "--width", "0.0625")
    done = run(path, "--network", "unet", *arguments, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    assert run("unet", "--weights", path, *arguments, "--out", tmp_path / "b").exit_code == 0
    assert (tmp_path / "a" / "unet.onnx").read_bytes() == (tmp_path / "b" / "unet.onnx").read_bytes()
    # Kept as they are: a trained network is not scaled.
    last = network.state_dict()[list(network.state_dict())[-2]].numpy().tobytes()
    assert last in (tmp_path / "a" / "unet.onnx").read_bytes()

    path.write_bytes(path.read_bytes()[:1000])
    done = run("unet", "--weights", path, *arguments, "--out", tmp_path / "c")
    assert done.exit_code == 1
    assert "no whole PyTorch file" in done.output


@pytest.mark.parametrize(
    "content, words",
    [
        (lambda path: path.write_bytes(pickle.dumps(print)), "refused|no whole PyTorch file"),
        (lambda path: torch.save(torch.nn.Linear(1, 1), path), "run code from the file, so it is refused"),
        (lambda path: torch.save({"theirs.weight": torch.zeros(1)}, path), "theirs.weight"),
    ],
)
def test_broken_weights_give_one_clear_line(content, words, tmp_path):
    path = tmp_path / "w.pt"
    content(path)
    done = run("unet", "--weights", path, "--to", "onnxruntime", "--width", "0.0625", "--out", tmp_path / "e")
    assert done.exit_code == 1
    assert done.output.startswith("mammofast: ")
    assert any(word in done.output for word in words.split("|"))
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["unet"], 2, "no weights. Give --weights FILE; or --random"),
        (["two_stage", "--random", "--size", "64x64"], 2, "say whose it is, as detector=... or segmenter=..."),
        (["two_stage", "--random", "--option", "classes=1"], 2, "detector.classes=... or segmenter.classes=..."),
        (["unet", "--random", "--size", "64"], 2, "expected ROWSxCOLS"),
        (["unet", "--random", "--option", "classes"], 2, "expected KEY=VALUE"),
        (
            ["unet", "--random", "--option", "clases=1"],
            2,
            "unet has no clases; expected one of channels, classes",
        ),
        (["no-such.onnx"], 1, "cannot be read: No such file"),
        (["unet", "--network", "aunet", "--random"], 2, "two networks"),
        (["nothing", "--random"], 2, "no network is called 'nothing'"),
        (["two_stag", "--random"], 2, "the methods are two_stage, whole_image, tiled"),
        (["two_stage", "--random", "--network", "detector=yolo"], 2, "no network is called 'yolo'"),
        (["unet", "--random", "--budget", "3"], 2, "budget: got 3"),
        (["unet", "--random", "--compute-capability", "8.6"], 2, "only tensorrt-rtx builds for other cards"),
        (["unet", "--random", "--workspace", "8"], 2, "leave --workspace out"),
        (["unet", "--random", "--device", "cuda"], 2, "only torch runs on both; leave --device out"),
        (["unet", "--random", "--parameter", "threshold=0.3"], 2, "--parameter is a bundle's; 'unet' is no method"),
        (["unet", "--random", "--name", "x"], 2, "--name is a bundle's"),
        (["unet", "--random", "--output", "a=b:sigmoid"], 2, "--output names tensors of an ONNX file"),
        (["whole_image", "--random", "--output", "mask=b"], 2, "--output names tensors of an ONNX file"),
        (["theirs.onnx", "--random"], 2, "--random: an ONNX file is what it is"),
        (["theirs.onnx", "--width", "0.5"], 2, "--width: an ONNX file is what it is"),
        (["theirs.onnx", "--option", "classes=1"], 2, "leave classes out"),
        (["unet", "--random", "--layout", "darknet"], 2, "--layout darknet: says how to read --weights"),
        (["unet", "--random", "--size", "64x64", "--size", "32x32"], 2, "is compiled for one size, got 2"),
        (["whole_image", "--random", "--size", "64x64", "--size", "32x32"], 2, "is compiled for one size, got 2"),
        (["whole_image", "--random", "--network", "unet", "--network", "aunet"], 2, "--network: got unet and aunet"),
        (["unet", "--random", "--precision", "bf16"], 2, "expected one of ['fp32', 'fp16']"),
    ],
)
def test_misuse_is_said_in_one_line(arguments, status, words, tmp_path):
    done = run(*arguments, "--to", "onnxruntime", "--out", tmp_path / "e")
    assert done.exit_code == status, done.output
    assert words in done.output
    assert not (tmp_path / "e").exists()


def test_pytorch_for_a_card(tmp_path):
    small = ("--width", "0.0625", "--size", "64x64", "--precision", "fp16", "--random")
    done = run("unet", *small, "--to", "torch", "--device", "cuda", "--out", tmp_path / "e")
    assert done.exit_code == 0, done.output
    assert "fp16 for torch" in done.output
    assert "not yet verified on a GPU" in done.output
    (entry,) = json.loads((tmp_path / "e" / "engine.json").read_text())["networks"].values()
    assert (entry["target"], entry["file"], entry["verified"]) == ("sm_75+ptx", "unet.safetensors", False)


def test_steps_are_said_where_there_is_no_bar(tmp_path):
    done = run("unet", "--to", "onnxruntime", "--out", tmp_path / "e", *SMALL)
    assert "unet: comparing\n" in done.stderr
    assert "Compiling networks: 1 of 1" in done.stderr
    assert "comparing" not in done.stdout


def test_a_card_named_twice_is_one(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mammofast.compilation.bundle.compile_engine", lambda choice, target, *rest: seen.append(target)
    )
    run(
        *("unet", "--to", "tensorrt-rtx", "--random", "--out", tmp_path / "e"),
        *("--compute-capability", "8.6", "--compute-capability", "8.9", "--compute-capability", "8.6"),
    )
    assert seen[0].compute_capabilities == ("8.6", "8.9")


def test_random_weights_beside_complete_ones_are_misuse(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(create("unet", width=0.0625).state_dict(), path)
    done = run("unet", "--weights", path, "--random", "--to", "onnxruntime", "--out", tmp_path / "e")
    assert done.exit_code == 2
    assert "--random: all weights are given" in done.output


def test_a_folder_that_is_not_empty_is_misuse(tmp_path):
    (tmp_path / "mine").write_text("mine")
    done = run("unet", "--random", "--to", "onnxruntime", "--out", tmp_path)
    assert done.exit_code == 2
    assert "not empty" in done.output
