"""Training a recipe: the one call behind ``mammofast train``.

``out`` holds then

- ``run.json``: the recipe's tables, the data's SHA-256, what was fitted, versions;
- ``STAGE.safetensors``: each stage's best weights; ``weights.safetensors``: the last stage's, finished for a bundle;
- ``last.safetensors``: the checkpoint to resume from, optimizer and random numbers included;
- ``log.jsonl``: a line for each epoch; ``curves.png`` and ``curves.svg``: the same to look at;
- ``examples``: the prepared images, unless they are kept elsewhere.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mammofast.datasets import Dataset, Split
from mammofast.errors import TrainingError
from mammofast.models.weights import load_weights
from mammofast.screening.stopping import interruptible
from mammofast.training.checkpoint import read_checkpoint, write_checkpoint, write_text
from mammofast.training.curves import draw
from mammofast.training.examples import Prepared, file_sha256, prepare, processes
from mammofast.training.fabric import make_fabric
from mammofast.training.folder import EXAMPLES, WEIGHTS, Run, alone
from mammofast.training.recipe import Recipe
from mammofast.training.sides import divide
from mammofast.training.stage import StageTraining, Stopped, Surroundings
from mammofast.training.tasks import Example, Task, make_task

LOG = "log.jsonl"
Say = Callable[[str], None]
# Opens a count of something, by its name and its total: what it gives is called with each number just finished.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

__all__ = ["LOG", "WEIGHTS", "Stopped", "Trained", "train"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that ended.

    out: its folder. weights: the best epoch's of the last stage, safetensors, names as the catalogue's network has
    them. measures: of that epoch, by name. history: an entry for each epoch, as in ``log.jsonl``.
    parameters: of the bundle's method.
    """

    out: Path
    weights: Path
    measures: dict[str, float | None]
    history: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]


def _silent(words: str) -> None:
    """Say nothing."""


def _uncounted(words: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda n: None)


def train(
    recipe: Recipe,
    data: Dataset | Sequence[Dataset],
    split: Split | Sequence[Split],
    out: Path,
    *,
    resume: bool = False,
    start: Path | None = None,
    layout: str | None = None,
    limit: int | None = None,
    device: str = "auto",
    workers: int = 0,
    cache: Path | None = None,
    say: Say = _silent,
    progress: Progress = _uncounted,
) -> Trained:
    """Train a recipe's stages one after the other; each begins with the weights of the one before.

    Parameters
    ----------
    recipe: see :func:`mammofast.training.recipe_files.read_recipe`, whose ``changes`` shorten, narrow or ablate it.
    data, split: one of each, or one for each data set that the stages name; only ``split.train`` is read, and the
        recipe's ``validation`` is taken from it, by patients.
    out: a folder, new or empty, or that of a training that ended before its first checkpoint; with ``resume`` also
        that of an interrupted training, which goes on to the bit as if it had not been interrupted.
    start: weights to begin the first stage with, and ``layout`` whose names they have, as ``mammofast compile`` reads
        them; layouts of a backbone leave the rest random.
    limit: at most so many training images, and as many that validate, for trying.
    device: "auto", "cpu", "cuda" or "cuda:i". workers: processes that prepare images and make batches;
        0 does it here.
    cache: a folder for the prepared examples, which trainings may share; ``out/examples`` by default.
    say: told what happens, a line at a time. progress: opens a count of what goes on.

    Raises
    ------
    TrainingError
        When the recipe and the data do not fit, ``out`` is another training's, or the loss is not finite.
    Stopped
        After SIGINT, SIGTERM or SIGHUP, with a checkpoint written.
    ModelError
        When there is no such network or option, or ``start`` does not fit it.

    """
    datasets, splits = _paired(data, split)
    stages = [stage for stage in recipe.stages if stage.data <= len(datasets)]
    for stage in recipe.stages:
        if stage not in stages:
            say(f"stage {stage.name}: left out, it wants a data set number {stage.data}")
    if not stages:
        raise TrainingError(f"recipe {recipe.name!r}: no stage is for the first data set alone; give the others too")
    fabric = make_fabric(device, recipe.precision)
    names = [stage.name for stage in stages]
    began = None if start is None else file_sha256(start)
    examples = out / EXAMPLES if cache is None else cache
    with alone(out) as is_alone, interruptible() as interrupt:
        run = Run(recipe, out, {"stages": names, "limit": limit, "start": began, "layout": layout}, resume, is_alone)
        behind = names.index(run.stage) if run.stage is not None else 0
        before = out / f"{stages[behind - 1].name}.safetensors" if behind else None
        for number, stage in enumerate(stages[behind:], start=behind):
            given = stage.freeze_given if start is not None else ()
            task = make_task(recipe, replace(stage, freeze=(*stage.freeze, *given)))
            sides = divide(datasets[stage.data - 1], splits[stage.data - 1], recipe.validation, recipe.seed, limit)
            with progress("Preparing images", len(sides.training) + len(sides.validation)) as advance:

                def prepared(n: int, advance: Callable[[int], None] = advance) -> None:
                    advance(n)
                    if interrupt:
                        raise Stopped("stopped while images were prepared; the same command with --resume goes on")

                with processes(workers) as mapped:
                    training = prepare(task, sides.training, examples, prepared, mapped)
                    validation = prepare(task, sides.validation, examples, prepared, mapped)
            for image, reason in (*training.left_out, *validation.left_out):
                say(f"left out: the image of SHA-256 {image[:12]}…: {reason}")
            _fit(task, run, training, validation)
            torch.manual_seed(int(np.random.SeedSequence([recipe.seed, number]).generate_state(1)[0]))
            network = task.network()
            _begin(task, network, before, None if number else start, layout, say)
            say(
                f"stage {stage.name}: {len(training.examples)} examples, {len(validation.examples)} to choose the epoch"
            )
            around = Surroundings(
                out=out,
                fabric=fabric,
                workers=workers,
                facts={**run.facts(stage), **_made(task)},
                history=run.history,
                stop=interrupt.__bool__,
                said=lambda entry: _tell(run, entry, say),
            )
            seeds = (recipe.seed, number)
            loop = StageTraining(task, network, training.examples, validation.examples, seeds, around)
            if run.stage == stage.name:
                loop.resume()
            try:
                with progress(f"Training {stage.name}, batches", loop.total - loop.done) as advance:
                    loop.run(advance)
            finally:
                draw(run.history, f"{recipe.name}: {recipe.summary}", out)
            before = loop.weights
        return _finish(task, before, validation.examples or training.examples, run)


