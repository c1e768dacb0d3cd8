"""Which parameters of a network keep their values."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from mammofast.errors import TrainingError


def freeze(network: nn.Module, names: Sequence[str]) -> None:
    """Freeze the parameters whose names begin so; ``*`` stands for anything.

    Raises
    ------
    TrainingError
        When no parameter's name begins as one of these: it would learn, and nobody know.

    """
    parameters = dict(network.named_parameters())
    for beginning in names:
        found = [parameter for name, parameter in parameters.items() if fnmatchcase(name, f"{beginning}*")]
        if not found:
            raise TrainingError(
                f"freeze: got {beginning!r}, expected the beginning of a parameter's name, such as {min(parameters)!r}"
            )
        for parameter in found:
            parameter.requires_grad_(False)
