"""A deadline that nothing outlasts: past it the process ends, whatever holds Python's lock.

Dask would wait for a worker that hangs as long as the worker does.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_ENDS: dict[object, float] = {}
# faulthandler writes where every thread was; it wants a file that is really one, for as long as it may write.
NOWHERE = os.open(os.devnull, os.O_WRONLY)


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """End this process with exit status 1 unless the block ends in time; blocks of several threads may overlap."""
    mine = object()
    with _LOCK:
        _ENDS[mine] = time.monotonic() + seconds
        _set()
    try:
        yield
    finally:
        with _LOCK:
            del _ENDS[mine]
            _set()


def _set() -> None:
    """Set the one alarm that faulthandler has, a thread without Python in it, to the block that ends first."""
    if _ENDS:
        left = max(min(_ENDS.values()) - time.monotonic(), 0.001)
        faulthandler.dump_traceback_later(left, exit=True, file=NOWHERE)
    else:
        faulthandler.cancel_dump_traceback_later()
