"""Kernels that TensorRT for RTX has compiled on this machine, kept for the next process, which would compile them anew.

What is read back is code that will run on the card: a file counts only where it is this user's alone, and whole. What
it was compiled for is checked again by TensorRT, which refuses what does not fit.
"""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

_MAGIC = b"mammofast kernels 1\n"
_HASH_BYTES = 32
_MOST = 1 << 30  # bytes of a file: no engine comes near


class KernelCache:
    """A runtime cache of TensorRT for RTX, and the file that it is kept in.

    theirs: the package's own object. made_for: what else than the engine decides on kernels: the package's version, and
    the kind of card.
    """

    def __init__(self, theirs: Any, model: bytes, made_for: str) -> None:
        self.theirs = theirs
        engine = hashlib.sha256(model).hexdigest()
        self._path = cache_folder() / hashlib.sha256(f"{engine} {made_for}".encode()).hexdigest()
        self._kept: bytes | None = None
        content = _read(self._path)
        if content is not None and theirs.deserialize(content):
            self._kept = hashlib.sha256(content).digest()

    def keep(self) -> None:
        """Write what has been compiled since; what cannot be kept is compiled again next time."""
        content = bytes(memoryview(self.theirs.serialize()))
        digest = hashlib.sha256(content).digest()
        if digest == self._kept or len(content) > _MOST:
            return
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._path, _MAGIC + digest + content)
            self._kept = digest


def cache_folder() -> Path:
    """Return where this user's caches lie, as the XDG Base Directory Specification has it."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # What is not absolute is to be ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "mammofast" / "tensorrt-rtx"


def _write(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, whole or not at all: its hash tells what a power cut left of it."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(partial, path)  # noqa: PTH105
    except BaseException:
        os.unlink(partial)  # noqa: PTH108
        raise


def _read(path: Path) -> bytes | None:
    """Return a file's content; None where there is none, it is not this user's alone, or it is not what was written."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            facts = os.fstat(file.fileno())
            is_ours = facts.st_uid == os.getuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if not (stat.S_ISREG(facts.st_mode) and is_ours and facts.st_size <= _MOST + len(_MAGIC) + _HASH_BYTES):
                return None
            content = file.read()
    except OSError:
        return None
    start = len(_MAGIC) + _HASH_BYTES
    digest, payload = content[len(_MAGIC) : start], content[start:]
    return payload if content[: len(_MAGIC)] == _MAGIC and hashlib.sha256(payload).digest() == digest else None
