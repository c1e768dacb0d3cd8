"""One stage of a training: epochs, measures, checkpoints, and going on from one."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mammofast.errors import TrainingError
from mammofast.training.averaging import Average
from mammofast.training.batches import Batches, measured
from mammofast.training.checkpoint import (
    beginning,
    load_optimizer,
    optimizer_state,
    read_checkpoint,
    write_checkpoint,
)
from mammofast.training.freezing import freeze
from mammofast.training.optimizers import make_optimizer, rate_factor
from mammofast.training.tasks import Batch, Example, Task

LAST = "last.safetensors"
# Between two checkpoints within one epoch, seconds.
_CHECKPOINT_SECONDS = 600.0
_RNG, _RNG_CUDA = "rng.cpu", "rng.cuda"


class Stopped(TrainingError):
    """The training was asked to stop; its last checkpoint is whole, and it can be resumed."""


@dataclass(slots=True)
class Position:
    """Where a stage stands.

    epoch, batch: the next to do. losses: of this epoch so far, each turn's sum over ``counted`` batches.
    best: the first measure of the best epoch. stale: epochs since. ended: whether nothing is left to do.
    """

    stage: str
    epoch: int = 0
    batch: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    best: float | None = None
    stale: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a stage is told by the training around it.

    facts: that go into every checkpoint. history: of all epochs so far, which the stage adds to.
    stop: whether to stop after this batch. said: called with each epoch's entry of the history.
    """

    out: Path
    fabric: Fabric
    workers: int
    facts: Mapping[str, Any]
    history: list[dict[str, Any]]
    stop: Callable[[], bool]
    said: Callable[[dict[str, Any]], None]


