"""What all methods share: images on their way, whose fault an error is, networks run at fixed batch shapes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from mammofast.engine import Engine, TensorSpec
from mammofast.errors import BrokenImage, BundleError, DeviceLostError, EngineError, ImageError, Reason
from mammofast.methods.parameters import is_whole
from mammofast.records import Finding, GreyTable, ImageResult, ImageSource, level_shape, no_detections

T = TypeVar("T")
LAST_LEVEL = 15  # that images can be read at
Outcome = dict[str, npt.NDArray[np.float32]] | EngineError


@dataclass(slots=True)
class Case:
    """One image on its way through the stages.

    table, low, high: from stored values to presentation values, and which of these become 0 and 1.
    frame: rows and columns of the level that was read, in native pixels: the image and what its last squares overhang.
    """

    image: ImageSource
    error: str | None = None
    table: GreyTable | None = None
    low: float = 0.0
    high: float = 1.0
    frame: tuple[int, int] = (0, 0)
    findings: list[Finding] = field(default_factory=list)

    def result(self) -> ImageResult:
        """Return what was found, or why nothing can be said."""
        if self.error is not None:
            return ImageResult(shape=self.image.shape, error=self.error)
        return ImageResult(self.image.shape, tuple(self.findings), None, self.detections())

    def detections(self) -> npt.NDArray[np.float32]:
        """Return what the findings were fused from, see :attr:`ImageResult.detections`."""
        return no_detections()


class Blamed(Protocol):
    """What keeps an image's error."""

    error: str | None


class blaming:  # noqa: N801 - reads as a statement
    """Within this block, what goes wrong is the fault of one image and stays with it."""

    def __init__(self, case: Blamed) -> None:
        self._case = case

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None:
            return False
        if isinstance(error, ImageError):
            self._case.error = str(error)
        elif isinstance(error, Exception) and not isinstance(error, DeviceLostError):
            # The message of an error nobody expected may hold anything, a patient's name included.
            self._case.error = f"{Reason.INTERNAL}: {type(error).__name__}"
        return self._case.error is not None


def coarsest_level(shape: tuple[int, int], needed: tuple[int, int]) -> int:
    """Return the coarsest level of an image that is not smaller than ``needed``; 0 where even the native image is."""
    level = 0
    while level < LAST_LEVEL:
        coarser = level_shape(shape, level + 1)
        if coarser[0] < needed[0] or coarser[1] < needed[1]:
            break
        level += 1
    return level


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield items in lists of ``size``, the last one shorter; items are taken when their batch is."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def run_rows(engine: Engine, name: str, rows: npt.NDArray[np.float32], size: int) -> list[Outcome]:
    """Run one batch, padded to its fixed size; where it fails, each row alone, so that only a bad row fails."""
    try:
        return list(run_batch(engine, name, rows, size))
    except DeviceLostError:
        raise
    except EngineError as error:
        if len(rows) == 1:
            return [error]
        return [outcome for row in rows for outcome in run_rows(engine, name, row[None], size)]


def run_batch(
    engine: Engine, name: str, rows: npt.NDArray[np.float32], size: int
) -> list[dict[str, npt.NDArray[np.float32]]]:
    """Run one batch, padded to its fixed size; return each row's outputs."""
    # Proposals' features are many: those of a full batch are not copied again.
    short = size - len(rows)
    padding = np.zeros((short, *rows.shape[1:]), dtype=np.float32)
    outputs = engine.run({name: np.concatenate([rows, padding]) if short else rows})
    return [{key: value[i] for key, value in outputs.items()} for i in range(len(rows))]


def all_finite(output: Outcome, names: Sequence[str], network: str) -> list[npt.NDArray[np.float32]] | BrokenImage:
    """Return a row's outputs, or the error of its image: what a stage of a pipeline returns for a unit."""
    try:
        return [finite(output, name, network) for name in names]
    except BrokenImage as error:
        return error


def finite(output: Outcome, name: str, network: str) -> npt.NDArray[np.float32]:
    """Return one of a row's outputs. NaN is an error of its image: read as a number it would say "no finding".

    Raises
    ------
    BrokenImage
        When the network could not be run on this row, or gave NaN or infinity.

    """
    if isinstance(output, EngineError):
        raise BrokenImage(Reason.INTERNAL, f"the {network} could not be run on this image") from output
    values = output[name]
    if not np.isfinite(values).all():
        raise BrokenImage(Reason.NOT_FINITE, f"the {network} gave NaN or infinity for this image")
    return values


def check_network(
    name: str, engine: Engine, source: str, row: Sequence[int], outputs: Sequence[str], batch: int
) -> None:
    """Say at once that a network is not the one a method runs, rather than of every image.

    row: the shape of one row of the input ``source``.

    Raises
    ------
    BundleError
        When the network does not take batches of such rows, or lacks an output.

    """
    shape = (batch, *row)
    # Of no size in memory, whatever the shape.
    image = np.broadcast_to(np.float32(0), shape)
    if [spec.name for spec in engine.inputs] != [source] or not engine.inputs[0].accepts(image):
        raise BundleError(
            f"{name}: takes {in_words(engine.inputs)}, expected {in_words([TensorSpec(source, shape, 'float32')])}; "
            "give the network that the manifest's parameters describe, or change them; where only the name differs, "
            "state it in 'inputs'"
        )
    if missing := set(outputs) - {spec.name for spec in engine.outputs}:
        raise BundleError(
            f"{name}: has no output {sorted(missing)}, only {[spec.name for spec in engine.outputs]}; "
            "'outputs' in the manifest can name another tensor"
        )


def in_words(specs: Sequence[TensorSpec]) -> str:
    """Return names, types and shapes of inputs or outputs for a message: ``'image', float32 any × 3 × 256 × 256``."""
    shapes = (" × ".join("any" if size is None else str(size) for size in spec.shape) for spec in specs)
    return " and ".join(f"{spec.name!r}, {spec.dtype} {shape}" for spec, shape in zip(specs, shapes, strict=True))


def are_sizes(values: object, count: int | None = None) -> bool:
    """Whether these are whole numbers of pixels, at least one of them."""
    return (
        isinstance(values, tuple)
        and len(values) == (count or max(len(values), 1))
        and all(is_whole(value) and value > 0 for value in values)
    )
