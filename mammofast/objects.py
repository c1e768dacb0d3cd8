"""Paths of objects in an S3-compatible store: ``s3://bucket/key``.

Endpoint, region and credentials come from the environment, under the names that all of Amazon's own tools know
(``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, …). Needs the extra ``[s3]``.
"""

import errno
import functools
import importlib
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

_SCHEME = "s3:"
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def place(path: str | Path) -> Path:
    """Return a path as what it means: an object's for ``s3://…``, else a file's."""
    if isinstance(path, ObjectPath):
        return path
    found = Path(path)
    return ObjectPath(*found.parts) if found.parts[:1] == (_SCHEME,) else found


class ObjectPath(PosixPath):
    """A path whose file is an object: whole or not there, and durable once it is written.

    What a folder is, is not known to such a store: there is one where objects' names begin like this. What is not
    defined here, above all what the system would do to a file of this name, raises.
    """

    def __str__(self) -> str:
        scheme, *rest = self.parts or [""]
        return f"{_SCHEME}//{'/'.join(rest)}" if scheme == _SCHEME else "/".join(self.parts)

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"{self} is an object, not a file")

    @property
    def bucket(self) -> str:
        """Where the object lies."""
        return self.parts[1]

    @property
    def key(self) -> str:
        """Its name there."""
        return "/".join(self.parts[2:])

    def resolve(self, strict: bool = False) -> Self:
        """Return itself."""
        return self

    def exists(self) -> bool:
        """Say whether there is an object, or a folder, of this name."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Say whether there is an object of this name."""
        try:
            with _as_system_errors(self):
                _obstore().head(_store(self.bucket), self.key)
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Say whether objects' names begin with this one."""
        with _as_system_errors(self):  # of what may be millions, the first page is asked for
            found = _obstore().list(_store(self.bucket), f"{self.key}/" if self.key else None, chunk_size=1)
            return any(found)

    def read_bytes(self) -> bytes:
        """Return the object's content."""
        with _as_system_errors(self):
            return bytes(_obstore().get(_store(self.bucket), self.key).bytes())

    def create(self, content: bytes) -> bool:
        """Write the object; False where there is one already, which stays as it is (``If-None-Match: *``)."""
        try:
            with _as_system_errors(self):
                _obstore().put(_store(self.bucket), self.key, content, mode="create")
        except FileExistsError:
            return False
        return True

    def write_bytes(self, data: Any) -> int:
        """Write the object, in place of another one where there is one."""
        with _as_system_errors(self):
            _obstore().put(_store(self.bucket), self.key, bytes(data))
        return len(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; whether there was one is not known."""
        with _as_system_errors(self):
            _obstore().delete(_store(self.bucket), self.key)

    def iterdir(self) -> Generator[Self, None, None]:
        """Yield what is in the folder, by name; nothing where there is no such folder."""
        with _as_system_errors(self):
            found = _obstore().list_with_delimiter(_store(self.bucket), f"{self.key}/" if self.key else None)
        names = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        yield from (self / name.rstrip("/").rpartition("/")[2] for name in sorted(names))

    def glob(self, pattern: str) -> Generator[Self, None, None]:
        """Yield what matches, as of files: ``*`` within a name, no ``**``."""
        first, _, rest = pattern.partition("/")
        if not rest:
            yield from (path for path in self.iterdir() if fnmatchcase(path.name, first))
        elif set(first) & set("*?["):
            for path in self.iterdir():
                if fnmatchcase(path.name, first):
                    yield from path.glob(rest)
        else:
            yield from (self / first).glob(rest)

    def kvstore(self) -> dict[str, Any]:
        """Return what tensorstore calls the folder."""
        endpoint = {"endpoint": os.environ["AWS_ENDPOINT_URL"]} if "AWS_ENDPOINT_URL" in os.environ else {}
        return {
            "driver": "s3",
            "bucket": self.bucket,
            "path": f"{self.key}/",
            "aws_region": os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1")),
            **endpoint,
        }

    def open(self, *arguments: Any, **options: Any) -> NoReturn:
        """Raise: there is no part of an object."""
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def mkdir(self, *arguments: Any, **options: Any) -> None:
        """Do nothing: a folder is there as soon as something is in it."""


@contextmanager
def _as_system_errors(path: ObjectPath) -> Iterator[None]:
    """Raise what a file of this name would."""
    errors = _module("obstore.exceptions")
    try:
        yield
    except (errors.NotFoundError, FileNotFoundError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    except (errors.AlreadyExistsError, FileExistsError):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
    except (errors.PermissionDeniedError, errors.UnauthenticatedError, PermissionError):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
    except errors.BaseError as error:
        # The message may hold a URL with what signs it.
        raise OSError(errno.EIO, f"the object store said no ({type(error).__name__})") from None


def _obstore() -> Any:
    return _module("obstore")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise OSError(errno.EPROTONOSUPPORT, 's3:// needs the extra: pip install "mammofast[s3]"') from None


@functools.cache
def _store(bucket: str) -> Any:
    host = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname
    options = {"allow_http": True} if host in _THIS_MACHINE else {}
    return _module("obstore.store").S3Store(bucket, client_options=options)
