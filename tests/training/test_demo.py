"""The one command that makes the demo: phantoms, both trainings, calibration, bundle, measure."""

import json

import pytest

from mammofast.bundles import load_bundle
from mammofast.training import demo
from mammofast.training.recipe_files import read_recipe

CHANGES = {"training.epochs": 1, "network.options.width": 0.1, "training.average": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    lines = []
    record = demo.make_demo(
        folder / "bundle", folder / "runs", studies=2, calibration=1, check=1, changes=CHANGES, say=lines.append
    )
    return folder, record, lines


def test_it_is_a_bundle_as_the_demo_is(made):
    folder, record, _ = made
    bundle, shipped = load_bundle(folder / "bundle"), load_bundle("demo")
    for name in ("name", "method", "notice", "accepts"):
        assert getattr(bundle, name) == getattr(shipped, name), name
    assert set(bundle.networks) == set(shipped.networks)
    assert set(bundle.parameters) == set(shipped.parameters)
    fitted = {"anchors"}
    for name in set(bundle.parameters) - fitted:
        assert bundle.parameters[name] == shipped.parameters[name], name
    assert json.loads((folder / "bundle" / "training.json").read_text()) == record
    assert record["measured"]["images"] == 4


def test_what_was_trained_is_what_the_recipes_say(made):
    folder, record, _ = made
    for role, name in demo.RECIPES.items():
        assert record["networks"][role]["recipe"] == name
        assert record["networks"][role]["epochs"] == 1
        tables = json.loads((folder / "runs" / role / "run.json").read_text())["tables"]
        assert tables["training"] == dict(read_recipe(name, CHANGES).source)["training"]


def test_it_goes_on_where_it_was(made):
    folder, record, lines = made
    before = len([line for line in lines if "epoch 1," in line])
    again = demo.make_demo(
        folder / "again", folder / "runs", studies=2, calibration=1, check=0, changes=CHANGES, say=lines.append
    )
    assert len([line for line in lines if "epoch 1," in line]) == before == 2
    assert again["networks"] == record["networks"]
    assert load_bundle(folder / "again").id == load_bundle(folder / "bundle").id
