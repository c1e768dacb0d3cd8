import tomllib
from importlib.resources import files

import pytest

from mammofast.errors import TrainingError
from mammofast.models import find
from mammofast.training.recipe_files import changed, from_tables, read_recipe, recipes

LEAST = {
    "summary": "the least that a recipe says",
    "paper": "-",
    "task": "segmentation",
    "network": {"name": "aunet"},
    "training": {"epochs": 2, "batch": 1},
    "optimizer": {"name": "adam", "rate": 1e-3},
    "loss": {"name": "dice"},
}


@pytest.mark.parametrize("name", recipes())
def test_those_that_come_with_mammofast(name):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    for stage in recipe.stages:
        entry = find(stage.network.name)
        assert recipe.paper in (entry.paper, "P1", "-"), "P1's baselines are also other papers' networks"
    # What was changed and written down is read back as the same.
    assert from_tables(name, recipe.source) == recipe


@pytest.mark.parametrize(
    "entry, value, words",
    [
        ("colour", 1, r"unknown entries \['colour'\]; expected some of \['bundle'"),
        ("name", "x", r"unknown entries \['name'\]; the file's name is the recipe's"),
        ("task", "sewing", "task: got 'sewing', expected one of segmentation"),
        ("precision", "fp16", "precision: got 'fp16', expected one of fp32, bf16"),
        ("validation", 1, "validation: got 1.0"),
        ("training.epochs", 0, "stage 'train': training: epochs: got 0"),
        ("training.epochs", 2.5, "epochs: got 2.5, expected int"),
        ("training.epochs", True, "epochs: got True, expected int"),
        ("training.accumulate", 2, "accumulate: got 2, expected a divisor of the batch, 1"),
        ("training.patients", 2, r"training: got unknown entries \['patients'\]"),
        ("optimizer.name", "lion", "optimizer: name: got 'lion'"),
        ("optimizer.rate", "fast", "rate: got 'fast', expected float"),
        ("optimizer.rate", -1, "rate: got -1.0, expected above 0"),
        ("optimizer.momentum", 0.9, "adam: has no momentum, but betas"),
        ("optimizer.betas", [0.9], r"betas: got \[0.9\], expected tuple"),
        ("network.sizes", [[3, 4, 5]], r"sizes: got \[3, 4, 5\]"),
        ("network.sizes", [3, 4], "sizes: got 3, expected tuple"),
        ("schedule", {"name": "steps"}, "steps: expected as many factors as epochs"),
        ("schedule", {"name": "steps", "factors": [1], "epochs": [1, 2]}, "as many factors"),
        ("schedule", {"name": "drop", "factor": 0.5}, "drop: expected every"),
        ("schedule", {"name": "constant", "every": 2}, "no other has them"),
        ("stages", [{"name": "a"}, {"name": "a"}], "different names"),
        ("stages", {"name": "a"}, r"stages: expected \[\[stages\]\] tables"),
        ("stages", [{}], r"lacks \['name'\]"),
        ("stages", [{"name": "a", "data": 0}], "data: got 0"),
        ("stages", [{"name": "a", "loss": "dice"}], "loss: got 'dice', expected a table"),
        ("network", None, r"stage 'train': lacks \['network'\]"),
        ("summary", None, r"lacks \['summary'\]"),
    ],
)
def test_what_is_wrong_is_named(entry, value, words):
    with pytest.raises(TrainingError, match=words):
        from_tables("mine", changed(LEAST, {entry: value}))


def test_defaults():
    recipe = from_tables("mine", LEAST)
    (stage,) = recipe.stages
    assert (stage.name, stage.data, stage.freeze, recipe.seed, recipe.precision) == ("train", 1, (), 0, "bf16")


