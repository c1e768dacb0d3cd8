"""An engine for the CUDA that runs on the host: ONNX Runtime behind the interface of engines on a card."""

from itertools import count

import numpy as np

from mammofast.engine import load_engine
from mammofast.engine.on_device import DeviceEngine, Memory
from mammofast.errors import EngineError
from mammofast.ops import device
from mammofast.ops._device.views import view

STREAMS = count(0x5000)


class HostEngine(DeviceEngine):
    """Waits for its input, as no engine on a card does, since ONNX Runtime cannot be queued.

    spoil: called with each batch's outputs, to change them. opened: all engines made of the first one. free: bytes that
    the card has for images and scratch memory. is_pinnable: whether there is pinned memory. is_dead: whether every call
    on the card fails from here on, for all engines.
    """

    expects_finite = True
    free = 1 << 30
    is_pinnable = True
    is_dead = False

    def __init__(self, content, spoil=None, opened=None):
        self.content, self.spoil = content, spoil
        self.opened = [] if opened is None else opened
        self.opened.append(self)
        self.engine = load_engine(content, "onnxruntime")
        self.card, self.stream = 0, next(STREAMS)
        self.made = {}
        self.batches = []
        super().__init__(self.engine.inputs, self.engine.outputs)

    def share(self):
        return HostEngine(self.content, self.spoil, self.opened)

    @property
    def memory(self):
        return Memory(0, 0)

    def free_memory(self):
        return self.free

    def pinned(self, nbytes):
        if not self.is_pinnable:
            raise EngineError("running on a card needs pycuda")
        return np.full(nbytes, 77, np.uint8)

    def upload(self, tensors):
        return {name: device.to_device(tensor, self.stream) for name, tensor in tensors.items()}

    def download(self, outputs):
        return {name: device.to_host(output, self.stream) for name, output in outputs.items()}

    def synchronize(self):
        self._fail_if_dead()
        device.to_host(device.to_device(np.zeros(1), self.stream), self.stream)

    def _buffers(self, shapes):
        key = tuple(sorted(shapes.items()))
        if key not in self.made:
            self.made[key] = {
                name: device.to_device(np.zeros(shape, np.float32), self.stream) for name, shape in shapes.items()
            }
        return self.made[key]

    def _enqueue(self, inputs, stream):
        assert stream == self.stream, "an engine serves one stream"
        self._fail_if_dead()
        (name,) = inputs
        (array,) = [buffers[name] for buffers in self.made.values() if _pointer(buffers[name]) == inputs[name].pointer]
        images = device.to_host(view(array, inputs[name].shape), stream)
        assert np.isfinite(images).all() or not self.expects_finite, "an input that nobody wrote"
        self.batches.append(images.shape)
        outputs = self.engine.run({name: images})
        if self.spoil is not None:
            self.spoil(images, outputs)
        return {name: device.to_device(output, stream) for name, output in outputs.items()}

    def _fail_if_dead(self):
        if HostEngine.is_dead:
            raise EngineError("the card reports: an illegal memory access was encountered")

    def _close(self):
        self._fail_if_dead()
        self.made.clear()
        self.engine.close()


def _pointer(array):
    return array.__cuda_array_interface__["data"][0]
