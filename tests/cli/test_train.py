"""``mammofast train`` as it is typed."""

import json
import signal
import subprocess
import sys
import time

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.datasets import read_folder
from mammofast.datasets.splits import Split, write_splits

SMALL = ["--epochs", "1", "--width", "0.0625", "--size", "32x32"]


@pytest.fixture
def data(tmp_path):
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    for k in range(5):
        image = rng.integers(0, 50, (96, 64)).astype(np.uint16)
        mask = np.zeros((96, 64), np.uint8)
        image[:, :48] += 400
        mask[20 + k : 40 + k, 10:30] = 255
        image[mask > 0] += 400
        for place, pixels in (("images", image), ("masks", mask)):
            (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / place / f"{k}.png").write_bytes(imagecodecs.png_encode(pixels))
    return folder


def invoke(*words):
    return CliRunner().invoke(main, ["train", *map(str, words)])


def test_list():
    rows = invoke("--list").stdout.splitlines()
    assert any(row.startswith("p2-aunet ") and "P2" in row for row in rows)
    listed = json.loads(invoke("--list", "--json").stdout)
    assert {"name": "p3-dilation10", "paper": "P3", "task": "segmentation"}.items() <= next(
        each for each in listed if each["name"] == "p3-dilation10"
    ).items()
    assert len(listed) == len(rows)


def test_help_has_an_example():
    assert "Example: mammofast train p2-aunet" in invoke("--help").stdout


def test_from_images_to_a_bundle_that_screens(data, tmp_path):
    import mammofast

    out = tmp_path / "run"
    done = invoke("p2-aunet", "--data", f"folder:{data}", "--out", out, *SMALL)
    assert done.exit_code == 0, done.output
    assert "stage inbreast: left out" in done.stdout
    assert "cbis-ddsm: epoch 1, rate 0.0001, loss " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("best epoch: dice ")
    with mammofast.open_bundle(out / "bundle") as screener:
        assert screener.bundle.name == "p2-aunet"
        assert screener.screen(np.random.default_rng(0).integers(0, 999, (96, 64))).error is None
    again = invoke("p2-aunet", "--data", f"folder:{data}", "--out", out, *SMALL, "--resume", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["measures"].keys() == {"dice", "iou", "sensitivity"}
    strict = invoke(*["p2-aunet", "--data", f"folder:{data}", "--out", out, *SMALL, "--resume"],
                    *["--bundle", tmp_path / "strict", "--budget", 1e-12])  # fmt: skip
    assert strict.exit_code == 1
    assert "The training is whole: --resume --budget E compiles it again" in strict.stderr
    assert not (tmp_path / "strict").exists()
    once_more = invoke("p2-aunet", "--data", f"folder:{data}", "--out", out, *SMALL)
    assert once_more.exit_code == 1
    assert "not empty; name a new one, or say --resume" in once_more.stderr


def test_a_splits_test_side_is_not_seen(data, tmp_path):
    known = read_folder(data)
    names = [sample.name for sample in known]
    write_splits(tmp_path / "splits.json", known, [Split(tuple(names[:2]), tuple(names[2:])), Split((names[4],), ())])
    out = tmp_path / "run"
    done = invoke(
        "p2-unet", "--data", f"folder:{data}", "--split", f"{tmp_path / 'splits.json'}#1", "--out", out, *SMALL
    )
    assert done.exit_code == 0, done.output
    stages = json.loads((out / "run.json").read_text())["stages"]["cbis-ddsm"]
    assert (len(stages["training"]), len(stages["validation"])) == (1, 1)


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "expected RECIPE, --data and --out"),
        (["p2-aunt", "--data", "folder:x", "--out", "y"], "did you mean p2-aunet"),
        (["p2-aunet", "--data", "folder", "--out", "y"], "--data folder: expected LAYOUT:DIR"),
        (["p2-aunet", "--data", "zip:x", "--out", "y"], "LAYOUT one of inbreast"),
        (["p2-aunet", "--data", "folder:none", "--out", "y"], "--data folder:none: no such folder"),
        (["p2-aunet", "--data", "folder:x", "--out", "y", "--size", "3"], "--size 3: expected ROWSxCOLS"),
        (["p2-aunet", "--data", "folder:x", "--out", "y", "--set", "loss"], "--set loss: expected KEY=VALUE"),
        (["p2-aunet", "--data", "folder:x", "--out", "y", "--set", "loss.nam=dice"], "unknown entries ['nam']"),
        (["p2-aunet", "--data", "folder:x", "--out", "y", "--with", "segmenter=z"], "is what this recipe trains"),
        (
            ["p2-aunet", "--data", "folder:x", "--out", "y", "--with", "detector=z"],
            "--with detector: whole_image has no such network beside its segmenter; expected none",
        ),
        (
            ["p4-yolov3", "--data", "folder:x", "--out", "y", "--with", "segmnter=z"],
            "--with segmnter: two_stage has no such network beside its detector; expected segmenter",
        ),
        (
            ["p4-yolov3", "--data", "folder:x", "--out", "y", "--with", "segmenter=z"],
            "--with segmenter: there is no finished training; train it first",
        ),
        (["p2-aunet", "--data", "folder:x", "--out", "y", "--start", "no.pt"], "File 'no.pt' does not exist"),
        (["p2-aunet", "--data", "folder:x", "--out", "y", "--budget", "2"], "budget: got 2.0"),
        (["p3-fcn-cityscapes", "--data", "folder:x", "--out", "y", "--bundle", "z"], "ends in no bundle"),
    ],
)
def test_misuse(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(*words)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split()).replace("│ ", "")


