"""Files that are there whole or not at all."""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mammofast import durable
from mammofast.errors import ResultsError
from mammofast.objects import ObjectPath

T = TypeVar("T")
_TEMPORARY = ".tmp"
# Writing takes milliseconds; what is this old was left by a run that was killed.
_ABANDONED_SECONDS = 3600.0


def write_once(path: Path, content: bytes) -> bool:
    """Put a file in place, durable when this returns. False where there is one already; that one stays as it is.

    The content goes to a temporary file first, which is then linked to its name: a link fails where the name is taken,
    so of two processes only one can write, and no reader ever sees a part.

    Raises
    ------
    ResultsError
        When the folder cannot be written, for one because the disk is full.

    """
    if isinstance(path, ObjectPath):
        return _written(path, lambda: path.create(content))
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    durable.sync(path.parent)
    return True


def check_written_once(path: Path) -> None:
    """Make sure of what ``write_once`` relies on, given a file that is there.

    Raises
    ------
    ResultsError
        When an object store writes over what is there, whatever it is asked.

    """
    if isinstance(path, ObjectPath) and write_once(path, path.read_bytes()):
        raise ResultsError(
            f"{path.parent}: the object store ignores If-None-Match: two runs at once could both write a result; use "
            "one that honours it"
        )


def write_over(path: Path, content: bytes) -> None:
    """Put a file in place, of another one where there is one, in one step; durable when this returns."""
    if isinstance(path, ObjectPath):
        _written(path, lambda: path.write_bytes(content))
        return
    temporary = _write_temporary(path, content)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    durable.sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durable when this returns; where there are no folders, nothing."""
    if isinstance(path, ObjectPath):
        return
    try:
        durable.make_folder(path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of runs that were killed while they wrote."""
    if isinstance(folder, ObjectPath):  # which are never there in part
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == "." and entry.name.endswith(_TEMPORARY):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                        (folder / entry.name).unlink()


def names_in(folder: Path) -> Iterator[str]:
    """Yield the names in a folder, in no order: there may be millions."""
    if isinstance(folder, ObjectPath):
        yield from (path.name for path in folder.iterdir())
        return
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Return JSON as it is written: the same content, the same bytes."""
    return json.dumps(dict(content), sort_keys=True, indent=1).encode() + b"\n"


def read_json(path: Path, trouble: str) -> dict[str, Any]:
    """Read a JSON object; ResultsError, with ``trouble`` where there is no such file, when it is none."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path.parent}: {trouble} ({path.name}: {error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: is not JSON; the file was changed or damaged") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: got a JSON {type(content).__name__}, expected an object")
    return content


def _written(path: ObjectPath, write: Callable[[], T]) -> T:
    try:
        return write()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _write_temporary(path: Path, content: bytes) -> Path:
    temporary = path.parent / f".{uuid.uuid4().hex}{_TEMPORARY}"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that is read-only refuses even to remove what is not there
            temporary.unlink()
        raise _cannot_write(path, error) from error
    return temporary


def _cannot_write(path: Path, error: OSError) -> ResultsError:
    return ResultsError(
        f"{path.parent}: cannot be written ({error.strerror}); what was recorded before is safe, run again to resume"
    )
