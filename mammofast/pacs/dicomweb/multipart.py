"""multipart/related (RFC 2387), read and written in pieces: an object is never in memory as a whole."""

import uuid
from collections.abc import Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from mammofast.errors import PacsError
from mammofast.pacs.dicomweb.failures import BrokenAnswer

_MAX_HEADER_BYTES = 1 << 16
_PIECE = 1 << 16  # to be taken within one silence
_NO_END = "the server's answer ends before the object in it does"


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary that a Content-Type of multipart/related names."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    return (
        boundary.encode("latin-1", "replace") if header.get_content_type() == "multipart/related" and boundary else None
    )


def only_part(body: Iterable[bytes], boundary: bytes) -> Iterator[bytes]:
    """Yield the content of a message's only part, in pieces.

    Raises
    ------
    BrokenAnswer
        When the message ends before its last delimiter does.
    PacsError
        When there is no part, or more than one.

    """
    delimiter = b"\r\n--" + boundary
    # The first delimiter may stand at the very start.
    stream = _Buffer(body, b"\r\n")
    for _ in stream.until(delimiter):
        pass
    behind = stream.take(2)
    if behind == b"--":
        raise PacsError("the server's answer holds no object")
    # The delimiter's line may end in blanks, and headers may be none: the blank line is what counts.
    if sum(map(len, stream.until(b"\r\n\r\n", behind))) > _MAX_HEADER_BYTES:
        raise PacsError("the server's answer is not multipart/related as it says")
    yield from stream.until(delimiter)
    if stream.take(2) != b"--":
        raise PacsError("the server's answer holds several objects, where one was asked for")


class _Buffer:
    def __init__(self, body: Iterable[bytes], start: bytes) -> None:
        self._body = iter(body)
        self._held = bytearray(start)

    def until(self, mark: bytes, taken: bytes = b"") -> Iterator[bytes]:
        """Yield what stands before a mark, and pass over the mark. taken: bytes to put back first."""
        self._held[:0] = taken
        while (at := self._held.find(mark)) < 0:
            # The mark may have begun at the end of what is held.
            sure = len(self._held) - len(mark) + 1
            if sure > 0:
                yield bytes(self._held[:sure])
                del self._held[:sure]
            self._more()
        yield bytes(self._held[:at])
        del self._held[: at + len(mark)]

    def take(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _more(self) -> None:
        piece = next(self._body, None)
        if piece is None:
            raise BrokenAnswer(_NO_END)
        self._held += piece


class Files:
    """Files as one message of application/dicom parts: what requests sends piece by piece, its length known before."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.boundary = uuid.uuid4().hex
        head = f"\r\n--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._parts: list[bytes | Path] = [part for file in files for part in (head, file)]
        self._parts.append(f"\r\n--{self.boundary}--\r\n".encode())
        self._sizes = [len(part) if isinstance(part, bytes) else part.stat().st_size for part in self._parts]

    @property
    def content_type(self) -> str:
        """The request's Content-Type."""
        return f'multipart/related; type="application/dicom"; boundary={self.boundary}'

    def __len__(self) -> int:
        return sum(self._sizes)

    def __iter__(self) -> Iterator[bytes]:
        for part, size in zip(self._parts, self._sizes, strict=True):
            if isinstance(part, bytes):
                yield part
            else:
                with part.open("rb") as file:
                    yield from _exactly(file, size)


def _exactly(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, _PIECE))
        if not piece:
            raise PacsError("a file became shorter while it was sent")
        size -= len(piece)
        yield piece
