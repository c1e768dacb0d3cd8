"""Device arrays in and out: by DLPack and by the array interface, on streams that wait for each other."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import _native, device
from tests.ops import cases
from tests.ops.backends import ANOTHER, OTHER, OnHost

LEGACY = 1
DTYPES = ["bool", "int8", "uint8", "int32", "int64", "uint16", "float16", "float32", "float64"]


@pytest.fixture
def native(device_backend):
    return _native.cuda_kernels()


@pytest.fixture
def on_host(device_backend):
    if not isinstance(device_backend, OnHost):
        pytest.skip("asks the tests' own CUDA")
    return device_backend


class Capsules:
    """An array that speaks DLPack alone."""

    def __init__(self, array):
        self.array, self.streams = array, []

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream)


class Interface:
    """An array that has the array interface alone, with some of its facts changed."""

    def __init__(self, array, **changes):
        self.array, self.changes = array, changes

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__ | self.changes


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back(native, dtype, shape):
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    array = native.to_device(values)
    assert (array.shape, array.dtype, array.device) == (shape, np.dtype(dtype), 0)
    for spoken in (array, Capsules(array), Interface(array)):
        back = native.to_host(spoken)
        assert back.dtype == values.dtype
        assert np.array_equal(back, values)


def test_the_array_interface(native):
    interface = native.to_device(np.ones((2, 3), np.float16)).__cuda_array_interface__
    assert interface.pop("data")[0] % 256 == 0
    assert interface == {"version": 3, "typestr": "<f2", "shape": (2, 3), "strides": None, "stream": LEGACY}


def test_an_op_waits_for_the_stream_of_its_arguments(on_host):
    native = on_host.module
    boxes, scores, counts = cases.ONE_BOX[None], cases.ONE_SCORE[None], np.ones(1, np.int32)
    arrays = [native.to_device(values, OTHER) for values in (boxes, scores, counts)]
    masks, _ = device.confidence_mask(*arrays, 1, (5, 5), stream=ANOTHER)
    assert native.to_host(masks, ANOTHER).sum() == 4
    masks, _ = device.confidence_mask(*map(Capsules, arrays), 1, (5, 5), stream=ANOTHER)
    assert native.to_host(masks, ANOTHER).sum() == 4


def test_whoever_reads_a_result_waits_for_its_stream(on_host):
    native = on_host.module
    array = native.to_device(np.arange(3), OTHER)
    for spoken in (array, Capsules(array), Interface(array)):
        assert native.to_host(spoken, ANOTHER).tolist() == [0, 1, 2]
    spoken = Capsules(array)
    native.to_host(spoken, 0)
    native.to_host(spoken, ANOTHER)
    assert spoken.streams == [LEGACY, ANOTHER]
    fresh = native.to_device(np.arange(3), OTHER)
    without = native.to_host(Interface(fresh, stream=None), ANOTHER)
    assert without.tolist() != [0, 1, 2], "nobody waited: the test would not see it"


def test_capsules_keep_their_memory(on_host):
    before = on_host.control.allocations
    array = on_host.module.to_device(np.arange(3))
    capsule = array.__dlpack__()
    del array
    gc.collect()
    assert on_host.control.allocations == before + 1
    del capsule
    gc.collect()
    assert on_host.control.allocations == before


def test_no_memory_left_is_a_memory_error(native):
    boxes, scores = (native.to_device(values) for values in (cases.ONE_BOX, cases.ONE_SCORE))
    with pytest.raises(MemoryError, match="allocating 4611686018427387904 bytes on the CUDA device: out of memory"):
        ops.confidence_mask(boxes, scores, 1, (2**30, 2**30))


def test_what_dlpack_refuses(native):
    array = native.to_device(np.arange(3))
    assert array.__dlpack_device__() == (2, 0)
    array.__dlpack__(stream=-1, max_version=(1, 0), dl_device=(2, 0), copy=False)
    with pytest.raises(ValueError, match="stream: got 0, expected 1 for the legacy default stream"):
        array.__dlpack__(stream=0)
    with pytest.raises(BufferError, match="copy=True"):
        array.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="stays on its device"):
        array.__dlpack__(dl_device=(1, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"typestr": ">f4"}, "boxes: got big-endian values"),
        ({"typestr": "<f8"}, r"boxes: got float64 of shape \(2, 3, 4\), expected float32 of shape \(n, capacity, 4\)"),
        ({"shape": (2, 4)}, r"boxes: got float32 of shape \(2, 4\), expected float32 of shape \(n, capacity, 4\)"),
        ({"strides": (96, 32, 8)}, r"boxes: got float32 of shape \(2, 3, 4\) with gaps"),
        ({"strides": (16, 32, 4)}, "boxes: got .* in another order"),
        ({"mask": 1}, "boxes: got a masked array"),
        ({"data": (16, False)}, "boxes: got memory that no CUDA device knows"),
    ],
)
def test_arrays_that_do_not_fit(native, changes, message):
    boxes = np.zeros((2, 3, 4), np.float32)
    scores, counts = native.to_device(boxes[..., 0]), native.to_device(np.zeros(2, np.int32))
    with pytest.raises(ValueError, match=message):
        device.confidence_mask(Interface(native.to_device(boxes), **changes), scores, counts, 1, (5, 5))


def test_strides_that_say_contiguous(native):
    array = native.to_device(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert native.to_host(Interface(array, strides=(12, 4))).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert native.to_host(Interface(array, shape=(1, 6), strides=(999, 4))).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_outputs_that_are_read_only(native):
    boxes, scores, counts = (
        native.to_device(values) for values in (cases.ONE_BOX[None], cases.ONE_SCORE[None], np.ones(1, np.int32))
    )
    out = native.to_device(np.zeros((1, 5, 5), np.float32))
    read_only = Interface(out, data=(out.__cuda_array_interface__["data"][0], True))
    with pytest.raises(ValueError, match="out: got an array that is read-only"):
        device.confidence_mask(boxes, scores, counts, 1, (5, 5), out=read_only)
    assert device.confidence_mask(boxes, scores, counts, 1, (5, 5), out=out)[0] is out


def test_what_is_on_no_device(native):
    with pytest.raises(ValueError, match="array: got ndarray, expected an array on a CUDA device"):
        native.to_host(np.zeros(3))


def in_a_new_thread(work):
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


def test_work_on_a_card_makes_no_context_on_another(on_host):
    """A thread that has used no card yet has the first one as its own, as CUDA says, and must not be given it."""
    native, control = on_host.module, on_host.control

    def there_and_back():
        control.contexts()
        values = np.arange(6, dtype=np.int32)
        array = native.to_device(values, OTHER, 1)
        assert array.device == 1
        assert native.to_device(values, OTHER, 1).device == 1  # and one that goes at once
        array.__dlpack__(stream=ANOTHER)
        del array
        return control.contexts(), control.current

    assert in_a_new_thread(there_and_back) == ({1}, 1)


def test_a_threads_card_is_its_own_again_afterwards(on_host):
    native, control = on_host.module, on_host.control

    def on_the_first():
        control.current = 0
        control.contexts()
        array = native.to_device(np.arange(6, dtype=np.int32), OTHER, 1)
        between = control.current
        del array
        return between, control.current, control.contexts()

    assert in_a_new_thread(on_the_first) == (0, 0, {0, 1})


@pytest.mark.parametrize("shape", [(3,), (4, 5), (2, 3, 6)])
def test_a_row_is_that_element_of_the_array(native, shape):
    values = np.random.default_rng(1).integers(0, 99, shape).astype(np.int32)
    array = native.to_device(values)
    for i in range(shape[0]):
        found = device.to_host(device.row(array, i))
        assert (found.shape, found.dtype) == (shape[1:], values.dtype)
        np.testing.assert_array_equal(found, values[i])
    for i in (-1, shape[0]):
        with pytest.raises(ValueError, match=f"i: got {i}, expected one of {shape[0]} elements"):
            device.row(array, i)


def test_a_row_is_of_a_contiguous_array_on_a_card(native):
    with pytest.raises(ValueError, match="array: got ndarray"):
        device.row(np.zeros((2, 2)), 0)
    array = native.to_device(np.zeros((4, 4), np.int32))
    with pytest.raises(ValueError, match="array: got strides"):
        device.row(Interface(array, shape=(4, 2), strides=(16, 4)), 0)
    with pytest.raises(ValueError, match="one of 0 elements"):
        device.row(native.to_device(np.array(3, np.int32)), 0)
