"""``torch.cuda`` over the CPU: a capture leaves nothing behind but what was done, to be done again on replay."""

import ctypes
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        found = function(*arguments, **(named or {}))
        self.calls.append((function, arguments, named or {}, found))
        return found


class CUDAGraph:
    def __init__(self):
        self.calls = None

    def replay(self):
        assert self.calls, "nothing was captured"
        for function, arguments, named, found in self.calls:
            again = function(*arguments, **named)
            for target, values in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(target, torch.Tensor) and target.data_ptr() != values.data_ptr():
                    target.copy_(values)


class FakeTorchCuda(SimpleNamespace):
    """The part of torch.cuda that the engine uses. full: whether the next capture finds no memory."""

    def __init__(self):
        self.full = False
        self.reserved = 0
        self.waits = 0
        self.modes = []
        self.pools = []
        self.current = []
        self.streams = iter(range(500, 10**6))
        self.CUDAGraph = CUDAGraph
        self.emptied = 0

    def is_available(self):
        return True

    def Stream(self, device):
        def synchronize():
            self.waits += 1

        return SimpleNamespace(cuda_stream=next(self.streams), synchronize=synchronize)

    def ExternalStream(self, handle, device):
        assert handle, "the default stream is no external one"
        return SimpleNamespace(cuda_stream=handle)

    def default_stream(self, device):
        return SimpleNamespace(cuda_stream=0)

    def graph_pool_handle(self):
        return next(self.streams)

    def memory_reserved(self, device):
        return self.reserved

    def synchronize(self, device):
        self.waits += 1

    def empty_cache(self):
        self.emptied += 1

    @contextmanager
    def device(self, device):
        yield

    @contextmanager
    def stream(self, stream):
        self.current.append(stream.cuda_stream)
        yield
        self.current.pop()

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        if self.full:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.modes.append(capture_error_mode)
        self.pools.append(pool)
        with Recorder() as recorder:
            yield
        # Nothing has run yet: what the capture computed on the way is not there on a card.
        for *_, found in recorder.calls:
            for values in tree_leaves(found):
                if isinstance(values, torch.Tensor) and values.is_floating_point() and "empty" in str(_[0]):
                    values.fill_(float("nan"))
        graph.calls = recorder.calls
        self.reserved += 1000


def borrowed(placed, device):
    """Return host memory at an address as a tensor."""
    block = (ctypes.c_char * placed.nbytes).from_address(placed.pointer)
    return torch.frombuffer(block, dtype=torch.float32).reshape(placed.shape)
