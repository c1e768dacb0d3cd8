"""The trainer's small parts: optimizers, rates, the average, sides, augmentation, pictures."""

import numpy as np
import pytest
import torch
from torch import nn

from mammofast.datasets import Dataset, Sample, Split
from mammofast.errors import TrainingError
from mammofast.training.augment import Augmentation, AugmentationTable
from mammofast.training.averaging import Average
from mammofast.training.curves import draw
from mammofast.training.fabric import make_fabric
from mammofast.training.optimizers import make_optimizer, rate_factor
from mammofast.training.recipe import OptimizerTable, Schedule
from mammofast.training.recipe_files import read_recipe
from mammofast.training.sides import divide


def factors(schedule, epochs):
    return [rate_factor(schedule, epochs, epoch, 0.0, 1000) for epoch in range(epochs)]


def test_p2s_rates():
    stage = read_recipe("p2-aunet").stages[0]
    rates = [stage.optimizer.rate * factor for factor in factors(stage.schedule, stage.training.epochs)]
    assert rates == pytest.approx([1e-4] * 40 + [5e-5] * 30 + [1e-5] * 30 + [1e-6] * 20)
    # A shorter training passes through all of them.
    assert factors(stage.schedule, 12) == [1.0] * 4 + [0.5] * 3 + [0.1] * 3 + [0.01] * 2


