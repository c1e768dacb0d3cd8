"""PyTorch on the CPU: layer by layer, channels last, row by row.

oneDNN adds in another order where a row is not the first of its batch; a row must not depend on what it came with. The
CPU gains next to nothing from batches.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from mammofast.engine.base import Engine, Tensor
from mammofast.engine.torch.file import Recipe, read_file
from mammofast.errors import EngineError


class TorchEngine(Engine):
    """A network of the catalogue on the CPU."""

    def __init__(self, recipe: Recipe, network: nn.Module, threads: int) -> None:
        self._network: nn.Module | None = network
        self._threads = threads
        super().__init__(recipe.specs(recipe.inputs), recipe.specs(recipe.outputs))

    def _run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert self._network is not None
        (spec,) = self.inputs
        with torch.inference_mode(), _threads(self._threads):
            rows = [self._network(row[None]) for row in torch.tensor(tensors[spec.name])]
            columns = zip(*((row,) if isinstance(row, torch.Tensor) else row for row in rows), strict=True)
            outputs = [torch.cat(column).contiguous().numpy() for column in columns]
        return dict(zip([spec.name for spec in self.outputs], outputs, strict=True))

    def _close(self) -> None:
        self._network = None


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with this many threads, and leave the process as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load(model: bytes, backend: str, device: str, precision: str, threads: int) -> Engine:
    """Load a file of :mod:`mammofast.engine.torch.file`.

    Raises
    ------
    EngineError
        When it is none, is of another precision, or the card cannot be used.

    """
    recipe, network = read_file(model)
    if recipe.precision != precision:
        raise EngineError(f"precision: got {precision!r}, the file's weights are {recipe.precision}; compile it again")
    if device == "cpu":
        return TorchEngine(recipe, network, threads)
    from mammofast.engine.torch.on_card import TorchCardEngine

    return TorchCardEngine(recipe, network, device)
