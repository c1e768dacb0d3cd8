"""A card without a card: pycuda and the driver over the host's memory, streams that run when they are waited for."""

import ctypes
import threading
import weakref
from math import prod
from types import SimpleNamespace

import numpy as np


class CudaError(Exception):
    pass


class CudaMemoryError(CudaError):
    pass


class CudaLogicError(CudaError):
    pass


class FakeCard:
    """What is on the card now, and what was asked of it. memory: bytes that it has.

    dead: whether every call fails from here on. fault: what the next call fails with, once.
    """

    def __init__(self, memory=1 << 24):
        self.total = memory
        self.allocations = {}
        self.queues = {}
        self.captures = {}
        self.graphs = {}
        self.executables = {}
        self.streams = weakref.WeakSet()
        self.pinned = []
        self.waits = 0
        self.copies = 0
        self.launches = 0
        self.refuse_capture = False
        self.dead = False
        self.name = b"Fake 9000"
        self.fault = None
        self.handles = iter(range(1000, 10**9))
        self.local = threading.local()
        self.pycuda = self._pycuda()

    # What tests look at.

    @property
    def used(self):
        return sum(len(block) for block in self.allocations.values())

    @property
    def live_pinned(self):
        return [array for array in (ref() for ref in self.pinned) if array is not None]

    def view(self, pointer, nbytes):
        """Return device memory; what is not allocated cannot be touched."""
        for start, block in self.allocations.items():
            if start <= pointer and pointer + nbytes <= start + len(block):
                return np.frombuffer(block, np.uint8, nbytes, pointer - start)
        raise AssertionError(f"{nbytes} bytes at {pointer} are not on the card")

    def array(self, interface):
        """Return what a CUDA Array Interface describes."""
        dtype = np.dtype(interface["typestr"])
        found = self.view(interface["data"][0], prod(interface["shape"]) * dtype.itemsize)
        return found.view(dtype).reshape(interface["shape"])

    def put(self, values):
        """Return somebody's device array of these values."""
        with self.context():
            allocation = self.pycuda.mem_alloc(values.nbytes)
        interface = {"shape": values.shape, "typestr": values.dtype.str, "data": (int(allocation), False), "version": 3}
        self.array(interface)[...] = values
        return SimpleNamespace(__cuda_array_interface__=interface, free=allocation.free)

    def run(self, stream):
        """Do what a stream was given."""
        queue = self.queues.setdefault(stream, [])
        while queue:
            queue.pop(0)()

    def context(self):
        card = self

        class Pushed:
            def __enter__(self):
                card.depth = card.depth + 1

            def __exit__(self, *error):
                card.depth = card.depth - 1

        return Pushed()

    # What the fakes are made of.

    @property
    def depth(self):
        return getattr(self.local, "depth", 0)

    @depth.setter
    def depth(self, value):
        self.local.depth = value

    def need_context(self):
        if not self.depth:
            raise CudaLogicError("invalid device context")
        if self.dead:
            raise CudaError("an illegal memory access was encountered")
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault

    def enqueue(self, stream, work):
        if stream in self.captures:
            self.captures[stream].append(work)
        else:
            self.queues.setdefault(stream, []).append(work)

    def _pycuda(card):
        class Allocation:
            def __init__(self, nbytes):
                card.need_context()
                if card.used + nbytes > card.total:
                    raise CudaMemoryError("out of memory")
                assert nbytes > 0
                block = (ctypes.c_char * nbytes)()
                ctypes.memset(block, 0x7F, nbytes)
                self.pointer = ctypes.addressof(block)
                card.allocations[self.pointer] = block

            def __int__(self):
                return self.pointer

            def free(self):
                card.need_context()
                if self.pointer not in card.allocations:
                    raise CudaLogicError("freed twice")
                del card.allocations[self.pointer]

        class Stream:
            def __init__(self, flags=0):
                card.need_context()
                assert flags == 1, "a stream that waits for the default stream"
                self.handle = next(card.handles)
                card.streams.add(self)

            def synchronize(self):
                card.need_context()
                card.waits += 1
                assert self.handle not in card.captures, "waiting spoils a capture"
                card.run(self.handle)

            def wait_for_event(self, event):
                card.enqueue(self.handle, event.reach)

        class Event:
            reached = True

            def record(self, stream):
                self.reached, self.stream = False, stream
                card.enqueue(stream.handle, lambda: setattr(self, "reached", True))

            def reach(self):
                if not self.reached:
                    card.run(self.stream.handle)

            def synchronize(self):
                self.reach()

        class Context:
            def push(self):
                card.depth += 1

            def pop(self):
                if not card.depth:
                    raise CudaLogicError("invalid device context")
                card.depth -= 1

            def detach(self):
                pass  # the process ends

            def synchronize(self):
                card.need_context()
                card.waits += 1
                for stream in list(card.queues):
                    card.run(stream)

        class Device:
            def __init__(self, index):
                if index:
                    raise CudaLogicError("invalid device ordinal")

            def retain_primary_context(self):
                return Context()

        def mem_get_info():
            card.need_context()
            return card.total - card.used, card.total

        def pagelocked_empty(shape, dtype):
            card.need_context()
            array = np.full(shape, 77, dtype)
            card.pinned.append(weakref.ref(array))
            return array

        def is_pinned(array):
            return any(array is known for known in card.live_pinned)

        def memcpy_htod_async(pointer, source, stream):
            card.need_context()
            assert is_pinned(source)
            card.enqueue(
                stream.handle, lambda: np.copyto(card.view(pointer, source.nbytes), source.view(np.uint8).ravel())
            )

        def memcpy_dtoh_async(target, pointer, stream):
            card.need_context()
            assert is_pinned(target)
            card.enqueue(
                stream.handle,
                lambda: np.copyto(target, card.view(pointer, target.nbytes).view(target.dtype).reshape(target.shape)),
            )

        return SimpleNamespace(
            Error=CudaError,
            MemoryError=CudaMemoryError,
            LogicError=CudaLogicError,
            init=lambda: None,
            Device=Device,
            Stream=Stream,
            Event=Event,
            mem_alloc=Allocation,
            mem_get_info=mem_get_info,
            pagelocked_empty=pagelocked_empty,
            memcpy_htod_async=memcpy_htod_async,
            memcpy_dtoh_async=memcpy_dtoh_async,
        )


