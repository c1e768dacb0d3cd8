"""A network of the catalogue with its weights: from a file, drawn, or partly both."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mammofast.errors import EngineError, ModelError
from mammofast.models import create, find
from mammofast.models.weights import BACKBONES, load_weights


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a network's weights come from: a file in a layout that mammofast.models.weights knows, or a seed.

    random: the seed of random weights, where there is no file, or it holds a backbone's only.
    """

    file: Path | None = None
    layout: str | None = None
    random: int | None = None

    @property
    def partial(self) -> bool:
        """Whether the file leaves a part of the network without weights."""
        return self.file is not None and self.layout in BACKBONES

    @property
    def made_up(self) -> bool:
        """Whether some of the weights are random."""
        return self.random is not None and (self.file is None or self.partial)


def created(name: str, weights: Weights, options: Mapping[str, Any]) -> nn.Module:
    """Return a network of the catalogue with its weights, or with random ones as it is initialized; set to eval.

    Raises
    ------
    ModelError
        When there is no such network or option, or the weights are not its own.
    EngineError
        When the file holds a backbone's weights only, and random ones were not asked for.

    """
    check_weights(name, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.random or 0)
        network: nn.Module = create(name, **options)
    if weights.file is not None:
        load_weights(network, weights.file, weights.layout)
    return network.eval()


def check_weights(name: str, weights: Weights) -> None:
    """Check that all of a network's weights are given, or that random ones were asked for.

    Raises
    ------
    EngineError
        When the file holds a backbone's only, and nothing was said of the rest.

    """
    if weights.partial and weights.random is None:
        raise EngineError(
            f"{name}: the layout {weights.layout!r} is a backbone's, and leaves the rest of the network without "
            "weights. Train it first; or --random to try the software with random ones there, which find nothing"
        )


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check that a network of the catalogue exists and has these options.

    Raises
    ------
    ModelError
        When there is no such network, or it has no such option.

    """
    module, _, factory = find(name).factory.partition(":")
    known = signature(getattr(import_module(f"mammofast.models.{module}"), factory)).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known.values()):
        return
    if unknown := sorted(set(options) - set(known)):
        raise ModelError(f"option: {name} has no {', '.join(unknown)}; expected one of {', '.join(known)}")
