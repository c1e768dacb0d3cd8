"""Building engines with either flavour.

Both have one Python interface and take strongly typed networks: the precision is that of the ONNX file's tensors, there
are no flags for it. They differ in where they build. TensorRT tunes on the card that will run the engine and keeps what
it timed in a cache. TensorRT for RTX needs no card: it builds for the compute capabilities it is told, and kernels are
compiled when the engine first runs on one, so that it has no timing cache.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mammofast.engine.tensorrt.flavour import FLAVOURS, import_flavour, make_log, require_card
from mammofast.errors import EngineError

# What TensorRT for RTX builds for unless it is told compute capabilities.
_AMPERE_AND_NEWER = "sm_80+ptx"

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Of each input: the smallest, the usual and the largest shape. An engine is tuned for the usual one."""

Report = Callable[[str, int, int], None]
"""Called with a phase's name, its steps done and their number."""


@dataclass(frozen=True, slots=True)
class Built:
    """A built engine.

    engine: its bytes. target: the cards that it runs on, as a manifest says it, such as "sm_86,sm_89" or "sm_80+ptx".
    versions: of what built it. timing_cache: the cache as it is now; None where there is none.
    """

    engine: bytes
    target: str
    versions: Mapping[str, str]
    timing_cache: bytes | None = None


def check_builder(flavour: str, compute_capabilities: Sequence[str] = ()) -> str:
    """Check that engines can be built here for these cards, and return the target as a manifest says it.

    Raises
    ------
    EngineError
        When the package or, for TensorRT, a card is missing, or a compute capability is not among the package's.

    """
    if flavour not in FLAVOURS:
        raise EngineError(f"backend: got {flavour!r}, expected one of {list(FLAVOURS)}")
    try:
        trt = import_flavour(flavour)
    except ImportError as error:
        raise EngineError(f'{flavour} is not installed ({error}); pip install "mammofast[{flavour}]"') from error
    if flavour == "tensorrt":
        if compute_capabilities:
            raise EngineError(
                "compute capability: TensorRT builds for the card it runs on; leave it out, or use tensorrt-rtx"
            )
        return require_card(flavour)
    known = _compute_capabilities(trt)
    if unknown := [capability for capability in compute_capabilities if capability not in known]:
        raise EngineError(f"compute capability: got {', '.join(unknown)}, {flavour} builds for {', '.join(known)}")
    return ",".join(f"sm_{capability.replace('.', '')}" for capability in compute_capabilities) or _AMPERE_AND_NEWER


def _compute_capabilities(trt: Any) -> dict[str, Any]:
    """Return what TensorRT for RTX builds for, "8.6" to its constant."""
    members = trt.ComputeCapability.__members__
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in members.items() if name.startswith("SM")}


def build(
    model: bytes,
    flavour: str,
    profiles: Sequence[Profile],
    *,
    compute_capabilities: Sequence[str] = (),
    workspace: int | None = None,
    timing_cache: bytes | None = None,
    report: Report | None = None,
) -> Built:
    """Build an engine.

    Parameters
    ----------
    model: ONNX with its weights inside; the types of its tensors are the engine's.
    flavour: "tensorrt" or "tensorrt-rtx".
    profiles: one for each shape that the engine is tuned for, if any input's axis is free.
    compute_capabilities: such as "8.6"; TensorRT for RTX only. None means every card from Ampere (8.0) on.
    workspace: bytes that a layer may use for itself; all of the card's memory by default.
    timing_cache: what an earlier build returned, TensorRT only.
    report: told how far the build is.

    Raises
    ------
    EngineError
        When the parser or the builder refuses the network, with the node's name, or it cannot be built here, see
        :func:`check_builder`.

    """
    target = check_builder(flavour, compute_capabilities)
    if flavour != "tensorrt" and timing_cache is not None:
        raise EngineError("timing cache: TensorRT for RTX has none, its kernels are compiled when an engine first runs")
    trt = import_flavour(flavour)
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise EngineError(f"{flavour} cannot read the network: {_refusals(parser)}")
    inputs = {network.get_input(i).name for i in range(network.num_inputs)}
    if wrong := [sorted(profile) for profile in profiles if set(profile) != inputs]:
        raise EngineError(f"shapes: got those of {wrong[0]}, the network's inputs are {sorted(inputs)}")
    config = _configure(trt, builder, compute_capabilities, workspace)
    cache = None
    if flavour == "tensorrt":
        cache = config.create_timing_cache(timing_cache or b"")
        config.set_timing_cache(cache, False)
    for profile in profiles:
        _add_profile(builder, config, profile)
    monitor = _monitor(trt, report) if report is not None else None
    config.progress_monitor = monitor
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise EngineError(f"{flavour} could not build the network: {'; '.join(log.errors) or 'it gave no reason'}")
    return Built(
        engine=bytes(serialized),
        target=target,
        versions={flavour: trt.__version__},
        timing_cache=None if cache is None else bytes(cache.serialize()),
    )


def _configure(trt: Any, builder: Any, capabilities: Sequence[str], workspace: int | None) -> Any:
    config = builder.create_builder_config()
    # fp32 is fp32: TF32 keeps ten bits of a factor and would not pass fp32's gate.
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if capabilities:
        known = _compute_capabilities(trt)
        config.num_compute_capabilities = len(capabilities)
        for i, capability in enumerate(capabilities):
            config.set_compute_capability(known[capability], i)
    return config


def _add_profile(builder: Any, config: Any, shapes: Profile) -> None:
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"shapes: {dict(shapes)} is no profile of this network: expected smallest <= usual <= largest"
        )


def _refusals(parser: Any) -> str:
    """Say which nodes the parser refused, why and what to do."""
    words = []
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        operator = error.node_operator()
        where = f"{operator} (node {error.node_name() or error.node()!r}): " if operator else ""
        reason = error.desc() if error.desc() not in ("", "false") else "this operator is not supported"
        words.append(f"{where}{reason}")
    asked = " Compile for onnxruntime, or cut the network there." if any("node" in w for w in words) else ""
    return "; ".join(dict.fromkeys(words)) + "." + asked


def _monitor(trt: Any, report: Report) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            report(phase, step + 1, self._steps.get(phase, 0))
            return True

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)

    return Monitor()
