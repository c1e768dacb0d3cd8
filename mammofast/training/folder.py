"""A training's folder: what says which training it is, and where it stands."""

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning_fabric
import monai
import numpy as np
import torch

from mammofast import __version__
from mammofast.errors import TrainingError
from mammofast.training.checkpoint import FORMAT, read_facts, write_text
from mammofast.training.examples import Prepared
from mammofast.training.recipe import Recipe, Stage
from mammofast.training.stage import LAST

WEIGHTS = "weights.safetensors"
EXAMPLES = "examples"
_RUN = "run.json"
# What a training that was killed had read its images with holds its lock until it notices.
_ORPHANS_SECONDS, _LOOK_SECONDS = 10.0, 0.2


@contextmanager
def alone(out: Path) -> Iterator[bool]:
    """Make the folder, and keep every other training on this machine out of it within this block.

    Yields whether that can be: not all file systems lock folders, NFS for one does not.

    Raises
    ------
    TrainingError
        When another one is at work there, or there is a file of this name.

    """
    if out.exists() and not out.is_dir():
        raise TrainingError("the folder to train in is a file; name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out, os.O_RDONLY)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(folder: int) -> bool:
    """Lock an open folder; say whether its file system can."""
    end = time.monotonic() + _ORPHANS_SECONDS
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                words = "another training is at work in the folder; let it end, or name a new one"
                raise TrainingError(words) from None
            time.sleep(_LOOK_SECONDS)
        except OSError:
            return False
        else:
            return True


class Run:
    """The folder ``out``, which is :func:`alone`'s.

    settings: what else decides the result, beside the recipe: JSON-ready. alone: what that yielded.
    """

    def __init__(self, recipe: Recipe, out: Path, settings: Mapping[str, Any], resume: bool, alone: bool) -> None:
        """Take a new folder, or an interrupted training's.

        Raises
        ------
        TrainingError
            When the folder is another training's, or is not empty and nobody said to resume. A training that ended
            before its first checkpoint counts for nothing where it surely has ended: it is begun anew, whatever it was.

        """
        self.out = out
        self._facts: dict[str, Any] = {
            "format": FORMAT,
            "recipe": recipe.name,
            "tables": json.loads(json.dumps(recipe.source)),
            "settings": dict(settings),
            "versions": _versions(),
            "stages": {},
        }
        self.history: list[dict[str, Any]] = []
        self.stage: str | None = None
        path = out / _RUN
        if any(out.iterdir()) and not (alone and _learned_nothing(out)):
            if not (path.is_file() and resume):
                words = "the folder to train in is not empty; name a new one, or say --resume to go on there"
                raise TrainingError(words)
            self._resume(path)
        self._write()

    def _resume(self, path: Path) -> None:
        before = _read(path)
        for name in ("recipe", "tables", "settings"):
            if before.get(name) != self._facts[name]:
                difference = _difference(before.get(name), self._facts[name])
                raise TrainingError(
                    f"the folder is of another training: of its {name}, {difference}; resume with what it was begun "
                    "with, or begin anew in a new folder"
                )
        self._facts["stages"] = before["stages"]
        if (self.out / LAST).is_file():
            facts = read_facts(self.out / LAST)
            self.history, self.stage = facts["history"], facts["position"]["stage"]

    def fitted(self, stage: Stage) -> dict[str, Any] | None:
        """Return what was fitted for a stage before an interruption; None where it was not."""
        known = self._facts["stages"].get(stage.name)
        return None if known is None else known["fitted"]

    def record(self, stage: Stage, training: Prepared, validation: Prepared, fitted: Mapping[str, Any]) -> None:
        """Write down what a stage learns from.

        Raises
        ------
        TrainingError
            When it is not what it was before an interruption.

        """
        entry = {
            "training": [asdict(digest) for digest in training.digests],
            "validation": [asdict(digest) for digest in validation.digests],
            "left_out": [list(one) for one in (*training.left_out, *validation.left_out)],
            "fitted": dict(fitted),
        }
        before = self._facts["stages"].get(stage.name)
        if before is not None and before != entry:
            raise TrainingError(
                f"stage {stage.name!r}: the data are not those that the training was begun with; resume with the same "
                "files and the same split, or begin anew in a new folder"
            )
        self._facts["stages"][stage.name] = entry
        self._write()

    def facts(self, stage: Stage) -> dict[str, Any]:
        """Return what every checkpoint of a stage says: recipe, data, versions."""
        return {**self._facts, "stage": stage.name}

    def _write(self) -> None:
        write_text(self.out / _RUN, json.dumps(self._facts, indent=1) + "\n")


def _learned_nothing(out: Path) -> bool:
    """Say whether all that a folder holds is of a training that ended before its first checkpoint."""
    names = {path.name for path in out.iterdir()}
    # What begins with a dot was being written; it never is read.
    half_written = {name for name in names if name == f".{_RUN}" or (name[0] == "." and name.endswith(".safetensors"))}
    if _RUN not in names or names - half_written - {_RUN, EXAMPLES}:
        return False
    try:
        return _read(out / _RUN).keys() >= {"format", "recipe", "tables", "settings", "versions", "stages"}
    except TrainingError:
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{path.name}: cannot be read ({type(error).__name__}); begin in a new folder") from error


def _difference(before: Any, now: Any, at: str = "") -> str:
    """Say the first entry in which two values differ."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                return _difference(before.get(key), now.get(key), f"{at}.{key}" if at else key)
    return f"{at or 'it'} was {before!r} and is {now!r}"


def _versions() -> dict[str, str]:
    return {
        "mammofast": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning-fabric": lightning_fabric.__version__,
        "monai": monai.__version__,
        "numpy": np.__version__,
    }
