"""Examples made once from samples and kept on disk: decoding a mammogram takes longer than learning from it."""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from mammofast.datasets import Sample
from mammofast.errors import DatasetError, ImageError, TrainingError
from mammofast.training.tasks.task import Example, Task

_NAMES = "names.json"
Map = Callable[..., Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 (hex) of a sample's image file, and of its truth: files where it has files, else outlines in words."""

    image: str
    truth: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What samples gave: their digests and examples, and why some gave nothing, each by its image's digest."""

    digests: tuple[Digest, ...]
    examples: tuple[Example, ...]
    left_out: tuple[tuple[str, str], ...]


@runtime_checkable
class Drawn(Protocol):
    """A sample that is drawn and has no files; it says what it is drawn from."""

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of all that it is drawn from."""


class Kept(Mapping[str, npt.NDArray[Any]]):
    """An example in a folder, each array opened when it is asked for: there may be more of them than open files."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._files = {name: folder / f"{name}.npy" for name in names}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return an array, read-only; of a large one only what is used is read."""
        path = self._files[name]
        try:
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # an array without elements cannot be mapped
            array = np.load(path, allow_pickle=False)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def prepare(
    task: Task,
    samples: Sequence[Sample],
    folder: Path,
    advance: Callable[[int], None] = lambda n: None,
    mapped: Map = map,
) -> Prepared:
    """Return all samples' examples, made now or found in ``folder``; what cannot be read is left out, with its reason.

    mapped: what :func:`processes` gives; by default they are made here.

    Raises
    ------
    TrainingError
        When samples were given and all of them had to be left out.

    """
    digests, examples, left_out = [], [], []
    for outcome in mapped(partial(_outcome, task, folder), samples):
        if isinstance(outcome, _LeftOut):
            left_out.append((outcome.image, outcome.reason))
        else:
            digests.append(outcome[0])
            examples += outcome[1]
        advance(1)
    if samples and not digests:
        raise TrainingError(f"none of {len(samples)} images can be used; the first: {left_out[0][1]}")
    return Prepared(tuple(digests), tuple(examples), tuple(left_out))


@dataclass(frozen=True, slots=True)
class _LeftOut:
    image: str
    reason: str


_Outcome = tuple[Digest, list[Example]] | _LeftOut


@contextmanager
def processes(workers: int) -> Iterator[Map]:
    """Within this block what is given is ``map``, or with ``workers`` one over so many processes."""
    if not workers:
        yield map
        return
    # A signal to stop is the parent's to hear: what its workers have begun, they finish.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(task: Task, folder: Path, sample: Sample) -> _Outcome:
    try:
        digest = digest_of(sample)
        return digest, _prepared(task, sample, digest, folder)
    except (DatasetError, ImageError) as error:
        return _LeftOut(_sha256_of(sample.image), str(error))


def digest_of(sample: Sample) -> Digest:
    """Return what identifies a sample's content, whatever it is called.

    Raises
    ------
    DatasetError
        When a file cannot be read.

    """
    if isinstance(sample, Drawn):
        return Digest(sample.fingerprint(), sample.fingerprint())
    truth = hashlib.sha256()
    if sample.labels is not None:
        truth.update(file_sha256(sample.labels).encode())
    truth.update(json.dumps(sorted((sample.classes or {}).items())).encode())
    for lesion in sample.lesions:
        file = getattr(lesion.region, "path", None)
        truth.update(f"{lesion.kind} {file_sha256(file) if file is not None else lesion.region!r}\n".encode())
    return Digest(file_sha256(sample.image), truth.hexdigest())


def _prepared(task: Task, sample: Sample, digest: Digest, folder: Path) -> list[Example]:
    recorded = [type(task).__name__, dict(task.preparation), digest.image, digest.truth]
    key = hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest()
    place = folder / key
    if not (place / _NAMES).is_file():
        _keep(task.prepare(sample), place)
    listed = json.loads((place / _NAMES).read_text(encoding="utf-8"))
    return [Kept(place / str(k), names) for k, names in enumerate(listed)]


def _keep(examples: Sequence[Example], place: Path) -> None:
    """Write a sample's examples whole or not at all; who else made the same meanwhile made the same."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.parent / f".{uuid4().hex}"
    beside.mkdir()
    try:
        for k, example in enumerate(examples):
            (beside / str(k)).mkdir()
            for name, array in example.items():
                np.save(beside / str(k) / f"{name}.npy", array, allow_pickle=False)
        (beside / _NAMES).write_text(json.dumps([sorted(example) for example in examples]), encoding="utf-8")
        try:
            beside.rename(place)
        except OSError:
            if not (place / _NAMES).is_file():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sha256_of(path: Path) -> str:
    try:
        return file_sha256(path)
    except DatasetError:
        return "not readable"


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 (hex).

    Raises
    ------
    DatasetError
        When it cannot be read.

    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"a file cannot be read ({error.strerror})", path.name) from error
