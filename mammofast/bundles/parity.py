"""Holding a network that nobody has run yet against what it must give."""

import io
import re
import zipfile
import zlib

import numpy as np

from mammofast.engine import Engine
from mammofast.engine.base import Tensor
from mammofast.errors import BundleError, EngineError

_KEY = re.compile(r"(\d+)\.(input|output)\.(.+)")
# A damaged .npz fails where its first wrong byte is; the last of them is of a flag that asks for a password.
_DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError)
Case = tuple[dict[str, Tensor], dict[str, Tensor]]


def check_parity(engine: Engine, content: bytes, budget: dict[str, float], where: str) -> None:
    """Run an engine on a parity file's inputs and compare.

    Parameters
    ----------
    content: an .npz of float32 arrays ``K.input.NAME`` and ``K.output.NAME``, see docs/bundle.md.
    budget: the largest absolute error of each output. where: begins every message.

    Raises
    ------
    BundleError
        When the file is not such an .npz, or its outputs are not those of the budget.
    EngineError
        When the engine cannot run a case, or goes beyond the budget.

    """
    for number, (inputs, expected) in sorted(_cases(content, where).items()):
        if set(expected) != set(budget):
            raise BundleError(
                f"{where}: case {number} of its parity file has outputs {sorted(expected)}, "
                f"'budget' has {sorted(budget)}"
            )
        try:
            outputs = engine.run(inputs)
        except EngineError as error:
            raise EngineError(f"{where} is not verified yet, and case {number} of its parity file: {error}") from error
        for name, values in expected.items():
            if name not in outputs:
                raise BundleError(f"{where}: 'budget' names output {name!r}, the network has {sorted(outputs)}")
            distance = _largest_error(outputs[name], values)
            if not distance <= budget[name]:
                raise EngineError(
                    f"{where} is not verified yet, and here it does not give what its parity file expects: output "
                    f"{name!r} of case {number} is off by {distance:.3g}, the budget is {budget[name]:.3g}; "
                    "do not use it on this machine, compile it again here with mammofast compile"
                )


def _cases(content: bytes, where: str) -> dict[int, Case]:
    """Read the file's arrays, (inputs, outputs) by case."""
    cases: dict[int, Case] = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for key in file.files:
                found = _KEY.fullmatch(key)
                values = file[key]
                if found is None or values.dtype != np.float32:
                    raise ValueError(f"it holds {key!r} of {values.dtype}")
                case = cases.setdefault(int(found[1]), ({}, {}))
                case[found[2] == "output"][found[3]] = np.ascontiguousarray(values)
    except (ValueError, TypeError, AttributeError, KeyError, OSError, EOFError, *_DAMAGE) as error:
        raise BundleError(
            f"{where}: its parity file is not an .npz of float32 arrays K.input.NAME ({error})"
        ) from error
    if not cases:
        raise BundleError(f"{where}: its parity file is empty")
    return cases


def _largest_error(got: Tensor, expected: Tensor) -> float:
    """NaN where a shape or a value is not comparable, which is beyond every budget."""
    if got.shape != expected.shape:
        return float("nan")
    with np.errstate(invalid="ignore"):
        return float(np.abs(got.astype(np.float64) - expected).max(initial=0.0))
