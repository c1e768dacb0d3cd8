"""One body for all: ``backend`` runs a test with the CPU's kernels, CUDA's on the host, and CUDA's on a card.

``backend(ops.nms)`` takes and gives NumPy arrays whatever the backend. ``device_backend`` is for ``ops.device``, whose
functions have no CPU face.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mammofast.ops import _cuda, _native
from tests.cuda_on_host import build

LEGACY, OTHER, ANOTHER = 1, 0x1000, 0x2000  # streams of the tests' CUDA; any number is one
FORWARD, BACKWARD, SHUFFLED = range(3)
SANITIZED = os.environ.get("MAMMOFAST_TEST_SANITIZED")  # set by test_sanitized.py: where it keeps what it builds


def convert(value, wanted, change):
    """Return the value with every array that ``wanted`` picks changed, in tuples and lists too."""
    if wanted(value):
        return change(value)
    if isinstance(value, tuple | list):
        parts = [convert(part, wanted, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def is_array(value):
    return isinstance(value, np.ndarray)


class Cpu:
    """The ops as they are."""

    def __call__(self, op):
        return op

    def cases(self, n):
        """Return how many of n random cases to run."""
        return n


class OnHost:
    """The CUDA sources, compiled as C++: each call three times, its threads in three orders, on several streams."""

    def __init__(self, module, control):
        self.module, self.control = module, control

    def cases(self, n):
        return -(-n // (500 if SANITIZED else 100))

    def __call__(self, op):
        waits_not = op.__module__.startswith(("mammofast.ops.device", "mammofast.ops._device"))

        def run(order, arguments, keywords):
            self.control.order(order, seed=order)
            home, stream = (LEGACY, LEGACY) if order == FORWARD else (OTHER, ANOTHER)

            def to_device(array):
                return self.module.to_device(array, home)

            arguments, keywords = (convert(value, is_array, to_device) for value in (arguments, list(keywords.items())))
            keywords = dict(keywords)
            if waits_not:
                keywords.setdefault("stream", stream)
            before = self.control.waits
            results = op(*arguments, **keywords)
            assert self.control.waits == before or not waits_not, "an op of ops.device waited for its stream"
            return convert(results, _cuda.is_cuda, lambda array: _cuda.to_host(array, stream))

        def three_times(*arguments, **keywords):
            before = self.control.allocations
            results = [run(order, arguments, keywords) for order in (FORWARD, BACKWARD, SHUFFLED)]
            assert self.control.allocations <= before, "device memory that nobody frees"
            for other in results[1:]:
                assert_equal_bits(results[0], other)
            return results[0]

        return three_times


class Cuda:
    """A card; torch carries the arrays."""

    def __init__(self, torch):
        self.torch = torch

    def cases(self, n):
        return -(-n // 10)

    def __call__(self, op):
        torch = self.torch

        def run(*arguments, **keywords):
            arguments, items = (
                convert(value, is_array, lambda array: torch.from_numpy(np.array(array, order="C")).cuda())
                for value in (arguments, list(keywords.items()))
            )
            results = op(*arguments, **dict(items))
            return convert(results, _cuda.is_cuda, lambda array: torch.from_dlpack(array).cpu().numpy())

        return run


def assert_equal_bits(one, other):
    """Whether results are the same in type, shape and every bit."""
    assert type(one) is type(other)
    if isinstance(one, tuple | list):
        assert len(one) == len(other)
        for parts in zip(one, other, strict=True):
            assert_equal_bits(*parts)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes(), "the order of threads shows in the results"
    else:
        assert one == other


@pytest.fixture(scope="session")
def cuda_on_host(request):
    """The path of the CUDA extension for the host."""
    if shutil.which("g++") is None:
        (pytest.fail if os.environ.get("MAMMOFAST_REQUIRE_TOOLS") else pytest.skip)("CUDA KERNELS NOT RUN: no g++")
    folder = Path(SANITIZED) if SANITIZED else request.config.cache.mkdir("cuda_on_host")
    return build.build(folder, sanitize=bool(SANITIZED))


def make(kind, request, monkeypatch):
    if kind == "cpu":
        return Cpu()
    if kind == "on_host":
        path = request.getfixturevalue("cuda_on_host")
        module = sys.modules.get(path.stem)
        if module is None:  # a module of C++ loads once
            module = sys.modules[path.stem] = build.load(path)
        monkeypatch.setitem(sys.modules, build.NAME, module)
        _native._load_cuda.cache_clear()
        request.addfinalizer(_native._load_cuda.cache_clear)
        return OnHost(module, build.Control(path))
    torch = pytest.importorskip("torch", reason="CUDA KERNELS NOT RUN ON A CARD: torch carries the arrays there")
    problem = _native.why_no_cuda() if torch.cuda.is_available() else "torch finds none"
    if problem is not None:
        pytest.skip(f"CUDA KERNELS NOT RUN ON A CARD: {problem}")
    return Cuda(torch)


ON_DEVICE = [pytest.param("on_host", id="on_host"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=[pytest.param("cpu", id="cpu"), *ON_DEVICE])
def backend(request, monkeypatch):
    return make(request.param, request, monkeypatch)


@pytest.fixture(params=ON_DEVICE)
def device_backend(request, monkeypatch):
    return make(request.param, request, monkeypatch)


@pytest.fixture
def no_cuda_kernels(monkeypatch):
    """A build without nvcc."""
    monkeypatch.setitem(sys.modules, build.NAME, None)
    _native._load_cuda.cache_clear()
    yield
    _native._load_cuda.cache_clear()
