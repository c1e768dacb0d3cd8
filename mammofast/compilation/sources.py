"""What is compiled: an fp32 ONNX network, and the reference that its engine must agree with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mammofast.compilation import samples
from mammofast.compilation.adapters import Mapped, adapt
from mammofast.compilation.export import export
from mammofast.compilation.networks import Weights, created
from mammofast.compilation.onnx_files import input_and_output_shapes, read_onnx
from mammofast.compilation.random_weights import settle
from mammofast.engine import load_engine
from mammofast.engine.torch.file import RAW, Recipe, write_file
from mammofast.errors import EngineError
from mammofast.models import find
from mammofast.models.interfaces import Probabilities, Raw

Array = npt.NDArray[np.float32]
Size = tuple[int, int]

# Names of a YOLO's outputs, as the two-stage method reads them.
YOLO_OUTPUTS = ("stride_8", "stride_16", "stride_32")
MASK = "mask"
# Outputs of the catalogue that say where the foreground is.
_PROBABILITIES = ("logits", "probability", "tanh")


@dataclass(frozen=True, slots=True)
class Source:
    """A network before it is compiled.

    name: what it is called. model: fp32 ONNX, weights inside. input: its input's name.
    channels: the input's. sizes: (rows, cols) that it is run at. outputs: their names.
    probabilities: whether outputs are in 0..1, not raw values of any size.
    one_row: whether it takes batches of one only; all others have a free batch axis.
    geometry: "stride", "halo" and "margin" of a segmenter, where it states them.
    examples: what it is compared on, where a phantom image is not its input.
    largest_batch: that it will be given; None where the target says.
    torch_file: what :mod:`mammofast.engine.torch` runs, by precision; None of an ONNX file.
    reference: what must come out, computed in fp32 by PyTorch (or, of an ONNX file, by ONNX Runtime).
    """

    name: str
    model: bytes
    input: str
    channels: int
    sizes: tuple[Size, ...]
    outputs: tuple[str, ...]
    probabilities: bool
    reference: Callable[[Array], dict[str, Array]]
    one_row: bool = False
    geometry: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Array, ...] = ()
    largest_batch: int | None = None
    torch_file: Callable[[str], bytes] | None = None


def from_catalogue(
    name: str,
    weights: Weights,
    *,
    options: Mapping[str, Any] | None = None,
    sizes: Sequence[Size] = (),
    near: Sequence[Size] = (),
    input: str = "image",
    channels: int | None = None,
) -> Source:
    """Build a network of the catalogue, give it its weights and export it.

    Parameters
    ----------
    name: a name that ``mammofast models`` lists.
    weights: a file, or a seed.
    options: of :func:`mammofast.models.create`.
    sizes: (rows, cols) that it will be run at. A detector keeps them free, all other networks are exported for one.
    near: (rows, cols) to take the network's next larger sizes of, where there are no ``sizes``; the catalogue's by
        default.
    input: the input's name.
    channels: of the input, if it is not the network's own: one grey channel is then repeated for the network.

    Raises
    ------
    ModelError
        When there is no such network or option, or the weights are not its own.
    EngineError
        When a size does not suit the network.

    """
    entry = find(name)
    options = dict(options or {})
    own = int(options.get("channels", entry.input[0]))
    given = own if channels is None else channels
    replicate = own if given == 1 and own != 1 else 1
    network = created(name, weights, options)
    grid = _grid(entry.input[1:], network)
    sizes = tuple(sizes) or tuple(grid.next(size) for size in near or (entry.input[1:],))
    grid.check(name, sizes)
    if weights.file is None:
        _settle(name, network, own, sizes)
    outputs: tuple[str, ...] = (MASK,)
    if entry.output in _PROBABILITIES:
        wrapped: nn.Module = Probabilities(network, entry.output, replicate)
    else:
        wrapped = Raw(network, replicate)
        outputs = YOLO_OUTPUTS if entry.output == "yolo" else (entry.output,)
    free = entry.output == "yolo"
    source = from_module(name, wrapped, input, given, sizes, outputs, entry.output in _PROBABILITIES, free_size=free)
    geometry = {key: getattr(network, key) for key in ("stride", "halo", "margin") if hasattr(network, key)}
    output = entry.output if source.probabilities else RAW
    file = torch_file(source, name, {**entry.options, **options}, network, output=output, replicate=replicate)
    return replace(source, geometry=geometry, torch_file=file)


def from_module(
    name: str,
    network: nn.Module,
    input: str,
    channels: int,
    sizes: Sequence[Size],
    outputs: Sequence[str],
    probabilities: bool,
    *,
    free_size: bool = False,
) -> Source:
    """Export a module with one input (n, channels, rows, cols); the batch axis is free, or all but axis 1."""
    network.eval()
    axes = {tensor: {0: "n"} for tensor in (input, *outputs)}
    if free_size:
        axes = {tensor: {0: "n", 2: f"rows_{tensor}", 3: f"cols_{tensor}"} for tensor in (input, *outputs)}
    model = export(network, torch.zeros(1, channels, *sizes[0]), input, outputs, axes)

    def reference(images: Array) -> dict[str, Array]:
        with torch.no_grad():
            # A row at a time: the reference is that of one image, and needs no more memory than that.
            rows = [network(torch.from_numpy(row[None])) for row in images]
        values = [(row,) if isinstance(row, torch.Tensor) else row for row in rows]
        return {key: np.concatenate([row[i].numpy() for row in values]) for i, key in enumerate(outputs)}

    return Source(name, model, input, channels, tuple(sizes), tuple(outputs), probabilities, reference)


def torch_file(
    source: Source,
    name: str,
    options: Mapping[str, Any],
    network: nn.Module,
    *,
    output: str = RAW,
    replicate: int = 1,
    part: str = "",
) -> Callable[[str], bytes]:
    """Return what writes a source's network for PyTorch in a precision.

    network: without what the source puts around it. For the rest see :class:`mammofast.engine.torch.file.Recipe`.
    """

    def write(precision: str) -> bytes:
        inputs, outputs = input_and_output_shapes(source.model)
        recipe = Recipe(name, dict(options), output, replicate, inputs, outputs, precision, part)
        return write_file(recipe, network)

    return write


def from_onnx(
    path: Path,
    sizes: Sequence[Size] = (),
    input: str | None = None,
    outputs: Mapping[str, Mapped] | None = None,
    channels: int | None = None,
    *,
    near: Sequence[Size] = (),
    probabilities: bool = False,
) -> Source:
    """Read an ONNX file that is to be compiled; its reference is ONNX Runtime's fp32.

    Parameters
    ----------
    path: the file.
    sizes: (rows, cols) that it will be run at; the file's own where it fixes one.
    input, outputs: what they are to be called, and made of; the file's own by default.
    channels: that its input must have.
    near: sizes where the file leaves them open and nobody said any.
    probabilities: whether the outputs must be in 0..1.

    Raises
    ------
    EngineError
        When it is no ONNX file, keeps weights elsewhere, is not fp32 or has no such input, takes batches of another
        size only, or holds an operator that ONNX Runtime does not know.

    """
    model, interface = read_onnx(path)
    if interface.batch not in (None, 1):
        raise EngineError(
            f"input {interface.input!r}: batch {interface.batch} is fixed: export with a free batch axis, or 1"
        )
    open_size = None in (interface.rows, interface.cols)
    sizes = tuple(sizes) or (tuple(near) if open_size else ()) or interface.sizes()
    if not open_size and sizes != interface.sizes():
        raise EngineError(f"size: got {sizes[0]}, input {interface.input!r} takes {interface.sizes()[0]} only")
    if channels is not None and interface.channels != channels:
        raise EngineError(f"input {interface.input!r}: has {interface.channels} channels, expected {channels}")
    if input is not None:
        model = adapt(model, input, dict(outputs or {}), sizes[0] if len(sizes) == 1 else None)
    engine = load_engine(model, "onnxruntime")
    name, names = engine.inputs[0].name, tuple(spec.name for spec in engine.outputs)

    def reference(images: Array) -> dict[str, Array]:
        rows = [engine.run({name: row[None]}) for row in images]
        return {key: np.concatenate([row[key] for row in rows]) for key in names}

    one_row = interface.batch == 1
    return Source(path.stem, model, name, interface.channels, sizes, names, probabilities, reference, one_row)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The sides of images that a network takes: from ``first``, (rows, cols), in steps."""

    step: int
    first: Size

    def next(self, size: Size) -> Size:
        """Return the smallest size that is not smaller than this."""
        rows, cols = (side + (first - side) % self.step for side, first in zip(size, self.first, strict=True))
        return rows, cols

    def check(self, name: str, sizes: Sequence[Size]) -> None:
        wrong = [size for size in sizes if self.next(size) != size]
        if wrong:
            more = f" plus {self.first[0]}" if self.first[0] else ""
            near = "x".join(map(str, self.next(wrong[0])))
            raise EngineError(
                f"size: got {wrong[0]}, {name} takes multiples of {self.step}{more}; say one with --size, as {near}"
            )


def _grid(usual: Size, network: nn.Module) -> _Grid:
    """Return a network's sizes; where it does not pad, they are not multiples of its stride, but of the same rest."""
    step = getattr(network, "stride", None) or 1
    return _Grid(step, (usual[0] % step, usual[1] % step) if getattr(network, "margin", 0) else (0, 0))


def _settle(name: str, network: nn.Module, channels: int, sizes: Sequence[Size]) -> None:
    try:
        settle(network, _example(channels, min(sizes)))
    except RuntimeError as error:
        raise EngineError(f"{name} cannot be run at {min(sizes)}: {error}") from error


def _example(channels: int, size: Size) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([samples.real(channels, size), samples.noise(channels, size, seed=1)]))
