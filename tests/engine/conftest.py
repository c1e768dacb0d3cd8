"""A card and TensorRT where there are none."""

import sys
from types import SimpleNamespace

import pytest

from mammofast.engine import device, driver, load_engine, loss
from tests.engine.fake_card import FakeCard, FakeDriver
from tests.engine.fake_tensorrt import FakeTensorRt, serialized


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def flavour(request):
    """One body for both packages."""
    return request.param


@pytest.fixture
def card(monkeypatch):
    """Put a card into this machine."""
    fake = FakeCard()
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=fake.pycuda))
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake.pycuda)
    monkeypatch.setattr(driver, "_driver", lambda: FakeDriver(fake))
    monkeypatch.setattr(loss, "_LOST", set())
    device.card.cache_clear()
    yield fake
    device.card.cache_clear()
    assert not fake.depth, "a context stayed pushed"


@pytest.fixture
def trt(card, flavour, monkeypatch):
    """Install TensorRT."""
    fake = FakeTensorRt(card, rtx=flavour == "tensorrt-rtx")
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return fake


@pytest.fixture
def load(trt, flavour):
    """Load an engine."""
    return lambda **facts: load_engine(serialized(**facts), flavour, "cuda", "fp16")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing is read from, or left in, the cache of who runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
