"""A training that was interrupted goes on to the bit as if it had not been."""

import errno
import os
import signal
import time
from contextlib import contextmanager

import pytest
import torch

from mammofast.errors import TrainingError
from mammofast.training import folder
from mammofast.training.checkpoint import read_checkpoint
from mammofast.training.folder import alone
from mammofast.training.recipe_files import from_tables
from mammofast.training.trainer import Stopped, train

# All that has a state or is drawn: dropout, augmentation, crops of a batch, Adam's moments, the average, two stages.
TABLES = {
    "summary": "everything at once",
    "paper": "-",
    "task": "segmentation",
    "precision": "fp32",
    "validation": 0.2,
    "network": {"name": "aspp-fc-densenet", "options": {"width": 0.1}, "sizes": [[32, 32]]},
    "training": {"epochs": 2, "batch": 2, "accumulate": 2, "average": 5, "clip": 1.0},
    "loss": {"name": "dice+cross-entropy", "weights": "inverse-frequency"},
    "optimizer": {"name": "adam", "amsgrad": True, "rate": 1e-3},
    "schedule": {"name": "cosine", "warm_up": 2},
    "augmentation": {"flip": True, "contrast": 0.3, "brightness": 0.1},
    "examples": {"subtract_mean": True},
    "bundle": {"method": "whole_image", "role": "segmenter"},
    "stages": [{"name": "first"}, {"name": "second", "optimizer": {"name": "sgd", "rate": 1e-2, "momentum": 0.9}}],
}


def run(tiny, out, interrupt_after=None, tables=TABLES, **options):
    """Train; or, after so many batches of this call, send this process a SIGTERM."""
    data = tiny.phantoms()
    behind = 0

    @contextmanager
    def progress(words, total):
        def advance(n):
            nonlocal behind
            behind += n if words.startswith("Training") else 0
            if behind == interrupt_after:
                os.kill(os.getpid(), signal.SIGTERM)

        yield advance

    recipe = from_tables("everything", tables)
    options = {"cache": tiny.folder / "cache", **options}
    return train(recipe, data, tiny.everything(data), out, progress=progress, **options)


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    return run(tiny, tmp_path_factory.mktemp("undisturbed") / "run")


def state(folder, name):
    tensors, facts = read_checkpoint(folder / name)
    facts.pop("history", None)
    return tensors, facts


# 7 images, 6 of them train: 3 batches an epoch. In the midst of epoch 1, at its end, in the second stage.
@pytest.mark.parametrize("moments", [(1,), (3,), (5, 3), (8,)])
def test_resumed_is_undisturbed(tiny, tmp_path, undisturbed, moments):
    out = tmp_path / "run"
    for resumed, moment in enumerate(moments):
        with pytest.raises(Stopped, match="--resume goes on"):
            run(tiny, out, moment, resume=resumed > 0)
    again = run(tiny, out, resume=True)
    for name in ("first.safetensors", "second.safetensors", "weights.safetensors", "last.safetensors"):
        (tensors, facts), (expected, expected_facts) = state(out, name), state(undisturbed.out, name)
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[key], expected[key]) for key in expected), name
        assert facts == expected_facts
    strip = [{key: value for key, value in entry.items() if key != "seconds"} for entry in again.history]
    assert strip == [{k: v for k, v in entry.items() if k != "seconds"} for entry in undisturbed.history]
    assert (out / "log.jsonl").read_text().count("\n") == 4


def test_workers_change_nothing(tiny, tmp_path, undisturbed):
    first = TABLES | {"stages": TABLES["stages"][:1]}
    other = run(tiny, tmp_path / "run", tables=first, workers=2, cache=tmp_path / "cache")
    tensors, expected = (state(folder, "first.safetensors")[0] for folder in (other.out, undisturbed.out))
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)


def test_another_seed_is_another_training(tiny, tmp_path, undisturbed):
    other = run(tiny, tmp_path / "run", tables=TABLES | {"seed": 1})
    tensors, expected = state(other.out, "weights.safetensors")[0], state(undisturbed.out, "weights.safetensors")[0]
    assert not any(torch.equal(tensors[key], expected[key]) for key in expected if key.endswith("conv.weight"))


def test_a_finished_training_resumes_to_the_same(tiny, tmp_path, undisturbed):
    out = tmp_path / "run"
    first = run(tiny, out)
    before = (out / "weights.safetensors").read_bytes()
    assert run(tiny, out, resume=True).measures == first.measures
    assert (out / "weights.safetensors").read_bytes() == before


