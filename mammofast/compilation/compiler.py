"""One network, compiled for one backend, and gated."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from mammofast.compilation import parity
from mammofast.compilation.precision import check_types, convert
from mammofast.compilation.sources import Source
from mammofast.compilation.steady import steady
from mammofast.engine import check_precision, load_engine
from mammofast.engine.tensorrt import FLAVOURS, Profile, build, check_builder
from mammofast.errors import EngineError
from mammofast.settings import CARD_BATCH


class Say(Protocol):
    """To be told each step; ``detail``: one of many of a step."""

    def __call__(self, words: str, detail: bool = False) -> None: ...  # noqa: D102


def silent(words: str, detail: bool = False) -> None:
    """Say nothing."""


# What PyTorch's wheels for CUDA 13 run on.
_TORCH_CARDS = "sm_75+ptx"
# ONNX Runtime's CPU runs fp16 networks too, with sums in another order than a GPU's; it has no bf16.
_CPU_STANDS_IN = ("fp32", "fp16")


@dataclass(frozen=True, slots=True)
class Target:
    """What to compile for.

    backend: onnxruntime, openvino, tensorrt, tensorrt-rtx or torch.
    precision: fp32, bf16 or fp16, what the backend has.
    device: "cpu" or "cuda", for torch only, which has both; the others have one.
    max_batch: the largest batch that a TensorRT engine takes, and is tuned for.
    compute_capabilities: such as "8.6"; TensorRT for RTX only. workspace: bytes, TensorRT only.
    timing_cache: a file that TensorRT's timings are kept in.
    budget: the largest error, see :data:`mammofast.compilation.parity.BUDGETS`; the precision's by default.
    """

    backend: str
    precision: str = "fp32"
    max_batch: int = CARD_BATCH
    compute_capabilities: tuple[str, ...] = ()
    workspace: int | None = None
    timing_cache: Path | None = None
    budget: float | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        check_precision(self.backend, self.precision)
        if self.budget is not None and not 0 < self.budget < 1:
            raise EngineError(f"budget: got {self.budget}, expected a number between 0 and 1")
        if self.device is not None and self.backend != "torch":
            raise EngineError(f"device: {self.backend} has none to choose, only torch runs on both; leave --device out")
        if self.max_batch < 1:
            raise EngineError(f"batch: got {self.max_batch}, expected 1 or more")
        if self.backend != "tensorrt-rtx" and self.compute_capabilities:
            raise EngineError(
                f"compute capability: {self.backend} has none to choose, only tensorrt-rtx builds for other cards"
            )
        if self.workspace is not None and self.backend not in FLAVOURS:
            raise EngineError(f"workspace: {self.backend} has none to limit; leave --workspace out")
        if self.backend != "tensorrt" and self.timing_cache is not None:
            rtx = self.backend in FLAVOURS
            why = "its kernels are compiled when an engine first runs" if rtx else "it times nothing"
            raise EngineError(f"timing cache: {self.backend} has none, {why}; leave --timing-cache out")

    def check_here(self) -> None:
        """Check that it can be compiled for on this machine, before any of the work is done.

        Raises
        ------
        EngineError
            When something is missing.

        """
        if self.backend in FLAVOURS:
            check_builder(self.backend, self.compute_capabilities)


@dataclass(frozen=True, slots=True)
class Compiled:
    """An engine and what was found of it.

    suffix: of its file. verified: whether it ran here, on what it was compiled for.
    measured: by output, its errors; where it did not run here, those of its typed network on the CPU; empty where the
    CPU has no such type.
    """

    source: Source
    target: Target
    engine: bytes
    suffix: str
    compiled_for: str
    versions: Mapping[str, str]
    verified: bool
    measured: Mapping[str, parity.Measured]
    budget: Mapping[str, float]
    parity: bytes

    def write(self, folder: Path, stem: str) -> dict[str, Any]:
        """Write its files and return the manifest's entry."""
        entry: dict[str, Any] = {
            **_written(folder / f"{stem}{self.suffix}", self.engine),
            "backend": self.target.backend,
            "precision": self.target.precision,
            "target": self.compiled_for,
            "versions": dict(self.versions),
        }
        if not self.verified:
            entry["verified"] = False
            entry["parity"] = {
                **_written(folder / f"{stem}.parity.npz", self.parity),
                "budget": {name: float(f"{value:.6g}") for name, value in self.budget.items()},
            }
        return entry

    def report(self) -> dict[str, Any]:
        """Return what was measured, JSON-ready."""
        return {
            "network": self.source.name,
            "sizes": [list(size) for size in self.source.sizes],
            "bytes": len(self.engine),
            "verified": self.verified,
            "outputs": {name: value.as_dict() for name, value in self.measured.items()},
        }


