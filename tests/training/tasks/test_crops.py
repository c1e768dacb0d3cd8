"""Crops: their windows, truth that turns with its crop, and which of a network's outputs learn."""

import numpy as np
import pytest
import torch

from mammofast.datasets import Sample
from mammofast.methods.two_stage import Candidate, TwoStage
from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task

SHAPE = (400, 300)
BOX = (60, 100, 160, 220)


def task_of(name="p4-unet", stage=0, **changes):
    recipe = read_recipe(name, changes)
    return make_task(recipe, recipe.stages[stage])


def windows(task, box=BOX, shape=SHAPE, count=200):
    rng = np.random.default_rng(0)
    return np.array([task._window(box, shape, rng) for _ in range(count)])


def test_the_papers_window_is_the_masses_box():
    assert (windows(task_of()) == BOX).all()


@pytest.mark.parametrize("margin", [0.0, 0.25, 2.0])
def test_a_margin_is_that_of_candidates(margin):
    """What ``TwoStage`` would cut out around a candidate of this very box."""

    class Case:
        class image:
            shape = SHAPE

        class candidates:
            boxes, scores, confidence = np.array([BOX]), np.ones(1), np.ones(1)

    Case.fused = Case.candidates
    method = TwoStage.__new__(TwoStage)
    task = task_of(**{"bundle.parameters.crop_margin": margin})
    method._parameters = task._method
    (candidate,) = method._candidates(Case)
    assert isinstance(candidate, Candidate)
    assert (windows(task) == candidate.window).all()


def test_imprecise_windows_stay_within_what_the_recipe_says():
    task = task_of("demo-segmenter")
    found = windows(task, shape=(2000, 2000), box=(900, 800, 1000, 920))
    centre = (found[:, :2] + found[:, 2:]) / 2 - [950, 860]
    sides = (found[:, 2:] - found[:, :2]) / [100, 120]
    assert (np.abs(centre) <= np.array([100, 120]) * 0.12 + 1).all()
    assert np.abs(centre).max() > 10
    # A quarter of the box more on each side, whatever the stretch.
    assert (sides >= 0.75 + 0.5 - 0.02).all()
    assert (sides <= 1.3 + 0.5 + 0.02).all()
    assert len(np.unique(found, axis=0)) > 150
    assert (windows(task, shape=(950, 980), box=(900, 800, 1000, 920)).max(axis=0) <= [980, 950, 980, 950]).all()


def drawn(tmp_path):
    """A sample with two squares, as files."""
    import imagecodecs

    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(100, 200, (2200, 1200), dtype=np.uint16), np.zeros((2200, 1200), np.uint8)
    pixels[:, :20] = 0
    for k, (x, y) in enumerate([(300, 400), (700, 1500)], start=1):
        labels[y : y + 200, x : x + 100] = k
    pixels[labels > 0] += 300
    for name, array in (("image", pixels), ("labels", labels)):
        (tmp_path / f"{name}.png").write_bytes(imagecodecs.png_encode(array))
    return Sample("a", "b", tmp_path / "image.png", labels=tmp_path / "labels.png")


def test_examples_are_the_same_each_time_and_show_the_mass(tmp_path):
    sample = drawn(tmp_path)
    (first, second) = task_of().prepare(sample)
    for example in (first, second):
        assert example["mask"].all(), "the mass fills its own box"
    task = task_of("demo-segmenter")
    examples, again = task.prepare(sample), task.prepare(sample)
    assert len(examples) == 4
    for one, other in zip(examples, again, strict=True):
        for name in ("crop", "mask"):
            np.testing.assert_array_equal(one[name], other[name])
        crop, mask = one["crop"].astype(int), one["mask"] > 0
        assert 0.2 < mask.mean() < 0.8
        assert crop[mask].min() > crop[~mask].max() - 40


def test_truth_turns_with_its_crop():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:32, :32]
    masks = [(np.hypot(y - a, x - b) < 6).astype(np.uint8) for a, b in rng.uniform(7, 25, (24, 2))]
    examples = [{"crop": mask * 150 + 40, "mask": mask} for mask in masks]
    task = task_of("demo-segmenter")
    batch = task.batch(examples, rng, 0)
    assert batch["images"].shape == (24, 1, 32, 32)
    assert batch["masks"].shape == (24, 32, 32)
    np.testing.assert_array_equal(batch["images"][:, 0].numpy() * 255 > 100, batch["masks"].numpy() > 0)
    turned = batch["masks"].numpy()
    assert sum(np.array_equal(a, b) for a, b in zip(turned, masks, strict=True)) < 12
    kept = task.batch(examples, None, 0)
    np.testing.assert_array_equal(kept["masks"].numpy(), np.stack(masks))


def test_levels_of_a_cascade_learn_one_by_one():
    torch.manual_seed(0)
    batch = {"images": torch.rand(1, 3, 64, 64), "masks": torch.randint(0, 2, (1, 64, 64))}
    for number, name in enumerate(("coarse", "middle", "fine")):
        task = task_of("p4-cascaded-unet", number, **{"network.options.width": 0.05})
        assert task.stage.name == name
        network = task.network().train()
        for parameter, value in network.named_parameters():
            value.requires_grad_(not parameter.startswith(tuple(task.stage.freeze)))
        task.loss(network, batch, "network").backward()
        learned = {key.split(".")[1] for key, p in network.named_parameters() if p.grad is not None and p.grad.any()}
        assert learned == {str(number)}
        # And it is this level that is measured.
        with torch.no_grad():
            outputs, measured = network(batch["images"]), network.eval()(batch["images"])
        torch.testing.assert_close(measured, outputs[number])
        others = [output if i == number else 7 * output + 1 for i, output in enumerate(outputs)]
        alone = [task.loss(lambda images, found=found: found, batch, "network") for found in (outputs, others)]
        torch.testing.assert_close(*alone, msg="the other levels' outputs cost nothing")


def test_the_measure_is_the_mean_dice_at_the_methods_threshold():
    task = task_of("demo-segmenter")
    masks = torch.zeros(2, 8, 8, dtype=torch.int64)
    masks[:, :4] = 1

    class Says(torch.nn.Module):
        def forward(self, images):
            logits = torch.full((2, 1, 8, 8), -5.0)
            logits[0, :, :4], logits[1, :, 2:4] = 5.0, 5.0
            return logits

    found = task.measure(Says(), [{"images": torch.zeros(2, 1, 8, 8), "masks": masks}])
    assert found == {"dice": pytest.approx((1 + 2 * 16 / (32 + 16)) / 2)}
