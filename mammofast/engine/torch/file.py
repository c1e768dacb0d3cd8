# mypy: disallow-subclassing-any=False
"""What a bundle holds for PyTorch: weights in safetensors, and in its header which network of the catalogue they are.

Nothing in it is executed: the network is built by :func:`mammofast.models.create`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from mammofast.engine.base import TensorSpec
from mammofast.errors import EngineError
from mammofast.models import create
from mammofast.models.interfaces import Probabilities, Raw

_KEY = "mammofast"
_FORMAT = 1
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
RAW = "raw"
# Of Faster R-CNN; every other network is one engine.
_PARTS = ("", "before_rois", "after_rois")

Shapes = Mapping[str, tuple[int | None, ...]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build the network that the weights are of.

    network: its name in the catalogue. options: all that its class is built with. part: of it, or empty.
    output: "raw", or what the foreground's probability is made of, as the catalogue says it.
    replicate: how often a grey channel is repeated for it. inputs, outputs: shapes by name, None where an axis is free.
    Outputs are in the order that the network gives them in.
    precision: of the weights and the arithmetic; batch normalizations keep fp32.
    """

    network: str
    options: Mapping[str, Any]
    output: str
    replicate: int
    inputs: Shapes
    outputs: Shapes
    precision: str = "fp32"
    part: str = ""

    def specs(self, shapes: Shapes) -> tuple[TensorSpec, ...]:
        """Return inputs or outputs as an engine states them: fp32, whatever is between."""
        return tuple(TensorSpec(name, tuple(shape), "float32") for name, shape in shapes.items())


def write_file(recipe: Recipe, network: nn.Module) -> bytes:
    """Return a file of a network's weights, in the recipe's precision.

    network: what ``create`` built, or the part of it.
    """
    dtype = DTYPES[recipe.precision]
    kept = _batch_norms(network)
    state = {
        # Copies: two keys of one tensor are two here.
        key: (value if key in kept or not value.is_floating_point() else value.to(dtype)).detach().clone().contiguous()
        for key, value in network.state_dict().items()
    }
    header = json.dumps({"format": _FORMAT, **asdict(recipe)})
    content: bytes = save(state, {_KEY: header})
    return content


def read_file(content: bytes) -> tuple[Recipe, nn.Module]:
    """Return what a file states, and the network with its weights; inputs and outputs are fp32, channels come last.

    Raises
    ------
    EngineError
        When it is no such file, or its weights are not those of the network it names.

    """
    recipe = _read_recipe(content)
    if recipe.precision not in DTYPES or recipe.part not in _PARTS:
        raise EngineError(f"the file states precision {recipe.precision!r} and part {recipe.part!r}, which are unknown")
    with torch.device("meta"):  # no values are drawn that the file's replace
        network: nn.Module = create(recipe.network, **recipe.options)
    if recipe.part:
        network = getattr(network, recipe.part)
    state = load(content)
    # PyTorch itself lets counters of batches be missing.
    if wrong := state.keys() ^ network.state_dict().keys():
        raise EngineError(
            f"the file's weights are not those of {recipe.network!r}: {min(wrong)!r} is in one of them only"
        )
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise EngineError(f"the file's weights are not those of {recipe.network!r}: {error}") from error
    typed = _Typed(network.to(memory_format=torch.channels_last), DTYPES[recipe.precision])
    if recipe.output == RAW:
        return recipe, Raw(typed, recipe.replicate).eval()
    return recipe, Probabilities(typed, recipe.output, recipe.replicate).eval()


class _Typed(nn.Module):
    """A network in a precision of its own, channels last; fp32 before and after it."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        for module in network.modules():
            if isinstance(module, nn.GroupNorm):
                # Over channels that come last PyTorch adds all of a group at once, and loses digits of large images.
                module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = self.network(image.to(self.dtype, memory_format=torch.channels_last))
        if isinstance(outputs, Tensor):
            return outputs.float()
        return tuple(output.float() for output in outputs)


def _batch_norms(network: nn.Module) -> set[str]:
    """Return the keys of what batch normalizations hold: a variance may pass fp16's range, and cuDNN wants fp32."""
    return {
        f"{prefix}.{key}" if prefix else key
        for prefix, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for key in module.state_dict()
    }


def _read_recipe(content: bytes) -> Recipe:
    """Read the header: eight bytes of its length, then JSON; safetensors returns the tensors only."""
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"][_KEY]
        stated = json.loads(header)
        if stated.pop("format") != _FORMAT:
            raise EngineError(f"the file's format is unknown, expected {_FORMAT}")
        return Recipe(**stated)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EngineError(
            f"this is no file of `mammofast compile --to torch` ({type(error).__name__}); compile it again"
        ) from error