class FakeDriver:
    """The functions of libcuda that mammofast calls, with ctypes' arguments; each returns a CUresult."""

    def __init__(self, card):
        self.card = card

    def cuInit(self, flags):
        return 0

    def cuDeviceGet(self, device, index):
        return 101 if index else 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = self.card.name
        return 0

    def cuGetErrorString(self, status, words):
        words._obj.value = b"the driver's words for %d" % status
        return 0

    def cuMemcpyDtoDAsync_v2(self, target, source, nbytes, stream):
        card, to, of, n = self.card, target.value, source.value, nbytes.value
        card.need_context()
        card.copies += 1
        card.enqueue(stream.value or 0, lambda: np.copyto(card.view(to, n), card.view(of, n)))
        return 0

    def cuStreamBeginCapture_v2(self, stream, mode):
        assert mode == 1, "another thread's allocation would spoil it"
        assert stream.value, "the default stream cannot be captured"
        assert not self.card.queues.get(stream.value), "work is still to be done"
        self.card.captures[stream.value] = []
        return 0

    def cuStreamEndCapture(self, stream, graph):
        work = self.card.captures.pop(stream.value)
        if self.card.refuse_capture:
            return 901
        graph._obj.value = next(self.card.handles)
        self.card.graphs[graph._obj.value] = work
        return 0

    def cuGraphInstantiateWithFlags(self, executable, graph, flags):
        executable._obj.value = next(self.card.handles)
        self.card.executables[executable._obj.value] = list(self.card.graphs[graph.value])
        return 0

    def cuGraphDestroy(self, graph):
        del self.card.graphs[graph.value]
        return 0

    def cuGraphLaunch(self, executable, stream):
        self.card.need_context()
        self.card.launches += 1
        for work in self.card.executables[executable.value]:
            self.card.enqueue(stream.value or 0, work)
        return 0

    def cuGraphExecDestroy(self, executable):
        del self.card.executables[executable.value]
        return 0
