"""``mammofast bench engines``: networks on the backends of this machine, beside what its cores can do at most."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.bundles import load_bundle
from mammofast.bundles.manifest import MANIFEST, SHIPPED
from mammofast.engine import Engine, load_engine
from mammofast.engine.driver import compute_capability
from mammofast.engine.on_device import DeviceEngine
from mammofast.engine.tensorrt import FLAVOURS, build
from mammofast.errors import ProfilingError
from mammofast.profiling.ceiling import ceiling_gflops
from mammofast.profiling.contest import Contest, Way
from mammofast.profiling.doubts import above_ceiling, transfer_bound
from mammofast.profiling.macs import count_onnx_work
from mammofast.profiling.record import Case
from mammofast.profiling.sampling import Effort
from mammofast.profiling.way_to_the_card import split_ms

Array = npt.NDArray[np.float32]
Size = tuple[int, int]

PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx-cu13-libs", "torch")
NOTES = (
    "Inputs lie in memory already; on a CPU nothing is moved to a device, so that all of the time is the network's.",
    "On a card a run is the way there and back too; split_ms takes it apart, each step waited for.",
)
_SEED = 0
# Backends whose files are ONNX, which can be converted for others.
_ONNX = ("onnxruntime", "openvino")
# Of a value, by precision.
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
# Past this the agreement with PyTorch is that of a precision, not of a network: see mammofast.compilation.parity.
_AGREE = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.1}


@dataclass(frozen=True, slots=True)
class PaperCase:
    """A table of a paper, to be measured again. fps: the paper's images per second, by network."""

    reason: str
    size: Size
    fps: dict[str, float]


