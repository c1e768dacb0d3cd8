"""One system, one seed: trained, measured image by image, and kept, so that what is there is not done again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mammofast.datasets import Dataset, Split
from mammofast.evaluation import dice, iou, sensitivity
from mammofast.models import create, find
from mammofast.models.interfaces import Probabilities
from mammofast.training.examples import prepare
from mammofast.training.recipe import Recipe
from mammofast.training.recipe_files import read_recipe
from mammofast.training.tasks import make_task
from mammofast.training.trainer import Trained, train

RECIPE = Path(__file__).with_name("recipe.toml")
_HALF = 0.5


@dataclass(frozen=True)
class Measured:
    """What one network scored: of each image with a mass its patient and measures, each at the network's resolution."""

    patients: list[str]
    dice: list[float]
    iou: list[float]
    sensitivity: list[float]
    parameters: int
    epochs: int


def run(
    folder: Path,
    changes: Mapping[str, Any],
    seed: int,
    data: tuple[Dataset, Split],
    tested: Dataset,
    cache: Path,
) -> Measured:
    """Train a system with a seed and measure it; or read what it scored, where it has been."""
    recipe = read_recipe(RECIPE, {**changes, "seed": seed})
    measured = folder / "measured.json"
    if measured.exists():
        return Measured(**json.loads(measured.read_text()))
    trained = train(recipe, *data, folder, resume=(folder / "run.json").exists(), device="cpu", cache=cache, say=_say)
    found = measure(recipe, trained, tested, cache)
    part = measured.with_suffix(".part")
    part.write_text(json.dumps(asdict(found)))
    part.rename(measured)
    return found


def measure(recipe: Recipe, trained: Trained, tested: Dataset, cache: Path) -> Measured:
    """Measure a trained network on the images that have a mass, as it sees them."""
    network, cases, samples = _opened(recipe, trained, tested, cache)
    rows = []
    for case, sample in zip(cases, samples, strict=True):
        with torch.inference_mode():
            found = (network(case["image"])[0, 0] >= _HALF).numpy()
        truth = case["truth"].numpy() == 1
        if truth.any():
            rows.append((sample, *(float(each(found, truth)) for each in (dice, iou, sensitivity))))
    patients, *measures = map(list, zip(*rows, strict=True))
    parameters = sum(each.numel() for each in network.parameters())
    return Measured(patients, *measures, parameters=parameters, epochs=len(trained.history))


def _opened(recipe: Recipe, trained: Trained, tested: Dataset, cache: Path) -> tuple[Any, list[Any], Sequence[str]]:
    stage = recipe.stages[-1]
    task = make_task(recipe, stage)
    task.use(json.loads((trained.out / "run.json").read_text())["stages"][stage.name]["fitted"])
    examples = prepare(task, list(tested), cache, lambda n: None).examples
    network = create(stage.network.name, **stage.network.options)
    from safetensors.torch import load_file

    network.load_state_dict(load_file(trained.weights))
    channels = task.batch(examples[:1], None, 0)[0]["image"].shape[1]
    assert channels in (1, 3)
    return (
        Probabilities(network, find(stage.network.name).output).eval(),
        task.batch(examples, None, 0),
        [sample.patient for sample in tested],
    )


def _say(words: str) -> None:
    print(f"  {words}", flush=True)


def means(measured: Sequence[Measured], name: str) -> np.ndarray:
    """Return each image's mean over seeds of one measure."""
    return np.mean([getattr(each, name) for each in measured], axis=0)
