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
from mammofast.compilation.export import Probabilities, Raw, export
from mammofast.compilation.onnx_files import read_onnx
from mammofast.compilation.random_weights import settle
from mammofast.engine import load_engine
from mammofast.errors import EngineError
from mammofast.models import create, find

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
    fixed_batch: the only batch size it takes; None where the batch axis is free.
    geometry: "stride", "halo" and "margin" of a segmenter, where it states them.
    examples: what it is compared on, where a phantom image is not its input.
    largest_batch: that it will be given; None where the target says.
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
    fixed_batch: int | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Array, ...] = ()
    largest_batch: int | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a network's weights come from: a file in a layout that mammofast.models.weights knows, or a seed.

    random: the seed of random weights, where there is no file.
    """

    file: Path | None = None
    layout: str | None = None
    random: int | None = None


def from_catalogue(
    name: str,
    weights: Weights,
    *,
    options: Mapping[str, Any] | None = None,
    sizes: Sequence[Size] = (),
    input: str = "image",
    channels: int | None = None,
) -> Source:
    """Build a network of the catalogue, give it its weights and export it.

    Parameters
    ----------
    name: a name that ``mammofast models`` lists.
    weights: a file, or a seed.
    options: of :func:`mammofast.models.create`.
    sizes: (rows, cols) that it will be run at; the catalogue's by default. A detector keeps them free, all other
        networks are exported for one.
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
    sizes = tuple(sizes) or (entry.input[1:],)
    network = _with_weights(name, weights, options, own, sizes)
    outputs: tuple[str, ...] = (MASK,)
    if entry.output in _PROBABILITIES:
        wrapped: nn.Module = Probabilities(network, entry.output, replicate)
    else:
        wrapped = Raw(network, replicate)
        outputs = YOLO_OUTPUTS if entry.output == "yolo" else (entry.output,)
    free = entry.output == "yolo"
    source = from_module(name, wrapped, input, given, sizes, outputs, entry.output in _PROBABILITIES, free_size=free)
    geometry = {key: getattr(network, key) for key in ("stride", "halo", "margin") if hasattr(network, key)}
    return replace(source, geometry=geometry)


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


def from_onnx(
    path: Path,
    sizes: Sequence[Size] = (),
    input: str | None = None,
    outputs: Mapping[str, Mapped] | None = None,
    channels: int | None = None,
) -> Source:
    """Read an ONNX file that is to be compiled; its reference is ONNX Runtime's fp32.

    Parameters
    ----------
    path: the file.
    sizes: (rows, cols) that it will be run at; the file's own where it fixes one.
    input, outputs: what they are to be called, and made of; the file's own by default.
    channels: that its input must have.

    Raises
    ------
    EngineError
        When it is no ONNX file, keeps weights elsewhere, is not fp32 or has no such input, or holds an operator that
        ONNX Runtime does not know.

    """
    model, interface = read_onnx(path)
    sizes = tuple(sizes) or interface.sizes()
    if channels is not None and interface.channels != channels:
        raise EngineError(f"input {interface.input!r}: has {interface.channels} channels, expected {channels}")
    probabilities = False
    if input is not None:
        model = adapt(model, input, dict(outputs or {}))
        probabilities = all(mapped.activation != "none" for mapped in (outputs or {}).values())
    engine = load_engine(model, "onnxruntime")
    name, names = engine.inputs[0].name, tuple(spec.name for spec in engine.outputs)

    def reference(images: Array) -> dict[str, Array]:
        rows = [engine.run({name: row[None]}) for row in images]
        return {key: np.concatenate([row[key] for row in rows]) for key in names}

    return Source(path.stem, model, name, interface.channels, sizes, names, probabilities, reference, interface.batch)


def _check_sizes(name: str, network: nn.Module, sizes: Sequence[Size]) -> None:
    stride, margin = getattr(network, "stride", None), getattr(network, "margin", 0)
    wrong = [size for size in sizes if any(side % stride for side in size)] if stride and not margin else []
    if wrong:
        raise EngineError(f"size: got {wrong[0]}, {name} takes multiples of {stride}; say one with --size")


def _with_weights(
    name: str, weights: Weights, options: Mapping[str, Any], channels: int, sizes: Sequence[Size]
) -> nn.Module:
    network = created(name, weights, options)
    _check_sizes(name, network, sizes)
    if weights.file is None:
        try:
            settle(network, _example(channels, min(sizes)))
        except RuntimeError as error:
            raise EngineError(f"{name} cannot be run at {min(sizes)}: {error}") from error
    return network.eval()


def _example(channels: int, size: Size) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([samples.real(channels, size), samples.noise(channels, size, seed=1)]))


def created(name: str, weights: Weights, options: Mapping[str, Any]) -> nn.Module:
    """Return a network of the catalogue with its weights, or with random ones as it is initialized; set to eval."""
    if weights.file is not None:
        from mammofast.models.weights import load_weights

        network: nn.Module = create(name, **options)
        load_weights(network, weights.file, weights.layout)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights.random or 0)
            network = create(name, **options)
    return network.eval()
