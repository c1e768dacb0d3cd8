"""Make the bundle that comes with mammofast, from its recipes and phantoms.

    python -m mammofast.training.demo --out DIR [--runs DIR] [--studies N] [--check N]

Draws the phantoms, trains the recipes demo-detector and demo-segmenter, writes the bundle, and measures it on phantoms
of their own. What was interrupted goes on with the same command. On one processor, with one version of PyTorch, the
same arguments give the same networks.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from mammofast.datasets import Dataset, Split
from mammofast.phantom.plan import Mix, Purpose, plan_studies
from mammofast.training.bundle import write_bundle
from mammofast.training.measure import measure
from mammofast.training.phantoms import draw_phantoms
from mammofast.training.recipe import read_recipe
from mammofast.training.trainer import train

RECIPES = {"detector": "demo-detector", "segmenter": "demo-segmenter"}
# More masses, pairs and subtle ones than in a standard set: there is more to learn from each image.
MIX = Mix(with_mass=0.7, with_two=0.25, subtle=0.35)
# Studies are drawn in sets, each a seed of its own; sets 1, 2, … train.
SET_STUDIES = 100
CHECK_SEED = 2


def make_demo(
    out: Path, runs: Path, *, studies: int, check: int, changes: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:  # fmt: skip
    """Train both recipes, write the bundle and return what was measured.

    Parameters
    ----------
    out: the bundle's folder, which does not exist yet. runs: of the trainings, which go on there.
    studies: to train on. check: studies to measure the bundle on; 0 for none. changes: to both recipes.
    say: told what happens, a line at a time.
    """
    sizes = [min(SET_STUDIES, studies - done) for done in range(0, studies, SET_STUDIES)]
    drawn = [draw_phantoms(n, seed, Purpose.TRAINING, MIX) for seed, n in enumerate(sizes, start=1)]
    data = Dataset("training-phantoms", tuple(sample for each in drawn for sample in each))
    split = Split(tuple(sample.name for sample in data), ())
    record: dict[str, Any] = {"made_by": "python -m mammofast.training.demo", "studies": studies, "networks": {}}
    for role, name in RECIPES.items():
        recipe = read_recipe(name, changes)
        trained = train(recipe, data, split, runs / role, resume=True, cache=runs / "examples", device="cpu", say=say)
        record["networks"][role] = {
            "recipe": name,
            "epochs": len(trained.history),
            "seconds": round(sum(epoch["seconds"] for epoch in trained.history)),
            "validation": trained.measures,
        }
    write_bundle({role: runs / role for role in RECIPES}, out, name="demo")
    if check:
        views = [view for study in plan_studies(check, CHECK_SEED, Purpose.VALIDATION) for view in study]
        record["measured"] = {"studies": check} | measure(out, views).as_dict()
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


@click.command(help="Make the bundle that comes with mammofast, from its recipes and phantoms.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle's folder; a new one.")
@click.option("--runs", type=click.Path(path_type=Path), help="A folder that keeps the trainings, to go on with.")
@click.option("--studies", default=4 * SET_STUDIES, show_default=True, help="Phantom studies to train on.")
@click.option("--check", default=20, show_default=True, help="Studies to measure the bundle on; 0 for none.")
@click.option("--threads", default=1, show_default=True, help="Of PyTorch.")
def main(out: Path, runs: Path | None, studies: int, check: int, threads: int) -> None:
    """Run it all."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        record = make_demo(out, runs or Path(scratch) / "runs", studies=studies, check=check, say=click.echo)
    click.echo(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
