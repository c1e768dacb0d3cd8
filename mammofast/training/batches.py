# mypy: disallow-subclassing-any=False
"""Which examples make which batch, and what is drawn for it: all of it said by seed, stage, epoch and batch alone.

So a training that resumes in the middle of an epoch goes on as if nothing had been, with any number of workers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mammofast.training.tasks.task import Batch, Example, Task

_ORDER, _DRAWN = 0, 1
# A batch to make: its step of the optimizer, its number in the epoch, and its examples, part by part.
_Plan = tuple[int, int, list[list[int]]]


class Batches:
    """The batches of a stage's training.

    accumulate: into how many parts a batch is split. seeds: of the recipe and the stage.
    """

    def __init__(
        self,
        task: Task,
        examples: Sequence[Example],
        seeds: tuple[int, int],
        workers: int = 0,
    ) -> None:
        training = task.stage.training
        self._task, self._examples, self._seeds, self._workers = task, examples, seeds, workers
        self._size, self._parts = training.batch, training.accumulate
        count = len(examples) * task.repeats
        # One left over joins the batch before: alone it has nothing to be normalized with.
        alone = count % training.batch == 1 and 1 < training.batch < count
        self.per_epoch = -(-count // training.batch) - alone

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[tuple[float, Batch]]]:
        """Yield an epoch's batches from number ``start`` on: their parts, each with its share of the batch."""
        n = len(self._examples)
        order = np.random.default_rng([*self._seeds, _ORDER, epoch]).permutation(n * self._task.repeats) % n
        plans: list[_Plan] = []
        for number in range(start, self.per_epoch):
            end = None if number == self.per_epoch - 1 else (number + 1) * self._size
            chosen = order[number * self._size : end]
            parts = [part.tolist() for part in np.array_split(chosen, self._parts_of(len(chosen)))]
            plans.append((epoch * self.per_epoch + number, number, parts))
        yield from _loaded(_Drawn(self._task, self._examples, (*self._seeds, _DRAWN, epoch)), plans, self._workers)

    def _parts_of(self, count: int) -> int:
        """Return into how many parts so many examples are split: none of one where whole batches have no such part."""
        least = min(2, -(-self._size // self._parts))
        return max(1, min(self._parts, count // least))


def measured(task: Task, examples: Sequence[Example], workers: int = 0) -> Iterator[Batch]:
    """Yield the batches that a network is measured on: examples in order, nothing drawn."""
    size = task.stage.training.batch // task.stage.training.accumulate
    plans = [(0, 0, [list(range(k, min(k + size, len(examples))))]) for k in range(0, len(examples), size)]
    for ((_, batch),) in _loaded(_Drawn(task, examples, None), plans, workers):
        yield batch


class _Drawn(Dataset[Any]):
    """Batches by their plans."""

    def __init__(self, task: Task, examples: Sequence[Example], seeds: tuple[int, ...] | None) -> None:
        self._task, self._examples, self._seeds = task, examples, seeds

    def __getitem__(self, plan: _Plan) -> list[tuple[float, Batch]]:
        step, number, parts = plan
        rng = None if self._seeds is None else np.random.default_rng([*self._seeds, number])
        whole = sum(map(len, parts))
        return [(len(p) / whole, self._task.batch([self._examples[i] for i in p], rng, step)) for p in parts]


def _loaded(batches: _Drawn, plans: list[_Plan], workers: int) -> Iterator[list[tuple[float, Batch]]]:
    # A generator of its own: PyTorch's shared one, which dropout draws from, stays where a checkpoint left it.
    own = torch.Generator()
    own.manual_seed(0)
    yield from DataLoader(
        batches,
        batch_size=None,
        sampler=plans,
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=own,
    )


def _as_it_is(batch: Any) -> Any:
    return batch