def compile_source(source: Source, target: Target, say: Say = silent) -> Compiled:
    """Compile a network and hold it against its reference.

    Raises
    ------
    EngineError
        When the backend is missing or refuses it, or it is past its budget.

    """
    say(f"{source.name}: reference")
    cases = parity.make_cases(source)
    parity.check_probabilities(source, cases)
    allowed = parity.budgets(source, cases, target.precision, target.budget)
    say(f"{source.name}: {target.precision} for {target.backend}")
    if target.backend == "torch":
        return _compile_for_torch(source, target, cases, allowed, say)
    # OpenVINO is told its precision when it loads the fp32 network.
    model = source.model if target.backend == "openvino" else convert(source.model, target.precision)
    if target.backend == "onnxruntime" and target.precision == "fp32":
        model = steady(model)
    if target.backend in FLAVOURS:
        return _compile_for_gpu(source, target, model, cases, allowed, say)
    with load_engine(model, target.backend, "cpu", target.precision) as engine:
        say(f"{source.name}: comparing")
        measured = parity.measure(engine, source, cases, allowed)
    parity.check(source.name, measured, target.precision)
    versions = _versions("torch", "onnx", target.backend)
    return Compiled(source, target, model, ".onnx", "cpu", versions, True, measured, allowed, b"")


def _compile_for_torch(
    source: Source, target: Target, cases: list[parity.Case], allowed: Mapping[str, float], say: Say
) -> Compiled:
    if source.torch_file is None:
        raise EngineError(f"{source.name}: torch runs networks of the catalogue, not ONNX files; --to onnxruntime does")
    model = source.torch_file(target.precision)
    # What a card will run is compared here too, in the same precision but on the CPU.
    with load_engine(model, "torch", "cpu", target.precision) as engine:
        say(f"{source.name}: comparing")
        measured = parity.measure(engine, source, cases, allowed)
    parity.check(source.name, measured, target.precision)
    on_card = target.device == "cuda"
    return Compiled(
        source=source,
        target=target,
        engine=model,
        suffix=".safetensors",
        compiled_for=_TORCH_CARDS if on_card else "cpu",
        versions=_versions("torch", "safetensors"),
        verified=not on_card,
        measured=measured,
        budget=allowed,
        parity=parity.pack(cases, source.input) if on_card else b"",
    )


def _compile_for_gpu(
    source: Source, target: Target, model: bytes, cases: list[parity.Case], allowed: Mapping[str, float], say: Say
) -> Compiled:
    measured: dict[str, parity.Measured] = {}
    if target.precision in _CPU_STANDS_IN:
        say(f"{source.name}: comparing its {target.precision} network on the CPU")
        stand_in = steady(model) if target.precision == "fp32" else model
        with load_engine(stand_in, "onnxruntime", "cpu", target.precision) as engine:
            measured = parity.measure(engine, source, cases, allowed)
        parity.check(source.name, measured, target.precision)
    else:
        check_types(model)
    say(f"{source.name}: building")
    cache = None
    if target.timing_cache is not None:
        cache = target.timing_cache.read_bytes() if target.timing_cache.exists() else b""
    built = build(
        model,
        target.backend,
        profiles(source, target.max_batch),
        compute_capabilities=target.compute_capabilities,
        workspace=target.workspace,
        timing_cache=cache,
        report=lambda phase, step, steps: say(f"{source.name}: {phase} {step}/{steps}", detail=True),
    )
    if target.timing_cache is not None and built.timing_cache is not None:
        target.timing_cache.write_bytes(built.timing_cache)
    return Compiled(
        source=source,
        target=target,
        engine=built.engine,
        suffix=".engine",
        compiled_for=built.target,
        versions={**built.versions, **_versions("torch", "onnx")},
        verified=False,
        measured=measured,
        budget=allowed,
        parity=parity.pack(cases, source.input),
    )


def profiles(source: Source, max_batch: int) -> list[Profile]:
    """Return one profile for each size: batches of 1 to ``max_batch``, tuned for the largest."""
    largest = 1 if source.one_row else source.largest_batch or max_batch
    return [
        {source.input: tuple((n, source.channels, *size) for n in (1, largest, largest))}  # type: ignore[dict-item]
        for size in source.sizes
    ]


def _written(path: Path, content: bytes) -> dict[str, str]:
    path.write_bytes(content)
    return {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}


def _versions(*names: str) -> dict[str, str]:
    # What follows a plus sign is the wheel's kind, not the version.
    return {name: metadata.version(name).partition("+")[0] for name in names}