def test_a_stage_restates_entries():
    tables = LEAST | {
        "schedule": {"name": "steps", "factors": [1], "epochs": [2]},
        "stages": [
            {"name": "a", "network": {"options": {"width": 0.5}}, "training": {"epochs": 7}},
            {"name": "b", "network": {"name": "unet-p2"}, "schedule": {"name": "drop", "every": 1, "factor": 0.1}},
        ],
    }
    a, b = from_tables("mine", tables).stages
    assert (a.network.name, a.network.options, a.training.epochs, a.training.batch) == ("aunet", {"width": 0.5}, 7, 1)
    assert (b.network.name, b.network.options, b.training.epochs) == ("unet-p2", {}, 2)
    assert (b.schedule.name, b.schedule.factors) == ("drop", ()), "another schedule takes nothing from the first"


def test_a_change_holds_for_every_stage_or_for_one():
    tables = LEAST | {"stages": [{"name": "a", "training": {"epochs": 7}}, {"name": "b"}]}
    all_of_them = from_tables("mine", changed(tables, {"training.epochs": 1, "loss.name": "cross-entropy"}))
    assert [stage.training.epochs for stage in all_of_them.stages] == [1, 1]
    assert [stage.loss for stage in all_of_them.stages] == [{"name": "cross-entropy"}] * 2
    one = from_tables("mine", changed(tables, {"stages.b.training.epochs": 3}))
    assert [stage.training.epochs for stage in one.stages] == [7, 3]
    assert tables["stages"][1] == {"name": "b"}, "the tables themselves stay"
    with pytest.raises(TrainingError, match="no stage 'c'"):
        changed(tables, {"stages.c.training.epochs": 3})
    with pytest.raises(TrainingError, match="'epochs' is no table"):
        changed(tables, {"training.epochs.more": 3})


def test_files(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "p2-aunet"\nsummary = "mine"\n[training]\nbatch = 2\n')
    recipe, base = read_recipe(mine), read_recipe("p2-aunet")
    assert recipe.name == "mine"
    assert [stage.name for stage in recipe.stages] == [stage.name for stage in base.stages]
    assert recipe.stages[0].training.batch == 2
    assert recipe.stages[0].training.epochs == base.stages[0].training.epochs
    for text, words in [
        ("summary = ", "recipe 'mine': is no TOML"),
        ('base = "mine"', "base: got 'mine', expected another recipe's name"),
        ('base = "no-such"', "no recipe is called 'no-such'"),
        ("base = 3", "base: got 3"),
    ]:
        mine.write_text(text)
        with pytest.raises(TrainingError, match=words):
            read_recipe(mine)
    with pytest.raises(TrainingError, match=r"no recipe is called 'p2-aunt'; did you mean p2-aunet"):
        read_recipe("p2-aunt")
    with pytest.raises(TrainingError, match="no recipe is called"):
        read_recipe(tmp_path / "none.toml")


def test_all_files_are_packaged():
    """What `recipes` lists is what lies beside it, and each of them parses by itself."""
    folder = files("mammofast.training").joinpath("recipes")
    assert len(recipes()) >= 10
    for name in recipes():
        tomllib.loads(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name, said",
    [  # as the papers have them
        ("p1-aspp-fc-densenet", {"epochs": 100, "batch": 1, "optimizer": ("adam", 1e-3, False), "size": (512, 512)}),
        ("p2-aunet", {"epochs": 120, "batch": 4, "optimizer": ("adam", 1e-4, True), "size": (256, 256)}),
        ("p2-fusionnet", {"epochs": 120, "batch": 4, "optimizer": ("adam", 1e-4, True), "size": (256, 256)}),
        ("p3-fcn", {"epochs": 100, "batch": 64, "optimizer": ("sgd", 1e-4, False), "size": (1408, 1408)}),
    ],
)
def test_the_papers_numbers(name, said):
    for stage in read_recipe(name).stages:
        o = stage.optimizer
        assert (stage.training.epochs, stage.training.batch) == (said["epochs"], said["batch"])
        assert (o.name, o.rate, o.amsgrad) == said["optimizer"]
        assert stage.network.sizes == (said["size"],)