CASES = {
    "table-6": PaperCase(
        "Sun et al. 2020, table 6: frames per second at 256 × 256 on a GeForce GTX 1080 Ti",
        (256, 256),
        {"unet-p2": 59, "fusionnet": 36, "fc-densenet103-p2": 27, "aunet": 32},
    )
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to time.

    eager: the same in PyTorch, one image at a time, where there is that. torch_file: what the backend torch runs, by
    precision; None where it cannot.
    """

    name: str
    reason: str
    model: bytes
    backend: str
    precision: str
    channels: int
    sizes: tuple[Size, ...]
    eager: Any = None
    torch_file: Callable[[str], bytes] | None = None
    paper_fps: float | None = None


def of_bundle(bundle: str | Path, sizes: Sequence[Size] = ()) -> Iterator[Subject]:
    """Yield every network of a bundle, by default at the sizes that its method runs it at."""
    opened = load_bundle(bundle)
    parameters = opened.parameters
    own = {
        "detector": parameters.get("scales", ()),
        "segmenter": [parameters[key] for key in ("crop_shape", "shape", "tile") if key in parameters],
    }
    for role, network in opened.networks.items():
        yield Subject(
            name=f"{opened.name}/{role}",
            reason="what a night runs",
            model=opened.read(role),
            backend=network.backend,
            precision=network.precision,
            channels=0,
            sizes=tuple(sizes) or tuple((int(rows), int(cols)) for rows, cols in own.get(role, ())),
        )


def of_network(name: str, sizes: Sequence[Size] = (), *, eager: bool = False, width: float = 1.0) -> Subject:
    """Return a network of the catalogue with random weights; their values change no time.

    Raises
    ------
    ImportError
        When PyTorch or onnx is missing.

    """
    from mammofast.compilation.networks import Weights
    from mammofast.compilation.sources import from_catalogue

    options = {} if width == 1 else {"width": width}
    source = from_catalogue(name, Weights(random=_SEED), options=options, sizes=sizes)
    return Subject(
        name=name if width == 1 else f"{name}, {width:g} as wide",
        reason="a network of the catalogue, random weights",
        model=source.model,
        backend="onnxruntime",
        precision="fp32",
        channels=source.channels,
        sizes=source.sizes,
        eager=source.reference if eager else None,
        torch_file=source.torch_file,
    )


def of_onnx(path: Path, sizes: Sequence[Size] = ()) -> Subject:
    """Return the network of an ONNX file."""
    from mammofast.compilation.onnx_files import read_onnx

    model, interface = read_onnx(path)
    sizes = tuple(sizes) or interface.sizes()
    return Subject(path.name, "a file", model, "onnxruntime", "fp32", interface.channels, sizes)


def of_target(target: str, sizes: Sequence[Size] = (), *, eager: bool = False, width: float = 1.0) -> Iterator[Subject]:
    """Yield what a name stands for: a bundle's networks, a network of the catalogue, or an ONNX file.

    Raises
    ------
    ProfilingError
        When eager or width is given and it is no network of the catalogue.

    """
    path = Path(target)
    is_bundle = target in SHIPPED or (path / MANIFEST).exists()
    if not is_bundle and path.suffix != ".onnx":
        yield of_network(target, sizes, eager=eager, width=width)
        return
    if eager or width != 1:
        raise ProfilingError(
            f"{path.name}: got {'a bundle' if is_bundle else 'an ONNX file'}, expected a network of the catalogue, "
            "which alone is known to PyTorch (eager) and comes in other widths"
        )
    if is_bundle:
        yield from of_bundle(target, sizes)
    else:
        yield of_onnx(path, sizes)


def of_paper(case: str, *, eager: bool = False, width: float = 1.0) -> Iterator[Subject]:
    """Yield the networks of a paper's table.

    Raises
    ------
    ProfilingError
        When there is no such case.

    """
    if case not in CASES:
        raise ProfilingError(f"case: got {case!r}, expected one of {sorted(CASES)}")
    table = CASES[case]
    for name, fps in table.fps.items():
        yield replace(of_network(name, [table.size], eager=eager, width=width), reason=table.reason, paper_fps=fps)


def engine_cases(
    subjects: Iterable[Subject],
    effort: Effort,
    *,
    runs: Sequence[tuple[str, str]] = (),
    batches: Sequence[int] = (1,),
    threads: int = 1,
) -> Iterator[Case]:
    """Yield a case for each network, backend and precision, size and batch.

    runs: (backend, precision) pairs, the subject's own where there are none. threads: of one run.
    """
    for subject in subjects:
        for backend, precision in runs or ((subject.backend, subject.precision),):
            model = _converted(subject, backend, precision, max(batches))
            device = _device(backend)
            with load_engine(model, backend, device, precision, threads) as engine:
                for size in subject.sizes or _sizes(engine):
                    for batch in batches:
                        run = replace(subject, backend=backend, precision=precision)
                        onnx = subject.model if subject.backend in _ONNX else None
                        yield _case(run, onnx, engine, device, size, batch, threads, effort)


def _device(backend: str) -> str:
    """Return where a backend runs here: on the first card, if it can and there is one."""
    if backend in FLAVOURS:
        return "cuda"
    return "cuda" if backend == "torch" and compute_capability(0) is not None else "cpu"


def _converted(subject: Subject, backend: str, precision: str, largest_batch: int) -> bytes:
    """Return the network for a backend and in a precision; OpenVINO is told its own when it loads fp32.

    Raises
    ------
    ProfilingError
        When it is compiled for another backend already, or is no network of the catalogue and PyTorch is to run it.

    """
    if (backend, precision) == (subject.backend, subject.precision):
        return subject.model
    if backend == "torch" and subject.torch_file is not None:
        return subject.torch_file(precision)
    if backend == "torch" or subject.backend not in _ONNX:
        raise ProfilingError(
            f"{subject.name}: is a file for {subject.backend}, {backend} cannot run it; name a network of the "
            "catalogue, or compile a bundle for that backend"
        )
    model = subject.model
    if precision not in ("fp32", subject.precision) and backend != "openvino":
        from mammofast.compilation.precision import convert

        model = convert(model, precision)
    return _built(model, backend, subject, largest_batch) if backend in FLAVOURS else model


def _built(model: bytes, backend: str, subject: Subject, largest_batch: int) -> bytes:
    """Return an engine for batches up to the largest, at every size."""
    from mammofast.compilation.onnx_files import input_and_output_shapes

    ((name, (_, channels, *_)),) = input_and_output_shapes(model)[0].items()
    shapes = [tuple((n, channels or subject.channels, *size) for n in (1, largest_batch)) for size in subject.sizes]
    return build(model, backend, [{name: (one, largest, largest)} for one, largest in shapes]).engine


def _sizes(engine: Engine) -> tuple[Size, ...]:
    *_, rows, cols = engine.inputs[0].shape
    if rows is None or cols is None:
        raise ProfilingError("size: this network takes images of any size; say which with --size ROWSxCOLS")
    return ((rows, cols),)


def _case(
    subject: Subject,
    onnx: bytes | None,
    engine: Engine,
    device: str,
    size: Size,
    batch: int,
    threads: int,
    effort: Effort,
) -> Case:
    spec = engine.inputs[0]
    shape = (batch, spec.shape[1] or subject.channels, *size)
    image = np.random.default_rng(_SEED).random(shape, dtype=np.float32)
    ours = f"{subject.backend}, {subject.precision}" + ("" if device == "cpu" else f", {device}")
    tolerance = _AGREE[subject.precision]

    def agree(expected: dict[str, Array], got: dict[str, Array]) -> bool:
        return all(
            np.abs(expected[name] - got[name]).max() <= tolerance * max(1.0, float(np.abs(expected[name]).max()))
            for name in expected
        )

    with ExitStack() as stack:
        others = {}
        if subject.eager is not None and device != "cpu":
            eager = stack.enter_context(_eager_on_card(subject, device))
            others[f"PyTorch eager, {subject.precision}"] = Way(
                partial(eager.run, {eager.inputs[0].name: image}), agree
            )
        elif subject.eager is not None:
            _torch_threads(threads)
            others["PyTorch eager, fp32"] = Way(partial(subject.eager, image), agree)
        on = "" if threads == 1 else f", {threads} threads"
        ceiling = ceiling_gflops(subject.precision, threads) if device == "cpu" else None
        case = Contest(
            f"{subject.name}, {size[0]} × {size[1]}, batch {batch}, {ours}{on}",
            subject.reason,
            partial(engine.run, {spec.name: image}),
            others,
            items=batch,
            unit="images",
            called=ours,
        ).measure(effort, threads)
    if ceiling is not None:  # once more: what else runs here takes from the ceiling too
        ceiling = max(ceiling, ceiling_gflops(subject.precision, threads) or 0.0)
    work = None if onnx is None else count_onnx_work(onnx, shape)
    gflops = None if work is None else 2 * work.macs / batch * case.throughput / 1e9
    moved = None if work is None else work.values * _BYTES[subject.precision]
    share = gflops / ceiling if gflops and ceiling else None
    facts = {
        "network": subject.name,
        "backend": subject.backend,
        "precision": subject.precision,
        "batch": batch,
        "size": list(size),
        "threads": threads,
        "gmac_per_image": None if work is None else work.macs / batch / 1e9,
        "bytes_per_image": None if moved is None else moved / batch,
        "flop_per_byte": None if work is None or not moved else 2 * work.macs / moved,
        "gflops": gflops,
        "ceiling_gflops": ceiling,
        "share_of_ceiling": share,
        "paper_images_per_s": subject.paper_fps,
    }
    warnings = case.warnings + above_ceiling(share)
    if isinstance(engine, DeviceEngine):
        facts["split_ms"] = split = split_ms(engine, {spec.name: image}, effort)
        warnings += transfer_bound(split)
        facts["device_memory_bytes"] = asdict(engine.memory)
        facts["cuda_graphs"] = engine.graphs
    return replace(case, facts=facts, warnings=warnings)


def _eager_on_card(subject: Subject, device: str) -> Engine:
    """Return the network in PyTorch as it is used otherwise: layer by layer, in the same precision, channels last."""
    from mammofast.engine.torch.file import read_file
    from mammofast.engine.torch.on_card import TorchCardEngine

    if subject.torch_file is None:
        raise ProfilingError(f"{subject.name}: eager PyTorch runs networks of the catalogue only; leave --eager out")
    return TorchCardEngine(*read_file(subject.torch_file(subject.precision)), device, captured=False)


def _torch_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
