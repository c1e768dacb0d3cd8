"""Every recipe runs an epoch on tiny data, and what it trained compiles and screens."""

import numpy as np
import pytest

import mammofast
from mammofast.training.bundle import write_bundle
from mammofast.training.checkpoint import read_checkpoint
from mammofast.training.recipe_files import read_recipe, recipes

# Whose networks complete each other's bundle.
PARTNERS = {"demo-detector": "demo-segmenter", "demo-segmenter": "demo-detector", "p4-yolov3": "p4-unet"}


@pytest.mark.parametrize("name", recipes())
def test_an_epoch_compiles_and_screens(name, trained, archive, tmp_path):
    recipe = read_recipe(name)
    if recipe.bundle is not None and recipe.bundle.method == "volume":
        pytest.skip("volumes: see tests/training/test_volumes.py")
    run = trained(name)
    assert [entry["stage"] for entry in run.history] == [stage.name for stage in recipe.stages]
    assert all(np.isfinite(value) for entry in run.history for key, value in entry.items() if key.startswith("loss"))
    tensors, facts = read_checkpoint(run.weights)
    assert tensors
    assert facts["recipe"] == name
    assert facts["stages"][recipe.stages[-1].name]["training"]
    if recipe.bundle is None:
        return
    networks = {recipe.bundle.role: run.out}
    if recipe.bundle.method == "two_stage":
        partner = PARTNERS.get(name, "p4-yolov3")
        networks[read_recipe(partner).bundle.role] = trained(partner).out
    write_bundle(networks, tmp_path / "bundle")
    with mammofast.open_bundle(tmp_path / "bundle") as screener:
        results = screener.screen_images(list(mammofast.open_archive(archive).images()))
    assert [result.error for result in results] == [None] * 8