def test_p3s_rates():
    stage = read_recipe("p3-dilation10").stages[0]
    expected = [0.3 ** (epoch // 10) for epoch in range(100)]
    assert factors(stage.schedule, 100) == pytest.approx(expected)


def test_other_rates():
    assert factors(Schedule(), 3) == [1, 1, 1]
    cosine = Schedule(name="cosine", floor=0.1)
    assert rate_factor(cosine, 4, 0, 0.0, 0) == 1
    assert rate_factor(cosine, 4, 2, 0.0, 0) == pytest.approx(0.55)
    assert rate_factor(cosine, 4, 3, 1.0, 0) == pytest.approx(0.1)
    rising = Schedule(warm_up=4)
    assert [rate_factor(rising, 1, 0, 0.0, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_optimizers_take_what_learns():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    table = OptimizerTable(name="sgd", rate=0.1, momentum=0.9, weight_decay=0.005)
    optimizer = make_optimizer(table, network.parameters())
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in network[1].parameters()]
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.9, 0.005, 0.1)
    amsgrad = make_optimizer(OptimizerTable(name="adam", rate=1e-4, amsgrad=True), network.parameters())
    assert amsgrad.param_groups[0]["amsgrad"]
    network.requires_grad_(False)
    with pytest.raises(TrainingError, match="leave nothing to learn"):
        make_optimizer(table, network.parameters())


def test_the_average_follows():
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = Average(network, longest=4)
    nn.init.constant_(network[0].weight, 1.0)
    average.update(network, 0)
    assert average.network[0].weight.item() == 1, "the first step is all there is"
    expected = 1.0
    for step in range(1, 40):
        nn.init.constant_(network[0].weight, float(step))
        average.update(network, step)
        keep = 1 - 1 / min(step / 5 + 1, 4)
        expected = keep * expected + (1 - keep) * step
    assert average.network[0].weight.item() == pytest.approx(expected, rel=1e-5)
    assert not average.network.training


def patients(count, each=2):
    samples = tuple(Sample(f"{p}-{k}", str(p), None) for p in range(count) for k in range(each))
    return Dataset("some", samples)


def test_sides_are_apart_by_patients():
    data = patients(20)
    split = Split(
        tuple(s.name for s in data if int(s.patient) < 15), tuple(s.name for s in data if int(s.patient) >= 15)
    )
    sides = divide(data, split, 0.2, seed=0)
    training, validation = ({s.patient for s in side} for side in (sides.training, sides.validation))
    assert len(validation) == 3
    assert training | validation == {str(p) for p in range(15)}
    assert not training & validation
    assert divide(data, split, 0.2, seed=0) == sides
    assert divide(data, split, 0.2, seed=1) != sides
    assert divide(data, split, 0.0, seed=0).validation == ()
    limited = divide(data, split, 0.2, seed=0, limit=2)
    assert (len(limited.training), len(limited.validation)) == (2, 2)
    assert {s.name for s in limited.training} <= {s.name for s in sides.training}


def test_one_patient_trains_and_two_are_divided():
    for count, expected in ((1, 0), (2, 1)):
        data = patients(count)
        sides = divide(data, Split(tuple(s.name for s in data), ()), 0.01, seed=0)
        assert len({s.patient for s in sides.validation}) == expected
        assert sides.training
    with pytest.raises(TrainingError, match="has no training image"):
        divide(data, Split((), tuple(s.name for s in data)), 0.1, seed=0)


def test_augmentation_moves_image_and_truth_together():
    rng = np.random.default_rng(0)
    truth = (rng.random((12, 10)) > 0.5).astype(np.uint8)
    image = truth[None].astype(np.float32) * 0.5 + 0.25
    augmentation = Augmentation(AugmentationTable(flip=True, flip_rows=True))
    seen = set()
    for seed in range(40):
        moved, labels = augmentation(image, truth, np.random.default_rng(seed))
        assert np.array_equal(moved[0] > 0.5, labels == 1)
        assert (moved.dtype, labels.dtype) == (np.float32, np.uint8)
        again = augmentation(image, truth, np.random.default_rng(seed))
        assert np.array_equal(moved, again[0])
        seen.add(labels.tobytes())
    expected = {truth.tobytes(), truth[::-1].tobytes(), truth[:, ::-1].tobytes(), truth[::-1, ::-1].tobytes()}
    assert seen == expected


def test_augmentation_bends_grey_about_its_mean():
    image = np.linspace(0.3, 0.5, 120, dtype=np.float32).reshape(1, 12, 10)
    truth = np.zeros((12, 10), np.uint8)
    augmentation = Augmentation(AugmentationTable(contrast=0.3))
    spreads = []
    for seed in range(60):
        bent, _ = augmentation(image, truth, np.random.default_rng(seed))
        assert bent.mean() == pytest.approx(image.mean(), rel=1e-4)
        spreads.append(float(bent.std() / image.std()))
    assert 0.7 <= min(spreads) < 0.8 < 1.2 < max(spreads) <= 1.3
    assert 15 < sum(spread == pytest.approx(1, abs=1e-5) for spread in spreads) < 45, "half of them stay"
    wide = np.array([[[0.0, 1.0]]], np.float32)
    for seed in range(20):
        bent, _ = augmentation(wide, truth[:1, :2], np.random.default_rng(seed))
        assert 0 <= bent.min() <= bent.max() <= 1
    none = Augmentation(AugmentationTable())
    assert none(image, truth, np.random.default_rng(0))[0] is image


def test_pictures(tmp_path):
    draw([], "nothing yet", tmp_path)
    assert not list(tmp_path.iterdir())
    history = [
        {
            "stage": stage,
            "epoch": epoch,
            "rate": 0.1,
            "loss": 1 / epoch,
            "dice": None if epoch == 1 else 0.5,
            "seconds": 1,
        }
        for stage in ("first", "second")
        for epoch in (1, 2, 3)
    ]
    draw(history, "a title", tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "curves.svg").read_text()
    for words in ("a title", "loss", "dice", "second", "epoch"):
        assert words in svg
    before = svg
    draw(history, "a title", tmp_path)
    assert (tmp_path / "curves.svg").read_text() == before


def test_devices():
    assert make_fabric("auto", "bf16").device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert make_fabric("cpu", "fp32").device.type == "cpu"
    with pytest.raises(TrainingError, match="got 'gpu', expected auto, cpu, cuda"):
        make_fabric("gpu", "bf16")
    with pytest.raises(TrainingError, match="PyTorch sees"):
        make_fabric("cuda:99", "bf16")


def test_a_training_is_one_process_in_a_slurm_job_too(tmp_path, monkeypatch):
    """A batch script on two nodes of a cluster: what is started there once trains once, and warns of nothing."""
    (tmp_path / "srun").write_text("")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make_fabric("cpu", "fp32").world_size == 1
    where = {
        "NTASKS": 4,
        "PROCID": 1,
        "LOCALID": 1,
        "NODEID": 1,
        "JOB_NAME": "train",
        "NTASKS_PER_NODE": 2,
        "NNODES": 2,
    }
    for name, value in where.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    fabric = make_fabric("cpu", "fp32")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