def _paired(
    data: Dataset | Sequence[Dataset], split: Split | Sequence[Split]
) -> tuple[Sequence[Dataset], Sequence[Split]]:
    datasets = (data,) if isinstance(data, Dataset) else tuple(data)
    splits = (split,) if isinstance(split, Split) else tuple(split)
    if not datasets or len(datasets) != len(splits):
        raise TrainingError(f"got {len(datasets)} data sets and {len(splits)} splits, expected one split for each")
    return datasets, splits


def _fit(task: Task, run: Run, training: Prepared, validation: Prepared) -> None:
    """Fit what a task computes of its training examples, or take what was fitted before an interruption."""
    if not training.examples:
        raise TrainingError(
            f"stage {task.stage.name!r}: {len(training.digests)} training images give no example to learn from; "
            "expected images that hold what the task is about, such as a mass"
        )
    fitted = run.fitted(task.stage)
    if fitted is None:
        fitted = json.loads(json.dumps(task.fit(training.examples)))
    task.use(fitted)
    run.record(task.stage, training, validation, fitted)


def _begin(
    task: Task, network: nn.Module, before: Path | None, start: Path | None, layout: str | None, say: Say
) -> None:
    """Give a new network the weights of the stage before, by name; or those of a file."""
    exported = task.exported(network)
    if start is not None:
        load_weights(exported, start, layout)
    if before is None:
        return
    there, _ = read_checkpoint(before)
    own = exported.state_dict()
    shared = {name: tensor for name, tensor in there.items() if name in own}
    if wrong := [name for name, tensor in shared.items() if tensor.shape != own[name].shape]:
        name = wrong[0]
        raise TrainingError(
            f"stage {task.stage.name!r}: {name} is {tuple(own[name].shape)} and was {tuple(there[name].shape)} in the "
            "stage before; expected networks of one width and as many classes"
        )
    exported.load_state_dict({**own, **shared})
    say(f"stage {task.stage.name}: begins with {len(shared)} of {len(own)} tensors from the stage before")


def _made(task: Task) -> dict[str, Any]:
    """Return what a bundle needs to know of a stage's network."""
    recipe, table = task.recipe, task.stage.network
    made: dict[str, Any] = {"network": {"name": table.name, "options": table.options, "sizes": table.sizes}}
    if recipe.bundle is not None:
        made["bundle"] = {
            "method": recipe.bundle.method,
            "role": recipe.bundle.role,
            "notice": recipe.bundle.notice,
            "parameters": task.parameters(),
        }
    return made


def _tell(run: Run, entry: Mapping[str, Any], say: Say) -> None:
    """Write an epoch down, and say it."""
    lines = "".join(json.dumps(each) + "\n" for each in run.history)
    write_text(run.out / LOG, lines)
    numbers = [
        f"{name} {'-' if value is None else f'{value:.4g}'}"
        for name, value in entry.items()
        if name not in ("stage", "epoch", "seconds")
    ]
    say(f"{entry['stage']}: epoch {entry['epoch']}, {', '.join(numbers)}, {entry['seconds']:.1f} s")
    if entry["epoch"] == 1 and None in entry.values():
        say(
            f"{entry['stage']}: - is what the images that choose the epoch give no number for, such as those without a "
            "mass; where all measures are so, the last epoch is kept"
        )


def _finish(task: Task, best: Path | None, examples: Sequence[Example], run: Run) -> Trained:
    """Make the best weights ready for a bundle."""
    assert best is not None, "there is at least one stage"
    tensors, facts = read_checkpoint(best)
    exported = task.exported(task.network())
    exported.load_state_dict(tensors)
    parameters = task.finish(exported.eval(), examples)
    if "bundle" in facts:
        facts["bundle"]["parameters"] = {**facts["bundle"]["parameters"], **parameters}
    weights = run.out / WEIGHTS
    write_checkpoint(weights, exported.state_dict(), facts)
    found = facts["bundle"]["parameters"] if "bundle" in facts else parameters
    return Trained(run.out, weights, facts["measures"], tuple(run.history), found)