@pytest.mark.parametrize(
    "recipe, colours, said",
    [
        ("p2-unet", True, "got an image with colours, expected shades of grey"),
        ("p4-yolov3", True, "got an image with colours, expected shades of grey"),
        ("p4-unet", True, "got an image with colours, expected shades of grey"),
        ("p3-fcn-cityscapes", False, "got shades of grey, expected colours"),
        ("p5-unet-pp", False, "got an image, expected a volume: give a data set of DCE-MRI"),
        ("p5-faster-rcnn", False, "got an image, expected a volume: give a data set of DCE-MRI"),
    ],
)
def test_the_wrong_kind_of_data_is_said_without_a_name(recipe, colours, said, tmp_path):
    for place, pixels in (
        ("images", np.zeros((96, 64, 3)[: 3 if colours else 2], np.uint8)),
        ("masks", np.zeros((96, 64), np.uint8)),
    ):
        (tmp_path / "data" / place).mkdir(parents=True)
        (tmp_path / "data" / place / "SECRET^NAME.png").write_bytes(imagecodecs.png_encode(pixels))
    done = invoke(recipe, "--data", f"folder:{tmp_path / 'data'}", "--out", tmp_path / "run", "--epochs", "1")
    assert done.exit_code == 1, done.output
    assert f"none of 1 images can be used; the first: {said}" in done.stderr
    assert "SECRET" not in done.output + done.stderr


def test_what_was_wrong_is_corrected_and_said_again(data, tmp_path):
    """A training that failed before it learned leaves nothing in its corrected command's way."""
    words = ["p2-unet", "--out", tmp_path / "run", *SMALL]
    empty = tmp_path / "empty"
    for place in ("images", "masks"):
        (empty / place).mkdir(parents=True)
        (empty / place / "0.png").write_bytes(imagecodecs.png_encode(np.zeros((96, 64, 3), np.uint8)))
    failed = invoke(*words, "--data", f"folder:{empty}")
    assert failed.exit_code == 1
    assert "none of 1 images can be used" in failed.stderr
    done = invoke(*words, "--data", f"folder:{data}")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "bundle").is_dir()


def test_what_of_the_data_cannot_be_used_is_counted_and_listed_on_demand(data, tmp_path):
    (data / "masks" / "3.png").unlink()
    # Refused once the data are read.
    words = ["p2-unet", "--data", f"folder:{data}", "--out", tmp_path / "run", "--split", "a", "--split", "b"]
    assert "data: 1 left out, --verbose says why\n" in invoke(*words).stderr
    assert "left out: 3.png: the folder masks has no" in invoke(*words, "--verbose").stderr
    assert "left out" not in invoke(*words, "--quiet", "--verbose").stderr


def test_splits_for_each_data_set(data, tmp_path):
    both = ["--data", f"folder:{data}", "--data", f"folder:{data}"]
    done = invoke("p2-aunet", *both, "--split", "a#1", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "got 1 --split for 2 --data" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint(number, data, tmp_path, elsewhere):
    out = tmp_path / "run"
    words = ["p2-aunet", "--data", f"folder:{data}", "--out", str(out), "--epochs", "9999", *SMALL[2:]]
    command = [sys.executable, "-m", "mammofast", "train", *words]
    # Ignored where a shell runs the tests in its background, and then by what is started here.
    before = signal.signal(number, signal.SIG_DFL)
    process = subprocess.Popen(command, **elsewhere, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(number, before)
    with process:
        deadline = time.monotonic() + 120
        while not (out / "last.safetensors").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command with --resume goes on from there" in stderr
    assert "Traceback" not in stderr
    from mammofast.training.checkpoint import read_facts

    assert read_facts(out / "last.safetensors")["position"]["epoch"] >= 1
    assert (out / "curves.png").stat().st_size > 0
