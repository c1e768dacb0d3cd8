"""CUDA graphs by stream capture: a network's hundreds of launches become one."""

import ctypes
from collections.abc import Callable

from mammofast.engine.driver import call, handle
from mammofast.errors import EngineError

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile, such as allocating, does not spoil it.
_THREAD_LOCAL = 1


class Graph:
    """Work that was enqueued once while a stream was captured, to be launched again and again.

    It reads and writes the addresses that the work did; they must stay as they are until it is closed.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None]) -> None:
        """Capture what ``enqueue`` does to a stream; nothing of it runs.

        Raises
        ------
        EngineError
            When the work cannot be captured. The stream is as it was.

        """
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        call("cuStreamBeginCapture_v2", handle(stream), _THREAD_LOCAL)
        try:
            enqueue()
        except BaseException:
            self._abandon(stream, graph)
            raise
        call("cuStreamEndCapture", handle(stream), ctypes.byref(graph))
        if not graph.value:
            raise EngineError("cuStreamEndCapture: the work could not be captured")
        try:
            call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        finally:
            call("cuGraphDestroy", graph)

    def launch(self, stream: int) -> None:
        """Enqueue the work on a stream of the same card.

        Raises
        ------
        EngineError
            When the driver refuses it.

        """
        call("cuGraphLaunch", self._executable, handle(stream))

    def close(self) -> None:
        """Give it back; closing twice is allowed."""
        if self._executable.value:
            executable, self._executable = self._executable, ctypes.c_void_p()
            call("cuGraphExecDestroy", executable)

    @staticmethod
    def _abandon(stream: int, graph: ctypes.c_void_p) -> None:
        try:
            call("cuStreamEndCapture", handle(stream), ctypes.byref(graph))
        except EngineError:  # an invalidated capture ends with an error, and that is what it was
            return
        if graph.value:
            call("cuGraphDestroy", graph)
