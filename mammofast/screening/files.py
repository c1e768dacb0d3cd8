"""Files that are there whole or not at all."""

import contextlib
import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from mammofast import durable
from mammofast.errors import ResultsError
from mammofast.objects import ObjectPath

T = TypeVar("T")
_TEMPORARY = ".tmp"
# Temporary names: no two programs share the first part, no two processes of one the second.
_PROGRAM, _NUMBERS = uuid.uuid4().hex, count()
# Writing takes milliseconds; what is this old was left by a run that was killed.
_ABANDONED_SECONDS = 3600.0


def write_once(path: Path, content: bytes) -> bool:
    """Put a file in place, as ``write_all_once``; False where there is one already, which stays as it is."""
    return not write_all_once(path.parent, {path.name: content})


def write_all_once(folder: Path, contents: Mapping[str, bytes]) -> set[str]:
    """Put files in place, by name, durable when this returns; return the names that were taken: those files stay.

    Each content goes to a temporary file first, which is then linked to its name: a link fails where the name is taken,
    so of two processes only one can write, and no reader ever sees a part. The folder is synced once, at the end.

    Raises
    ------
    ResultsError
        When the folder cannot be written, for one because the disk is full.

    """
    if isinstance(folder, ObjectPath):
        return {name for name, content in contents.items() if not _create(folder / name, content)}
    taken = set()
    try:
        for name, content in contents.items():
            temporary = _write_temporary(folder, content)
            try:
                os.link(temporary, f"{folder}/{name}")
            except FileExistsError:
                taken.add(name)
            finally:
                _remove(temporary)
        durable.sync(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return taken


def read_if_there(folder: Path, name: str) -> bytes | None:
    """Return what is in a file of a folder, None where there is none.

    Raises
    ------
    OSError
        When it cannot be read.

    """
    try:
        if isinstance(folder, ObjectPath):
            return (folder / name).read_bytes()
        # No Path is made, and no error: for each image of an archive this is asked, mostly in vain.
        path = f"{folder}/{name}"
        if not os.access(path, os.F_OK):
            return None
        with io.FileIO(path) as file:
            return file.readall()
    except FileNotFoundError:
        return None


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
    try:
        temporary = _write_temporary(path.parent, content)
        try:
            os.replace(temporary, path)  # noqa: PTH105
        finally:
            _remove(temporary)
        durable.sync(path.parent)
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durable when this returns; where there are no folders, nothing."""
    if isinstance(path, ObjectPath):
        return
    try:
        durable.make_folder(path)
    except OSError as error:
        raise _cannot_write(path.parent, error) from error


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on the disk."""
    if isinstance(path, ObjectPath):
        return
    try:
        durable.sync(path)
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


def is_empty(folder: Path) -> bool:
    """Say whether there is nothing in a folder that was made."""
    if isinstance(folder, ObjectPath):  # where a folder is what names begin with
        return not folder.is_dir()
    with os.scandir(folder) as entries:
        return next(entries, None) is None


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
        raise _cannot_write(path.parent, error) from error


def _create(path: ObjectPath, content: bytes) -> bool:
    return _written(path, lambda: path.create(content))


def _write_temporary(folder: Path, content: bytes) -> str:
    # As text, and by number: a Path, or random digits, for each image would take longer than the file.
    temporary = f"{folder}/.{_PROGRAM}-{os.getpid()}-{next(_NUMBERS)}{_TEMPORARY}"
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        finally:
            os.close(file)
    except OSError:
        with contextlib.suppress(OSError):  # a disk that is read-only refuses even to remove what is not there
            _remove(temporary)
        raise
    return temporary


def _remove(temporary: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # noqa: PTH108


def _cannot_write(folder: Path, error: OSError) -> ResultsError:
    return ResultsError(
        f"{folder}: cannot be written ({error.strerror}); what was recorded before is safe, run again to resume"
    )
