"""Checkpoints: tensors as safetensors, all else as JSON in the same file's header. Nothing is pickled or unpickled."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mammofast.durable import sync
from mammofast.errors import TrainingError

FORMAT = 1
_FACTS = "mammofast"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint; a reader sees the one before or this one, whole.

    Raises
    ------
    TrainingError
        When it cannot be written: a full disk.

    """
    header = {_FACTS: json.dumps({"format": FORMAT, **facts}, allow_nan=False)}
    beside = path.with_name(f".{path.name}")
    try:
        beside.touch()
        mode = beside.stat().st_mode  # what the umask gives: safetensors lets nobody but the owner read
        save_file(_apart(tensors), beside, metadata=header)
        beside.chmod(mode)
    except (OSError, SafetensorError) as error:
        known = re.search(r"os error (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else int(known[1]) if known else None
        why = type(error).__name__ if number is None else os.strerror(number)
        raise TrainingError(f"{path.name}: could not be written ({why})") from error
    _take_place(beside, path)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a checkpoint's tensors, on the CPU, and its facts.

    Raises
    ------
    TrainingError
        When it cannot be read, is cut off, or is not one of this format.

    """
    facts = read_facts(path)
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 - it is no mapping


def read_facts(path: Path) -> dict[str, Any]:
    """Return a checkpoint's facts alone.

    Raises
    ------
    TrainingError
        As :func:`read_checkpoint`.

    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        facts = json.loads(header[_FACTS])
        if facts["format"] != FORMAT:
            raise TrainingError(f"{path.name}: is of format {facts['format']}, expected {FORMAT}")
    except OSError as error:
        raise TrainingError(f"{path.name}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path.name}: is no checkpoint of `mammofast train` ({type(error).__name__})") from error
    return dict(facts)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(text, encoding="utf-8")
    _take_place(beside, path)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors, by "NUMBER_OF_PARAMETER.NAME"; its rates are the recipe's to say."""
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state that :func:`optimizer_state` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def beginning(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU, none of which shares its memory: layers may share a module."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        alone = tensor.detach().cpu().contiguous()
        if alone.numel() and alone.untyped_storage().data_ptr() in seen:
            alone = alone.clone()
        seen.add(alone.untyped_storage().data_ptr())
        found[name] = alone
    return found


def _take_place(beside: Path, path: Path) -> None:
    sync(beside)
    beside.replace(path)
    sync(path.parent)
