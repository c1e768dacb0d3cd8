"""Training a recipe: the one call behind ``mammofast train``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammofast.datasets import Dataset, Split
from mammofast.errors import TrainingError
from mammofast.training.recipe import Recipe

Say = Callable[[str], None]


def silent(words: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that ended.

    out: its folder. weights: the best epoch's, safetensors, names as the catalogue's network has them.
    measures: of the best epoch, by name. history: one entry per epoch, as in ``log.jsonl``.
    parameters: of the bundle's method.
    """

    out: Path
    weights: Path
    measures: dict[str, float]
    history: tuple[dict[str, Any], ...]
    parameters: dict[str, Any]


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
    say: Say = silent,
) -> Trained:
    """Train a recipe's stages one after the other; see the module's documentation for what lies in ``out`` then.

    Parameters
    ----------
    recipe: see :func:`mammofast.training.recipe.read_recipe`, whose ``changes`` shorten, narrow or ablate it.
    data, split: one of each, or one for each data set that the stages name; only ``split.train`` is read.
    out: a folder; a new one, or with ``resume`` the one of a training that was interrupted.
    start: weights to begin the first stage with, and ``layout`` whose names they have, as ``mammofast compile`` reads
        them; layouts of a backbone leave the rest random.
    limit: at most so many training samples (and as many for validation), for trying.
    device: "auto", "cpu", "cuda" or "cuda:i". workers: processes that make batches. cache: a folder for the prepared
        examples, shared between trainings; ``out/examples`` by default.
    say: told what happens, in lines.

    Raises
    ------
    TrainingError
        When the recipe and the data do not fit, ``out`` is another training's, or the loss is not finite.

    """
    raise TrainingError("training is not there yet")
