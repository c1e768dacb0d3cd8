"""What a method on a card holds of memory: stated, bounded, given back whatever goes wrong."""

import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from mammofast.errors import EngineError, Reason
from mammofast.methods import admission as admission_module
from mammofast.methods.admission import Admission, Admitted, CardMemory
from mammofast.methods.arrays import ArrayImage
from mammofast.methods.two_stage_device import TwoStageOnDevice
from tests.methods.host_engine import HostEngine
from tests.methods.test_two_stage_device import assert_same, by_cpu, close, on_host, opened  # noqa: F401
from tests.ops.backends import cuda_on_host  # noqa: F401

PATIENCE = 60
MIB = 1 << 20


def lanes(free=1000 * MIB, pinnable=10**9):
    """Two networks' lanes on a card with so much memory; so many buffers can be pinned."""
    left = [pinnable]

    def pinned(nbytes):
        if not left[0]:
            raise EngineError("running on a card needs pycuda")
        left[0] -= 1
        return np.zeros(nbytes, np.uint8)

    engine = SimpleNamespace(free_memory=lambda: free, pinned=pinned)
    return [SimpleNamespace(engines=(engine,), nbytes=30 * MIB), SimpleNamespace(engines=(None,), nbytes=12 * MIB)]


def test_half_of_what_the_engines_leave_is_for_images():
    found = Admission(lanes(), 3, 2 * MIB, until="detect")
    assert found.memory == CardMemory(42 * MIB, 500 * MIB, 3, 2 * MIB)
    assert str(found.memory) == "42 MiB for networks, 500 MiB for images; 3 pinned buffers of 2.0 MiB"
    budget, pool = found.holds
    assert (budget.supply.total, budget.until, pool.supply.size, pool.until) == (500 * MIB, None, 3, "detect")
    assert budget.amount(ArrayImage(np.zeros((30, 50), np.uint16))) == 30 * 50 * 4


def test_an_image_that_needs_more_than_there_is_enters_alone():
    budget, _ = Admission(lanes(free=8000), 1, 10, until="detect").holds
    whole = budget.amount(ArrayImage(np.zeros((300, 500), np.uint16)))
    assert whole == budget.supply.total == 4000
    lease = budget.supply.take(whole)
    assert budget.supply.take(4) is None
    lease.give_back()


@pytest.mark.parametrize(
    ("pinnable", "nbytes", "expected"),
    [
        (0, MIB, "MiB for images; uploads are from pageable memory: running on a card needs pycuda"),
        (2, MIB, "MiB for images; 2 pinned buffers of 1.0 MiB"),
        (9, 300 * MIB, "MiB for images; 1 pinned buffers of 300.0 MiB"),
        (9, 600 * MIB, f"pageable memory: a buffer would have {600 * MIB} bytes, more than may be pinned"),
    ],
)
def test_what_cannot_be_pinned_is_pageable_and_said(pinnable, nbytes, expected):
    found = Admission(lanes(pinnable=pinnable), 3, nbytes, until="detect")
    assert str(found.memory).endswith(expected)
    assert len(found.holds) == (2 if found.memory.pinned_buffers else 1)
    image = ArrayImage(np.zeros((2, 2), np.uint16))
    held = [hold.supply.take(1).value for hold in found.holds]
    assert (found.enter(image, held).buffer is None) == (found.memory.pinned_buffers == 0)
    assert found.enter(image, held).image is image


def test_pixels_lie_in_the_buffer_where_they_fit():
    buffer = np.full(48, 7, np.uint8)
    admitted = Admitted(None, buffer)
    for pixels in (
        np.arange(24, dtype=np.uint16).reshape(6, 4)[::-1, ::2],
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.ones((6, 8), np.uint8),
    ):
        there = admitted.placed(pixels)
        assert np.shares_memory(there, buffer)
        assert there.flags.c_contiguous
        assert there.dtype == pixels.dtype
        np.testing.assert_array_equal(there, pixels)
    too_large = np.ones((7, 7), np.uint8)
    assert admitted.placed(too_large) is too_large
    assert Admitted(None).placed(too_large) is too_large


class Read(ArrayImage):
    """Writes down who was read."""

    begun: ClassVar = []

    def read(self, level=0, window=None):
        if window is None:
            self.begun.append(self)
        return super().read(level, window)


