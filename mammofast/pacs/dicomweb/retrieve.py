"""WADO-RS (PS3.18 10.4): one instance, as the server holds it, to a scratch file."""

import tempfile
from collections.abc import Iterable
from typing import BinaryIO, cast

from mammofast.archive.mammogram import uid
from mammofast.archive.reading import read_dicom
from mammofast.archive.sources import MAX_FILE_BYTES
from mammofast.errors import BrokenImage, ImageError, PacsError, Reason
from mammofast.pacs.dicomweb.answer import Answer
from mammofast.pacs.dicomweb.failures import HttpError
from mammofast.pacs.dicomweb.multipart import boundary_of, only_part
from mammofast.pacs.dicomweb.search import Instance
from mammofast.pacs.dicomweb.server import Server

# Any transfer syntax: the server need not transcode, and what is decoded is what it has.
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_GONE = (404, 410)


def retrieve(server: Server, instance: Instance) -> BinaryIO:
    """Return an instance as a file of its own, deleted when it is closed.

    Raises
    ------
    BrokenImage
        MISSING_FILE when the server does not have it any more, TOO_LARGE; READ when it does not send it, or sends
        something else.
    OSError
        When there is no room for it.

    """
    path = f"/studies/{instance.study_uid}/series/{instance.series_uid}/instances/{instance.sop_uid}"
    try:
        stream = server.get(path, _ACCEPT, _to_scratch, what="to send an object")
    except HttpError as error:
        if error.status in _GONE:
            raise BrokenImage(
                Reason.MISSING_FILE, f"the PACS lists it, but does not have it (HTTP status {error.status})"
            ) from None
        raise BrokenImage(Reason.READ, f"not retrieved: {error}") from None
    except PacsError as error:
        raise BrokenImage(Reason.READ, f"not retrieved: {error}") from None
    try:
        _check(stream, instance)
    except BaseException:
        stream.close()
        raise
    return stream


def _to_scratch(answer: Answer) -> BinaryIO:
    body: Iterable[bytes] = answer.pieces()
    boundary = boundary_of(answer.content_type)
    if boundary is not None:
        body = only_part(body, boundary)
    elif answer.media_type != "application/dicom":  # which some servers send although it was not asked for
        raise PacsError(f"the server sent {answer.media_type} instead of a DICOM object")
    # It has no name: nothing is left of it, whatever is killed.
    stream = cast(BinaryIO, tempfile.TemporaryFile(prefix="mammofast"))  # noqa: SIM115
    try:
        size = 0
        for piece in body:
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise BrokenImage(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES} bytes, which are all that is read")
            stream.write(piece)
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    return stream


def _check(stream: BinaryIO, instance: Instance) -> None:
    """Refuse another object than the one asked for."""
    start = stream.read(132)
    stream.seek(0)
    if start[128:] != b"DICM":
        raise BrokenImage(Reason.READ, "not retrieved: what the server sent is not a DICOM object")
    try:
        header = read_dicom(stream, header_only=True)
        found = (uid(header, "StudyInstanceUID"), uid(header, "SOPInstanceUID"))
    except ImageError:
        return  # damaged, or deflated: for ingest to say
    finally:
        stream.seek(0)
    if found != (instance.study_uid, instance.sop_uid):
        raise BrokenImage(Reason.READ, "not retrieved: the server sent another instance than the one asked for")