class StageTraining:
    """A stage under way.

    network: with the weights to begin with, on the CPU. seeds: of the recipe, and the stage's number.
    """

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        training: Sequence[Example],
        validation: Sequence[Example],
        seeds: tuple[int, int],
        around: Surroundings,
    ) -> None:
        stage = task.stage
        self._task, self._around, self._fabric = task, around, around.fabric
        self._validation = validation
        self._batches = Batches(task, training, seeds, around.workers)
        freeze(network, stage.freeze)
        self._network = self._fabric.to_device(network.to(memory_format=torch.channels_last))
        self._average = Average(self._network, stage.training.average) if stage.training.average else None
        self._optimizers = {
            turn: make_optimizer(stage.optimizer, task.learns(self._network, turn)) for turn in task.turns
        }
        self._wrapped = self._fabric.setup_module(self._network, move_to_device=False)
        self._measured = self._wrapped
        if self._average is not None:
            self._measured = self._fabric.setup_module(self._average.network, move_to_device=False)
        self._stepping = {
            turn: self._fabric.setup_optimizers(optimizer) for turn, optimizer in self._optimizers.items()
        }
        self._position = Position(stage.name)
        self._kept_at = time.monotonic()

    @property
    def weights(self) -> Path:
        """The file of the best epoch's weights."""
        return self._around.out / f"{self._task.stage.name}.safetensors"

    @property
    def total(self) -> int:
        """How many batches the stage has."""
        return self._batches.per_epoch * self._task.stage.training.epochs

    @property
    def done(self) -> int:
        """How many of them are behind."""
        return self._batches.per_epoch * self._position.epoch + self._position.batch

    def resume(self) -> None:
        """Go on from the last checkpoint: to the bit as if the training had not been interrupted."""
        tensors, facts = read_checkpoint(self._around.out / LAST)
        self._position = Position(**facts["position"])
        self._network.load_state_dict(beginning("network.", tensors))
        if self._average is not None:
            self._average.network.load_state_dict(beginning("average.", tensors))
        for turn, optimizer in self._optimizers.items():
            load_optimizer(optimizer, beginning(f"optimizer.{turn}.", tensors))
        torch.set_rng_state(tensors[_RNG])
        if _RNG_CUDA in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors[_RNG_CUDA], self._fabric.device)

    def run(self, advance: Callable[[int], None] = lambda n: None) -> None:
        """Train to the stage's end. advance: called with 1 after each batch.

        Raises
        ------
        Stopped
            When asked to; a checkpoint has been written.
        TrainingError
            When the loss is NaN or infinite.

        """
        training = self._task.stage.training
        while not self._position.ended:
            begun = time.monotonic()
            self._epoch(advance)
            entry = {
                "stage": self._position.stage,
                "epoch": self._position.epoch + 1,
                "rate": self._rate(self._batches.per_epoch - 1),
                **{name: total / max(self._position.counted, 1) for name, total in self._position.losses.items()},
                **self._measure(),
                "seconds": round(time.monotonic() - begun, 3),
            }
            self._around.history.append(entry)
            self._position.epoch, self._position.batch = self._position.epoch + 1, 0
            self._position.losses, self._position.counted = {}, 0
            stale = 0 < training.patience <= self._position.stale
            self._position.ended = stale or self._position.epoch >= training.epochs
            self._keep()
            self._around.said(entry)

    def _epoch(self, advance: Callable[[int], None]) -> None:
        """Train through what is left of an epoch."""
        position = self._position
        self._train_mode()
        for parts in self._batches.epoch(position.epoch, position.batch):
            self._step([(share, self._on_device(batch)) for share, batch in parts])
            position.batch += 1
            advance(1)
            if self._around.stop():
                self._keep()
                raise Stopped(
                    f"stopped in epoch {position.epoch + 1} of stage {position.stage!r}; the same command with "
                    "--resume goes on from there"
                )
            if time.monotonic() - self._kept_at > _CHECKPOINT_SECONDS:
                self._keep()

    def _rate(self, batch: int) -> float:
        """Return the optimizers' rate at a batch of this epoch."""
        stage, epoch, per_epoch = self._task.stage, self._position.epoch, self._batches.per_epoch
        done, step = batch / per_epoch, epoch * per_epoch + batch
        return stage.optimizer.rate * rate_factor(stage.schedule, stage.training.epochs, epoch, done, step)

    def _step(self, parts: Sequence[tuple[float, Batch]]) -> None:
        """Take every turn's step on one batch."""
        training, position = self._task.stage.training, self._position
        rate, step = self._rate(position.batch), self._batches.per_epoch * position.epoch + position.batch
        for turn, optimizer in self._stepping.items():
            for group in self._optimizers[turn].param_groups:
                group["lr"] = rate
            total = 0.0
            optimizer.zero_grad(set_to_none=True)
            for share, batch in parts:
                loss = self._task.loss(self._wrapped, batch, turn) * share
                total += float(loss.detach())
                if not math.isfinite(total):
                    self._astray(turn, total, rate)
                self._fabric.backward(loss)
            if training.clip:
                self._fabric.clip_gradients(self._wrapped, optimizer, max_norm=training.clip)
            optimizer.step()
            name = "loss" if len(self._stepping) == 1 else f"loss_{turn}"
            position.losses[name] = position.losses.get(name, 0.0) + total
        position.counted += 1
        if self._average is not None:
            self._average.update(self._network, step)

    def _astray(self, turn: str, loss: float, rate: float) -> None:
        position = self._position
        raise TrainingError(
            f"stage {position.stage!r}, epoch {position.epoch + 1}, batch {position.batch + 1}: the {turn}'s loss is "
            f"{loss}, expected a finite number, at a rate of {rate:.3g}. Lower optimizer.rate, give training.clip or "
            'schedule.warm_up, or train with precision = "fp32"; the checkpoints before this are whole'
        )

    def _train_mode(self) -> None:
        """Set the network to train; what is frozen stays a fixed function, its normalization and dropout too."""
        self._network.train()
        for module in self._network.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()

    def _on_device(self, batch: Batch) -> Batch:
        moved = self._fabric.to_device(batch)
        return _channels_last(moved)

    def _measure(self) -> dict[str, float | None]:
        """Measure the network on validation examples, and keep its weights where they are the best so far."""
        kept = self._network if self._average is None else self._average.network
        values: dict[str, float] = {}
        if self._validation:
            kept.eval()
            with torch.no_grad():
                values = self._task.measure(self._measured, self._validation_batches())
        score = next(iter(values.values()), math.nan)
        position = self._position
        position.stale += 1
        # Without a measure the latest epoch is the best.
        if position.best is None or not values or score > position.best:
            position.best = score if math.isfinite(score) else None
            position.stale = 0
            exported = self._task.exported(kept)
            facts = {**self._around.facts, "epoch": position.epoch + 1, "measures": _finite(values)}
            write_checkpoint(self.weights, exported.state_dict(), facts)
        return _finite(values)

    def _validation_batches(self) -> Iterator[Batch]:
        for batch in measured(self._task, self._validation, self._around.workers):
            yield self._on_device(batch)

    def _keep(self) -> None:
        """Write the checkpoint to go on from."""
        tensors: dict[str, Tensor] = {f"network.{k}": v for k, v in self._network.state_dict().items()}
        if self._average is not None:
            tensors |= {f"average.{k}": v for k, v in self._average.network.state_dict().items()}
        for turn, optimizer in self._optimizers.items():
            tensors |= {f"optimizer.{turn}.{k}": v for k, v in optimizer_state(optimizer).items()}
        tensors[_RNG] = torch.get_rng_state()
        if self._fabric.device.type == "cuda":
            tensors[_RNG_CUDA] = torch.cuda.get_rng_state(self._fabric.device)
        facts = {**self._around.facts, "position": asdict(self._position), "history": self._around.history}
        write_checkpoint(self._around.out / LAST, tensors, facts)
        self._kept_at = time.monotonic()


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return measures as JSON knows them: null where there is no number."""
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}


def _channels_last(batch: Batch) -> Batch:
    """Lay images out as convolutions like them."""
    if isinstance(batch, Tensor):
        return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch
    if isinstance(batch, dict):
        return {name: _channels_last(value) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        moved = [_channels_last(value) for value in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    return batch
