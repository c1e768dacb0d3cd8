"""What is trained, and how: one TOML file for each of the papers' systems, read and checked without PyTorch.

The tables ``network``, ``training``, ``loss``, ``optimizer``, ``schedule``, ``augmentation`` and ``examples`` hold for
every stage, and a stage may restate entries of them. What the task alone understands (``loss``, ``augmentation``,
``examples``) stays a mapping here and is read by the task. ``base`` names a recipe whose entries hold where the file
says nothing else.
"""

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from mammofast.errors import TrainingError
from mammofast.training.tables import read_table

Size = tuple[int, int]

TASKS = ("segmentation", "crops", "detection", "adversarial", "rcnn", "volume-region", "volume-rcnn")
_NAMED = ("loss", "optimizer", "schedule")
_SHARED = ("network", *_NAMED, "training", "augmentation", "examples")
_SCHEDULES = ("constant", "steps", "drop", "cosine")
_OPTIMIZERS = ("adam", "adamw", "sgd")
_PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTable:
    """A network of the catalogue: its name, options of ``mammofast.models.create``, sizes (rows, cols) it runs at."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long, and in what portions.

    epochs: passes over the training examples. batch: examples behind one step of the optimizer. accumulate: into how
    many parts a batch is split whose gradients are added up, where memory is short (batch normalization then sees the
    parts). patience: epochs without a better measure after which a stage ends; 0 never.
    clip: the largest norm of a gradient; 0 clips none. average: how many steps the running average of weights, which is
    what is measured and kept, looks back at most; 0 keeps the weights themselves.
    """

    epochs: int
    batch: int
    accumulate: int = 1
    patience: int = 0
    clip: float = 0.0
    average: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate: got {self.accumulate}, expected a divisor of the batch, {self.batch}")
        for name in ("patience", "clip", "average"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerTable:
    """Name "adam", "adamw" or "sgd", its rate before the schedule, and PyTorch's words for the rest.

    L2 regularization, where a paper has it, is ``weight_decay`` of "adam" and "sgd".
    """

    name: str
    rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in _OPTIMIZERS:
            raise ValueError(f"name: got {self.name!r}, expected one of {', '.join(_OPTIMIZERS)}")
        if not self.rate > 0:
            raise ValueError(f"rate: got {self.rate}, expected above 0")
        if self.name == "sgd" and (self.amsgrad or self.betas != (0.9, 0.999)):
            raise ValueError("sgd: has no amsgrad and no betas")
        if self.name != "sgd" and self.momentum:
            raise ValueError(f"{self.name}: has no momentum, but betas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What the rate is multiplied by, over time.

    constant: 1. steps: ``factors``, each for its number of ``epochs``; a training of more or fewer epochs passes
    through all of them in proportion. drop: ``factor`` once more after every ``every`` epochs. cosine: from 1 to
    ``floor`` along half a cosine. In all of them the first ``warm_up`` steps rise linearly.
    """

    name: str = "constant"
    factors: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    factor: float = 1.0
    every: int = 0
    floor: float = 0.0
    warm_up: int = 0

    def __post_init__(self) -> None:
        if self.name not in _SCHEDULES:
            raise ValueError(f"name: got {self.name!r}, expected one of {', '.join(_SCHEDULES)}")
        if (self.name == "steps") != bool(self.factors) or len(self.factors) != len(self.epochs):
            raise ValueError("steps: expected as many factors as epochs, and no other schedule has them")
        if not all(factor > 0 for factor in self.factors) or not all(epochs > 0 for epochs in self.epochs):
            raise ValueError("steps: expected factors and epochs above 0")
        if (self.name == "drop") != (self.every > 0) or not 0 < self.factor <= 1:
            raise ValueError("drop: expected every (epochs) and a factor above 0 and at most 1; no other has them")
        if not 0 <= self.floor <= 1 or self.warm_up < 0:
            raise ValueError("expected floor in 0..1 and warm_up of 0 steps or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One training of one network; the next stage begins with its weights.

    data: which of the data sets given, from 1; a stage whose data set was not given is left out.
    freeze: beginnings of the names of parameters that keep their values; ``*`` stands for anything.
    freeze_given: more of them, where the training begins with weights that were given (``--start``). What is random
        is not worth keeping.
    loss, augmentation, examples: the task's own tables.
    """

    name: str
    network: NetworkTable
    training: Training
    optimizer: OptimizerTable
    schedule: Schedule = field(default_factory=Schedule)
    data: int = 1
    freeze: tuple[str, ...] = ()
    freeze_given: tuple[str, ...] = ()
    loss: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data < 1:
            raise ValueError(f"data: got {self.data}, expected 1 for the first data set, 2 for the second")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleTable:
    """Where the network goes: the role of a method, and the method's parameters where they are not its defaults.

    These parameters prepare the images of the training too.
    """

    method: str
    role: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A system's training.

    name: its file's. summary, paper: for lists. task: a name of ``TASKS``. stages: in order, at least one.
    bundle: None for what no method screens with. precision: "fp32" or "bf16". seed: of everything that is drawn.
    validation: the part of the training patients that choose the best epoch and train nothing.
    source: the recipe's own tables, changes included: JSON-ready, and :func:`from_tables` reads them again.
    """

    name: str
    summary: str
    paper: str
    task: str
    stages: tuple[Stage, ...]
    bundle: BundleTable | None = None
    precision: str = "bf16"
    seed: int = 0
    validation: float = 0.1
    source: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task: got {self.task!r}, expected one of {', '.join(TASKS)}")
        if self.precision not in _PRECISIONS:
            raise ValueError(f"precision: got {self.precision!r}, expected one of {', '.join(_PRECISIONS)}")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation: got {self.validation}, expected 0 or more and below 1")
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"stages: got {names}, expected at least one, and different names")


def recipes() -> list[str]:
    """Return the names of the recipes that come with mammofast."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files("mammofast.training").joinpath("recipes").iterdir()
        if entry.name.endswith(".toml")
    )


def read_recipe(recipe: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe: one that comes with mammofast, by its name, or a file that ends in .toml.

    changes: entries to set otherwise, see :func:`changed`.

    Raises
    ------
    TrainingError
        When there is no such recipe, it is no TOML, or an entry is unknown, missing or refused.

    """
    name = Path(recipe).name.removesuffix(".toml")
    return from_tables(name, changed(_tables(recipe), changes or {}))


def _tables(recipe: str | Path, derived: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a file's tables, laid over those of its ``base``, where it names another recipe as that."""
    path = Path(recipe)
    name = path.name.removesuffix(".toml")
    try:
        if path.suffix == ".toml":
            text = path.read_text(encoding="utf-8")
        else:
            text = files("mammofast.training").joinpath("recipes", f"{recipe}.toml").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = get_close_matches(str(recipe), recipes(), n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise TrainingError(f"no recipe is called {str(recipe)!r}{hint} `mammofast train --list` lists them") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"recipe {name!r}: cannot be read ({type(error).__name__})") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"recipe {name!r}: is no TOML: {error}") from error
    base = tables.pop("base", None)
    if base is None:
        return tables
    if not isinstance(base, str) or base in (*derived, name):
        raise TrainingError(f"recipe {name!r}: base: got {base!r}, expected another recipe's name")
    return _laid_over(_tables(base, (*derived, name)), tables)


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with entries of their own; a table is laid over a table, all else takes its place."""
    both = {
        key: _laid_over(base[key], own[key])
        for key in set(base) & set(own)
        if isinstance(base[key], Mapping) and isinstance(own[key], Mapping)
    }
    return {**base, **own, **both}


def changed(tables: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's tables with entries set otherwise.

    changes: values by dotted key, such as ``{"loss.name": "dice", "training.epochs": 2}``. One of a shared table holds
    for every stage, whatever a stage had restated; ``stages.NAME.KEY`` is one stage's. None takes an entry away.
    """
    new = deepcopy(dict(tables))
    for key, value in changes.items():
        parts = key.split(".")
        if parts[0] == "stages" and len(parts) > 2:
            for stage in new.get("stages", []):
                if stage.get("name") == parts[1]:
                    _set(stage, parts[2:], value)
                    break
            else:
                raise TrainingError(f"change {key!r}: the recipe has no stage {parts[1]!r}")
            continue
        _set(new, parts, value)
        for stage in new.get("stages", []) if parts[0] in _SHARED else ():
            _set(stage, parts, None)
    return new


def from_tables(name: str, tables: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a name from its tables.

    Raises
    ------
    TrainingError
        When an entry is unknown, missing or refused.

    """
    where = f"recipe {name!r}"
    shared = {key: tables[key] for key in _SHARED if key in tables}
    rest = {key: value for key, value in tables.items() if key not in (*_SHARED, "stages")}
    listed = tables.get("stages", [{"name": "train"}])
    if not isinstance(listed, list) or not all(isinstance(stage, Mapping) for stage in listed):
        raise TrainingError(f"{where}: stages: expected [[stages]] tables")
    stages = tuple(read_table(Stage, _merged(shared, stage), f"{where}: {_title(stage)}") for stage in listed)
    if reserved := {"name", "source"} & set(rest):
        raise TrainingError(f"{where}: got unknown entries {sorted(reserved)}; the file's name is the recipe's")
    return read_table(Recipe, {**rest, "name": name, "stages": stages, "source": dict(tables)}, where)


def _merged(shared: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's tables: the shared ones, but for what it restates; a loss, an optimizer or a schedule of
    another name brings a table of its own.
    """
    merged = {**deepcopy(dict(shared)), **{key: value for key, value in stage.items() if key not in _SHARED}}
    for key in set(stage) & set(_SHARED):
        own, base = stage[key], shared.get(key, {})
        if not isinstance(own, Mapping):
            raise TrainingError(f"stage {stage.get('name')!r}: {key}: got {own!r}, expected a table")
        another = key in _NAMED and "name" in own and own["name"] != base.get("name")
        merged[key] = dict(own) if another else {**base, **own}
    return merged


def _set(table: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set or, with None, take away what a dotted key names."""
    *way, last = parts
    for part in way:
        if value is None and part not in table:
            return
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise TrainingError(f"change {'.'.join(parts)!r}: {part!r} is no table of the recipe")
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def _title(stage: Mapping[str, Any]) -> str:
    return f"stage {stage.get('name')!r}"
