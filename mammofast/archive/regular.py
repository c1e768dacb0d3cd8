"""Opening files that are files: a pipe would be waited on for ever, and a device need not end."""

import errno
import os
import stat
from pathlib import Path

from mammofast.objects import ObjectPath

_EXPECTED = "got a folder, pipe, socket or device, expected a file"


def open_regular(path: Path) -> int:
    """Open a file to read; return its descriptor.

    Raises
    ------
    OSError
        When it cannot be opened.
    ValueError
        When it is a folder, pipe, socket or device.

    """
    try:
        # Nobody is waited for, should it be a pipe; a file is read the same with and without.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise ValueError(_EXPECTED) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(_EXPECTED)
    return descriptor


def read_regular(path: Path) -> bytes:
    """Return what is in a file, or an object; raises as ``open_regular``."""
    if isinstance(path, ObjectPath):
        return path.read_bytes()
    with open(open_regular(path), "rb", buffering=0) as file:
        return file.readall()
