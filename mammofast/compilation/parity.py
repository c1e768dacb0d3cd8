"""The gate: an engine gives what its network gave in PyTorch, within a stated budget, and equal rows equal results."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from mammofast.compilation import samples
from mammofast.compilation.sources import Source
from mammofast.engine import Engine
from mammofast.errors import EngineError

Array = npt.NDArray[np.float32]

# The largest absolute error of a probability, and for raw heads the largest error as a part of the largest value. fp16
# keeps 11 bits and bf16 8; rounding adds up over tens of layers.
BUDGETS = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1}
# How far probabilities may leave 0..1.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Case:
    """One input (n, channels, rows, cols) and the reference's outputs, by name."""

    input: Array
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Measured:
    """How far an output was from the reference's, at worst over all cases: absolute errors.

    budget: what the largest may be. largest: the reference's largest absolute value.
    """

    max_abs: float
    mean_abs: float
    budget: float
    largest: float

    def as_dict(self) -> dict[str, float]:
        """Return JSON-ready values."""
        return asdict(self)


def make_cases(source: Source) -> list[Case]:
    """Run the reference on a phantom image at every size, and on noise at the first.

    Raises
    ------
    EngineError
        When it fails, or gives NaN or infinity.

    """
    images = list(source.examples)
    if not images:
        images = [samples.real(source.channels, size) for size in source.sizes]
        images.insert(1, samples.noise(source.channels, source.sizes[0]))
    cases = [Case(image, source.reference(image)) for image in images]
    for case in cases:
        for name, values in case.outputs.items():
            if not np.isfinite(values).all():
                raise EngineError(f"{source.name}: output {name!r} is NaN or infinite before it is compiled")
    return cases


def check_probabilities(source: Source, cases: Sequence[Case]) -> None:
    """Check that the reference gave probabilities, where they are expected.

    Raises
    ------
    EngineError
        When values are outside 0..1.

    """
    if not source.probabilities:
        return
    for name in source.outputs:
        low = min(float(case.outputs[name].min()) for case in cases)
        high = max(float(case.outputs[name].max()) for case in cases)
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise EngineError(
                f"{source.name}: output {name!r} goes from {low:.3g} to {high:.3g}, expected probabilities; say "
                f"what is still to be done to it, such as --output {name}=TENSOR:softmax:1"
            )


def budgets(source: Source, cases: Sequence[Case], precision: str, budget: float | None) -> dict[str, float]:
    """Return the largest absolute error of each output.

    budget: of a probability, or for raw outputs as a part of their largest value; the precision's by default.
    """
    part = BUDGETS[precision] if budget is None else budget
    scale = {name: 1.0 if source.probabilities else max(_largest(cases, name), 1e-6) for name in source.outputs}
    return {name: part * scale[name] for name in source.outputs}


def measure(engine: Engine, source: Source, cases: Sequence[Case], allowed: Mapping[str, float]) -> dict[str, Measured]:
    """Run all cases and compare.

    Raises
    ------
    EngineError
        When the engine fails, or gives other shapes, or not the same for equal rows of a batch.

    """
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in source.outputs}
    for case in cases:
        found = engine.run({source.input: case.input})
        for name, expected in case.outputs.items():
            if found[name].shape != expected.shape:
                raise EngineError(f"output {name!r}: got {found[name].shape}, expected {expected.shape}")
            difference = np.abs(found[name].astype(np.float64) - expected)
            errors[name].append((float(difference.max()), float(difference.mean())))
    _check_equal_rows(engine, source, cases)
    return {
        name: Measured(max(e[0] for e in each), max(e[1] for e in each), allowed[name], _largest(cases, name))
        for name, each in errors.items()
    }


def check(name: str, measured: Mapping[str, Measured], precision: str) -> None:
    """Refuse an engine that is further from its network than allowed.

    Raises
    ------
    EngineError
        With every output that is past its budget.

    """
    # Written so that a NaN is past every budget.
    past = {key: value for key, value in measured.items() if not value.max_abs <= value.budget}
    if past:
        words = ", ".join(f"{key!r} by {value.max_abs:.3g} (allowed {value.budget:.3g})" for key, value in past.items())
        more = "use a wider precision, or state a budget with --budget" if precision != "fp32" else "it is not usable"
        raise EngineError(f"{name}: the engine differs from its network: {words}; {more}")


def _check_equal_rows(engine: Engine, source: Source, cases: Sequence[Case]) -> None:
    """Run two equal rows beside another: what shares a batch must not show."""
    if source.one_row:
        return
    rows = [case.input for case in cases if case.input.shape[2:] == source.sizes[0]]
    outputs = engine.run({source.input: np.concatenate([rows[0][:1], rows[-1][:1], rows[0][:1]])})
    for name in source.outputs:
        if not np.array_equal(outputs[name][0], outputs[name][2], equal_nan=True):
            raise EngineError(
                f"{source.name}: equal rows of a batch gave different {name!r}; this engine is not usable"
            )


def _largest(cases: Sequence[Case], name: str) -> float:
    return max(float(np.abs(case.outputs[name]).max()) for case in cases)


def pack(cases: Sequence[Case], input: str) -> bytes:
    """Return the cases as a bundle keeps them: an .npz of K.input.NAME and K.output.NAME."""
    arrays: dict[str, Array] = {}
    for k, case in enumerate(cases):
        arrays[f"{k}.input.{input}"] = np.ascontiguousarray(case.input)
        arrays |= {f"{k}.output.{name}": np.ascontiguousarray(v, np.float32) for name, v in case.outputs.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, values in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, values, allow_pickle=False)
            # NumPy's own writer notes the time of day, and the same bundle would have another id every time.
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return file.getvalue()
