"""pydicom's warnings and log lines quote values, and they may be a patient's: nothing of it is said while we read."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pydicom import config

_LOGGER = logging.getLogger("pydicom")
_lock = threading.Lock()
_held: list[ExitStack] = []  # of the first reader that is still at it
_readers = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Have pydicom read and write without a word; values that break a rule are still given as they are.

    Threads may overlap: what was before comes back when the last of them is through. Meanwhile pydicom is as quiet to
    the rest of the process, too.
    """
    global _readers
    with _lock:
        if _readers == 0:
            with ExitStack() as stack:
                stack.enter_context(config.disable_value_validation())
                stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module="pydicom")
                _LOGGER.addFilter(_nothing)
                stack.callback(_LOGGER.removeFilter, _nothing)
                _held.append(stack.pop_all())
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                _held.pop().close()


def _nothing(record: logging.LogRecord) -> bool:
    return False
