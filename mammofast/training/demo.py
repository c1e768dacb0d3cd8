"""Make the bundle that comes with mammofast, from its recipes and phantoms.

    python -m mammofast.training.demo --out DIR [--runs DIR] [--studies N] [--check N]

Draws the phantoms, trains the recipes demo-detector and demo-segmenter, writes the bundle, and measures it on phantoms
of their own. What was interrupted goes on with the same command. On one processor, with one version of PyTorch, the
same arguments give the same networks.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from mammofast.datasets import Dataset, Sample, Split
from mammofast.phantom.plan import Mix, Purpose, plan_studies
from mammofast.training.bundle import write_bundle
from mammofast.training.checkpoint import read_checkpoint, write_checkpoint
from mammofast.training.examples import prepare
from mammofast.training.measure import measure
from mammofast.training.phantoms import draw_phantoms
from mammofast.training.recipe import Recipe
from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task
from mammofast.training.trainer import WEIGHTS, train

RECIPES = {"detector": "demo-detector", "segmenter": "demo-segmenter"}
# More masses, pairs and subtle ones than in a standard set: there is more to learn from each image.
MIX = Mix(with_mass=0.7, with_two=0.25, subtle=0.35)
# Studies are drawn in sets, each a seed of its own; sets 1, 2, … train.
SET_STUDIES = 100
# Phantoms that calibrate are a standard set's: most images hold no mass, and there nothing silences what else is seen.
CALIBRATION_SEED, CHECK_SEED = 1, 2


def make_demo(
    out: Path, runs: Path, *, studies: int, calibration: int, check: int, changes: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:  # fmt: skip
    """Train both recipes, write the bundle and return what was measured.

    Parameters
    ----------
    out: the bundle's folder, which does not exist yet. runs: of the trainings, which go on there.
    studies: to train on. calibration: to set the objectness on. check: to measure the bundle on; 0 for none.
    changes: to both recipes. say: told what happens, a line at a time.
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
    samples = draw_phantoms(calibration, CALIBRATION_SEED, Purpose.VALIDATION).samples
    _calibrate(read_recipe(RECIPES["detector"], changes), runs / "detector", samples, runs / "examples")
    record["calibration"] = {"studies": calibration}
    write_bundle({role: runs / role for role in RECIPES}, out, name="demo")
    if check:
        views = [view for study in plan_studies(check, CHECK_SEED, Purpose.VALIDATION) for view in study]
        record["measured"] = {"studies": check} | measure(out, views).as_dict()
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _calibrate(recipe: Recipe, run: Path, samples: Sequence[Sample], cache: Path) -> None:
    """Finish a training once more, on these samples in place of those that chose its epoch."""
    stage = recipe.stages[-1]
    task = make_task(recipe, stage)
    tensors, best = read_checkpoint(run / f"{stage.name}.safetensors")
    task.use(best["stages"][stage.name]["fitted"])
    network = task.network()
    network.load_state_dict(tensors)
    task.finish(network.eval(), prepare(task, samples, cache).examples)
    _, facts = read_checkpoint(run / WEIGHTS)
    write_checkpoint(run / WEIGHTS, network.state_dict(), facts)


@click.command(help="Make the bundle that comes with mammofast, from its recipes and phantoms.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle's folder; a new one.")
@click.option("--runs", type=click.Path(path_type=Path), help="A folder that keeps the trainings, to go on with.")
@click.option("--studies", default=4 * SET_STUDIES, show_default=True, help="Phantom studies to train on.")
@click.option("--calibration", default=40, show_default=True, help="Phantom studies to calibrate on.")
@click.option("--check", default=20, show_default=True, help="Studies to measure the bundle on; 0 for none.")
@click.option("--threads", default=1, show_default=True, help="Of PyTorch.")
def main(out: Path, runs: Path | None, studies: int, calibration: int, check: int, threads: int) -> None:
    """Run it all."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        record = make_demo(
            out, runs or Path(scratch) / "runs", studies=studies, calibration=calibration, check=check, say=click.echo
        )
    click.echo(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
