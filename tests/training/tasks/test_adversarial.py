"""Generator and critic take turns: each learns in its own, and what it learns is what the paper says."""

import numpy as np
import pytest
import torch
from torch import nn

from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task
from mammofast.training.tasks.adversarial import Adversaries


@pytest.fixture
def task():
    recipe = read_recipe("p4-cgan", {"network.options.width": 0.05, "loss.width": 0.05})
    return make_task(recipe, recipe.stages[0])


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {"images": torch.rand(2, 3, 256, 256), "masks": torch.randint(0, 2, (2, 256, 256))}


def test_each_learns_in_its_own_turn(task, batch):
    network = task.network().train()
    mine, theirs = (list(task.learns(network, turn)) for turn in task.turns)
    assert task.turns == ("discriminator", "generator")
    assert {id(p) for p in mine} | {id(p) for p in theirs} == {id(p) for p in network.parameters()}
    assert not {id(p) for p in mine} & {id(p) for p in theirs}
    task.loss(network, batch, "discriminator").backward()
    assert all(p.grad is not None for p in mine)
    assert all(p.grad is None for p in theirs)
    network.zero_grad()
    task.loss(network, batch, "generator").backward()
    assert all(p.grad is not None for p in theirs)
    assert task.exported(network) is network.generator


class Scripted(Adversaries):
    """A generator that gives ``made``, and a critic sure of what it is told: true where the mask is ``true``."""

    def __init__(self, made, true, sure=3.0):
        nn.Module.__init__(self)
        self.made, self.true, self.sure = made, true, sure

    def forward(self, image, mask=None):
        if mask is None:
            return self.made
        return torch.full((len(image), 1, 4, 4), self.sure if torch.equal(mask, self.true) else -self.sure)


def soft_dice(p, t):
    return np.mean([(2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1) for a, b in zip(p, t, strict=True)])


def test_losses_are_the_papers(task, batch):
    truth = batch["masks"].numpy().astype(float)
    true = torch.from_numpy(2 * truth - 1).float()[:, None].expand(-1, 3, -1, -1)
    made = torch.tanh(torch.randn(2, 3, 256, 256))
    network = Scripted(made, true)
    right, wrong = np.log1p(np.exp(-3)), np.log1p(np.exp(3))
    assert float(task.loss(network, batch, "discriminator")) == pytest.approx(right, rel=1e-5)
    probability = (made[:, 0].numpy().astype(float) + 1) / 2
    expected = wrong + 150 * (1 - soft_dice(probability, truth))
    assert float(task.loss(network, batch, "generator")) == pytest.approx(expected, rel=1e-4)
    # A generator that gives the truth is taken for true by this critic, and there is nothing left to learn.
    assert float(task.loss(Scripted(true, true), batch, "generator")) == pytest.approx(right, abs=1e-3)


def test_the_critics_logits_are_its_verdict_before_the_sigmoid(task, batch):
    network = task.network().eval()
    mask = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        verdict = network.discriminator(torch.cat([batch["images"], mask], dim=1))
        torch.testing.assert_close(torch.sigmoid(network(batch["images"], mask)), verdict)


def test_its_masks_are_measured_as_they_will_be_cut(task):
    masks = torch.zeros(1, 8, 8, dtype=torch.int64)
    masks[:, :4] = 1
    made = torch.full((1, 3, 8, 8), -0.1)
    made[:, 0, :4] = 0.1
    found = task.measure(Scripted(made, made), [{"images": torch.zeros(1, 3, 8, 8), "masks": masks}])
    assert found == {"dice": 1.0}