def test_a_folder_in_use_is_refused(tiny, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        run(tiny, out, 1)
    with pytest.raises(TrainingError, match="not empty"):
        run(tiny, out)
    with pytest.raises(TrainingError, match=r"tables, optimizer.rate was 0.001 and is 0.002"):
        run(tiny, out, tables=TABLES | {"optimizer": TABLES["optimizer"] | {"rate": 2e-3}}, resume=True)
    with pytest.raises(TrainingError, match=r"settings, limit was None and is 3"):
        run(tiny, out, resume=True, limit=3)


@pytest.mark.parametrize("resume", [False, True])
def test_what_failed_before_its_first_checkpoint_is_begun_anew(tiny, tmp_path, undisturbed, resume):
    """Nothing is lost by it, and the images it has prepared are used."""
    out = tmp_path / "run"
    astray = TABLES | {"optimizer": {"name": "sgd", "rate": 1e30}, "schedule": {}}
    with pytest.raises(TrainingError, match="epoch 1, batch"):
        run(tiny, out, tables=astray, cache=None)
    assert sorted(path.name for path in out.iterdir()) == ["examples", "run.json"]
    prepared = {path: path.stat().st_mtime_ns for path in out.glob("examples/*/names.json")}
    (out / ".first.safetensors").write_bytes(b"the disk was full")
    run(tiny, out, resume=resume, cache=None)
    tensors, expected = state(out, "weights.safetensors")[0], state(undisturbed.out, "weights.safetensors")[0]
    assert all(torch.equal(tensors[key], expected[key]) for key in expected)
    assert {path: path.stat().st_mtime_ns for path in out.glob("examples/*/names.json")} == prepared != {}


@pytest.mark.parametrize("name, text", [("notes.txt", ""), ("run.json", '{"format": 1}'), ("run.json", "SECRET")])
def test_what_others_have_in_a_folder_is_not_touched(tiny, tmp_path, name, text):
    out = tmp_path / "run"
    out.mkdir()
    (out / name).write_text(text)
    with pytest.raises(TrainingError, match="not empty"):
        run(tiny, out)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, text)]


def test_what_others_have_beside_a_training_that_failed_is_not_touched(tiny, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match="no example to learn from"):
        run(tiny, out, limit=0)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="not empty"):
        run(tiny, out)


def test_two_trainings_never_share_a_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_ORPHANS_SECONDS", 0.1)
    out = tmp_path / "run"

    @contextmanager
    def meanwhile(words, total):
        with pytest.raises(TrainingError, match="another training is at work in the folder"):
            run(tiny, out)
        assert not (out / "last.safetensors").exists()
        raise TrainingError("that was all")
        yield

    data = tiny.phantoms()
    with pytest.raises(TrainingError, match="that was all"):
        train(from_tables("everything", TABLES), data, tiny.everything(data), out, progress=meanwhile)
    with pytest.raises(Stopped):
        run(tiny, out, 1)


def test_what_a_killed_training_left_running_is_waited_for(tmp_path):
    with alone(tmp_path) as locked:
        assert locked
        child = os.fork()
        if not child:
            time.sleep(0.5)  # the lock is its own, too
            os._exit(0)
    begun = time.monotonic()
    with alone(tmp_path):
        assert time.monotonic() - begun > 0.3
    os.waitpid(child, 0)


def test_where_folders_cannot_be_locked_what_failed_is_not_begun_anew(tiny, tmp_path, monkeypatch):
    def unlockable(descriptor, operation):
        raise OSError(errno.EBADF, "as on NFS")

    monkeypatch.setattr("fcntl.flock", unlockable)
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match="no example to learn from"):
        run(tiny, out, limit=0)
    before = (out / "run.json").read_bytes()
    with pytest.raises(TrainingError, match="not empty"):
        run(tiny, out)
    assert (out / "run.json").read_bytes() == before


def test_other_data_are_refused(tiny, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        run(tiny, out, 1)
    data = tiny.phantoms(seed=3)
    with pytest.raises(TrainingError, match="not those that the training was begun with"):
        train(from_tables("everything", TABLES), data, tiny.everything(data), out, resume=True)


def test_a_loss_that_is_not_finite_ends_with_words(tiny, tmp_path):
    tables = TABLES | {"optimizer": {"name": "sgd", "rate": 1e30}, "stages": [{"name": "only"}], "schedule": {}}
    with pytest.raises(TrainingError, match=r"stage 'only', epoch \d, batch \d: the network's loss is (nan|inf)"):
        run(tiny, tmp_path / "run", tables=tables | {"training": {"epochs": 3, "batch": 2}})
