import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from mammofast.datasets import Dataset
from mammofast.errors import ModelError, TrainingError
from mammofast.training.recipe_files import from_tables
from mammofast.training.trainer import _tell, train

TABLES = {
    "summary": "a small U-Net",
    "paper": "-",
    "task": "segmentation",
    "precision": "fp32",
    "validation": 0.3,
    "network": {"name": "unet", "options": {"width": 1 / 16}, "sizes": [[32, 32]]},
    "training": {"epochs": 3, "batch": 4},
    "loss": {"name": "dice+cross-entropy"},
    "optimizer": {"name": "sgd", "rate": 0.05},
    "bundle": {"method": "whole_image", "role": "segmenter"},
}
STILL = {"name": "sgd", "rate": 1e-30}


@pytest.fixture
def run(tiny, tmp_path):
    """Train TABLES, some of them changed, in a new folder."""

    def run(tables=None, data=None, split=None, **options):
        recipe = from_tables("small", TABLES | (tables or {}))
        data = data or tiny.phantoms()
        out = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return train(recipe, data, split or tiny.everything(data), out, cache=tiny.folder / "cache", **options)

    return run


def differ(a, b):
    return max(float((a[key].double() - b[key].double()).abs().max()) for key in a)


def test_it_learns_and_keeps_the_best_epoch(run):
    done = run({"training": {"epochs": 12, "batch": 4}, "optimizer": {"name": "adam", "rate": 1e-2}})
    losses = [entry["loss"] for entry in done.history]
    assert losses[-1] < 0.7 * losses[0]
    dices = [entry["dice"] for entry in done.history]
    assert done.measures["dice"] == max(dices)
    facts = json.loads((done.out / "log.jsonl").read_text().splitlines()[dices.index(max(dices))])
    assert facts["dice"] == done.measures["dice"]
    names = {"run.json", "train.safetensors", "weights.safetensors", "last.safetensors", "log.jsonl"}
    assert {path.name for path in done.out.iterdir()} == names | {"curves.png", "curves.svg"}


def test_a_batch_in_parts_is_the_same_step(run):
    """5 images train in batches of 4: the last batch, of one, has parts too, as many as it can."""
    whole, parts = (run({"training": {"epochs": 2, "batch": 4, "accumulate": n}}) for n in (1, 4))
    one, other = load_file(whole.weights), load_file(parts.weights)
    still = load_file(run({"optimizer": STILL}).weights)
    assert differ(one, still) > 1e-3, "it has learnt"
    assert differ(one, other) < 1e-6
    assert whole.history[0]["loss"] == pytest.approx(parts.history[0]["loss"], rel=1e-5)


def test_patience(run):
    done = run({"optimizer": STILL, "training": {"epochs": 9, "batch": 4, "patience": 2}})
    assert len(done.history) == 3, "the first epoch was the best, and two are waited for"


def test_without_validation_the_last_epoch_is_taken(run):
    done = run({"validation": 0})
    assert done.measures == {}
    last = load_file(done.out / "last.safetensors")
    assert differ(load_file(done.weights), {key: last[f"network.{key}"] for key in load_file(done.weights)}) == 0


def test_the_average_is_what_is_kept(run):
    done = run({"validation": 0, "training": {"epochs": 3, "batch": 4, "average": 50}})
    last, kept = load_file(done.out / "last.safetensors"), load_file(done.weights)
    assert differ(kept, {key: last[f"average.{key}"] for key in kept}) == 0
    assert differ(kept, {key: last[f"network.{key}"] for key in kept}) > 1e-4


def test_start(run, tiny):
    first = run()
    begun = run({"optimizer": STILL}, start=first.weights)
    assert differ(load_file(begun.weights), load_file(first.weights)) == 0
    with pytest.raises(ModelError, match=r"missing .*; unexpected .*; of another shape"):
        run({"network": {"name": "aunet", "sizes": [[32, 32]]}}, start=first.weights)


def test_limit(run):
    done = run(limit=2)
    assert [len(done.history), len(json.loads((done.out / "run.json").read_text())["stages"]["train"]["training"])] == [
        3,
        2,
    ]


def test_stages_that_do_not_fit_one_another(run):
    wider = {"name": "b", "network": {"options": {"width": 1 / 8}}}
    with pytest.raises(TrainingError, match=r"stage 'b': .* expected networks of one width"):
        run({"stages": [{"name": "a"}, wider]})


def test_the_second_data_set(run, tiny):
    stages = {"stages": [{"name": "a"}, {"name": "b", "data": 2}], "training": {"epochs": 1, "batch": 4}}
    said = []
    alone = run(stages, say=said.append)
    assert [entry["stage"] for entry in alone.history] == ["a"]
    assert said[0] == "stage b: left out, it wants a data set number 2"
    both = (tiny.phantoms(), tiny.phantoms(seed=3))
    fine_tuned = run(stages, both, [tiny.everything(each) for each in both], say=said.append)
    assert [entry["stage"] for entry in fine_tuned.history] == ["a", "b"]
    assert any(words.startswith("stage b: begins with 46 of 46 tensors") for words in said)
    with pytest.raises(TrainingError, match="expected one split for each"):
        run(stages, both, tiny.everything(both[0]))
    with pytest.raises(TrainingError, match="no stage is for the first data set alone"):
        run({"stages": [{"name": "b", "data": 2}]})


def test_bf16_learns_the_same_to_its_precision(run):
    full, half = (run({"precision": name, "validation": 0}) for name in ("fp32", "bf16"))
    assert load_file(half.weights)["head.weight"].dtype == torch.float32
    assert 0 < differ(load_file(full.weights), load_file(half.weights)) < 0.02


def test_images_left_out_are_said(run, tiny, tmp_path):
    data = tiny.phantoms()
    broken = tmp_path / "SECRET.dcm"
    broken.write_bytes(b"nothing")
    from dataclasses import replace

    samples = (*data.samples[:5], replace(data.samples[5], image=broken))
    said = []
    run(None, Dataset("some", samples), tiny.everything(samples), say=said.append)
    (words,) = (line for line in said if line.startswith("left out"))
    assert "not-dicom" in words
    assert "SECRET" not in words


@pytest.mark.parametrize(("dice", "epoch", "is_said"), [(None, 1, True), (None, 2, False), (0.5, 1, False)])
def test_measures_of_nothing_are_said_once(dice, epoch, is_said, tmp_path):
    entry = {"stage": "a", "epoch": epoch, "rate": 0.1, "loss": 1.0, "dice": dice, "seconds": 1.0}
    said = []
    _tell(SimpleNamespace(out=tmp_path, history=[entry]), entry, said.append)
    assert any("the last epoch is kept" in words for words in said) == is_said
