"""What is trained, and how, checked without PyTorch.

What the task alone understands (``loss``, ``augmentation``, ``examples``) stays a mapping here and is read by the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Size = tuple[int, int]

TASKS = ("segmentation", "crops", "detection", "adversarial", "rcnn", "volume-region", "volume-rcnn")
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
    source: the recipe's own tables, changes included: JSON-ready, and ``recipe_files.from_tables`` reads them again.
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
