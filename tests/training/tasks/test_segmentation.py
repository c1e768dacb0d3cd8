"""Segmentation as a task: what measuring keeps in memory."""

import pytest
import torch
from torch import nn

from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task


@pytest.mark.parametrize("name", ["p1-aspp-fc-densenet", "p3-fcn-cityscapes"])
def test_images_are_measured_one_after_the_other(name):
    recipe = read_recipe(name)
    task = make_task(recipe, recipe.stages[-1])
    course = []

    class Network(nn.Module):
        def forward(self, image):
            course.append("measured")
            return torch.zeros(1, 19, *image.shape[2:])

    def batches():
        for _ in range(3):
            course.append("read")
            yield [{"image": torch.zeros(1, 1, 4, 4), "truth": torch.ones(4, 4, dtype=torch.uint8)}]

    task.measure(Network(), batches())
    assert course == ["read", "measured"] * 3