@pytest.fixture
def images(bright_image, monkeypatch):
    monkeypatch.setattr(Read, "begun", [])
    return [Read(bright_image(seed, ((300 + 20 * seed), 260), ((120, 130, 40, 50),))[0]) for seed in range(9)]


def is_so(question):
    until = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_no_more_is_read_than_there_are_buffers_and_none_is_lent_while_it_is_used(on_host, images, monkeypatch):  # noqa: F811
    go_on, used, lent = threading.Event(), set(), []
    placed, detect = Admitted.placed, TwoStageOnDevice._detect_batch

    def lend(self, pixels):
        address = self.buffer.ctypes.data
        assert address not in used, "a buffer that the card may still be reading"
        used.add(address)
        lent.append(address)
        return placed(self, pixels)

    def watched(self, cases):
        addresses = [case.pixels.ctypes.data for case in cases]
        assert set(addresses) <= used, "uploaded from memory that is not pinned"
        assert go_on.wait(PATIENCE)
        try:
            return detect(self, cases)
        finally:
            used.difference_update(addresses)

    monkeypatch.setattr(Admitted, "placed", lend)
    monkeypatch.setattr(TwoStageOnDevice, "_detect_batch", watched)
    method, engines = opened()
    nbytes = method.memory.pinned_bytes
    close(method, engines)
    monkeypatch.setattr(admission_module, "MOST_PINNED", 4 * nbytes)
    method, engines = opened()
    try:
        assert (method.memory.pinned_buffers, method.memory.pageable) == (4, None)
        found = []
        asks = threading.Thread(target=lambda: found.extend(method.screen(images)))
        asks.start()
        is_so(lambda: len(Read.begun) == 4)
        time.sleep(0.1)  # it could go on, if it were wrong
        assert len(Read.begun) == 4
        go_on.set()
        asks.join(PATIENCE)
    finally:
        go_on.set()
        close(method, engines)
    assert_same(found, by_cpu(images))
    assert len(lent) == len(images)
    assert len(set(lent)) <= 4
    assert used == set()


def test_a_card_with_little_room_has_few_images_at_a_time(on_host, images, monkeypatch):  # noqa: F811
    """Two at most, and none is refused, the largest neither; where nothing can be pinned too."""
    inside, most = set(), []
    read, detect = TwoStageOnDevice._read_level, TwoStageOnDevice._detect_batch

    def enters(self, admitted):
        inside.add(id(admitted.image))
        most.append(len(inside))
        return read(self, admitted)

    def watched(self, cases):
        inside.difference_update(id(case.image) for case in cases)  # one that is still on its way counts no more
        return detect(self, cases)

    monkeypatch.setattr(TwoStageOnDevice, "_read_level", enters)
    monkeypatch.setattr(TwoStageOnDevice, "_detect_batch", watched)
    monkeypatch.setattr(HostEngine, "free", 2 * 2 * 480 * 260 * 4)
    monkeypatch.setattr(HostEngine, "is_pinnable", False)
    images.append(Read(np.tile(images[0].pixels, (3, 3))))
    method, engines = opened()
    try:
        assert method.memory.images == 2 * 480 * 260 * 4
        assert "needs pycuda" in method.memory.pageable
        found = method.screen(images)
    finally:
        close(method, engines)
    assert_same(found, by_cpu(images))
    assert max(most) <= 3  # of the smallest, of 300 rows


class Torn(ArrayImage):
    def read(self, level=0, window=None):
        raise OSError("Doe^Jane")


def test_nothing_is_kept_after_faults(on_host, images, monkeypatch):  # noqa: F811
    supplies = []
    real = Admission.__init__

    def watched(self, *arguments, **options):
        real(self, *arguments, **options)
        supplies.extend(hold.supply for hold in self.holds)

    monkeypatch.setattr(Admission, "__init__", watched)

    def fail(inputs, outputs):
        if len(failed) < 4:
            failed.append(1)
            raise [MemoryError, EngineError, ValueError][len(failed) % 3]("no")
        outputs["stride_16"][0].flat[0] = np.nan

    failed = []
    method, engines = opened(spoil={"detector": fail})
    try:
        found = method.screen([*images[:4], Torn(images[0].pixels), *images[4:]])
    finally:
        close(method, engines)
    assert len(failed) == 4
    assert found[4].error == f"{Reason.INTERNAL}: OSError"
    assert sum(result.error is not None for result in found) > 1
    assert [supply.taken for supply in supplies] == [0, 0]
