"""The tests' CUDA sees the mistakes that it is there to see."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.cuda_on_host import build

if shutil.which("g++") is None and not os.environ.get("MAMMOFAST_REQUIRE_TOOLS"):
    pytest.skip("CUDA KERNELS NOT RUN: no g++", allow_module_level=True)

FORWARD, BACKWARD, SHUFFLED = range(3)


@pytest.fixture(scope="session", params=["plain", "sanitized"])
def probe(request):
    """Run a kernel of probe.cpp in an order of threads; returns what it printed, with standard error."""
    sanitize = request.param == "sanitized"
    sources = [build.HERE / "probe.cpp", build.HERE / "cuda_on_host.cpp"]
    program = build.build(request.config.cache.mkdir("cuda_on_host"), sanitize, sources, program=True)

    def run(name, place=0, order=FORWARD):
        words = [str(program), name, str(place), str(order)]
        done = subprocess.run(words, capture_output=True, text=True, env=os.environ | build.SANITIZER_OPTIONS)
        return done.stdout + done.stderr

    run.sanitized, run.program = sanitize, program
    return run


@pytest.mark.parametrize("order", [FORWARD, BACKWARD, SHUFFLED])
def test_operations(probe, order):
    assert probe("operations", order=order).split() == ["1"] * 64


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("past_shared", "global-buffer-overflow"),
        ("past_dynamic_shared", "heap-buffer-overflow"),
        ("past_global", "heap-buffer-overflow"),
        ("past_a_threads_own", "index 4 out of bounds for type 'int [4]'"),
        ("overflow", "signed integer overflow"),
    ],
)
def test_sanitizers_see_kernels(probe, name, says):
    assert "Sanitizer" not in probe(name, place=0)
    assert "runtime error" not in probe(name, place=0)
    if probe.sanitized:
        assert says in probe(name, place=1)


@pytest.mark.parametrize("order", [FORWARD, BACKWARD, SHUFFLED])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("some_skip_a_barrier", "some_skip_a_barrier: a barrier that not all threads reach: thread 0 .* has returned"),
        ("two_barriers", r"a barrier that not all threads reach: thread 0 .* waits at .*probe.cpp:\d+, thread 9"),
        ("half_a_warp", r"a barrier that not all threads reach: thread 0 .* waits at .*probe.cpp:\d+, thread 16"),
    ],
)
def test_barriers_are_reached_by_all(probe, name, says, order):
    assert re.search(says, probe(name, place=9, order=order))


def test_barriers_that_all_reach(probe):
    assert "barrier" not in probe("some_skip_a_barrier", place=0)
    assert "barrier" not in probe("two_barriers", place=0)


def test_the_order_of_threads_shows_races(probe):
    forward, backward, shuffled = (probe("race", order=order).split()[0] for order in (FORWARD, BACKWARD, SHUFFLED))
    assert (forward, backward) == ("63", "0")
    assert shuffled not in ("63", "0")


@pytest.mark.parametrize("name", ["missing_barrier", "unwritten"])
def test_the_order_of_threads_shows_what_is_read_before_it_is_written(probe, name):
    assert probe(name, order=FORWARD) != probe(name, order=BACKWARD)


def test_half_precision(probe):
    """As NumPy rounds: every half, what lies between two of them and beside that, and any bits."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = np.sort(halves[np.isfinite(halves)])
    between = (finite[1:] + finite[:-1]) / 2
    beyond = np.array([65504, 65519.996, 65520, 65536, np.inf], np.float32)
    any_bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    beside = [np.nextafter(between, np.float32(side * np.inf)) for side in (-1, 1)]
    values = np.concatenate([halves, between, *beside, beyond, -beyond, any_bits])
    command = [str(probe.program), "half"]
    done = subprocess.run(command, input=values.tobytes(), capture_output=True, check=True)
    got = np.frombuffer(done.stdout, np.dtype([("half", np.uint16), ("back", np.float32)]))
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(np.float16)
    number = ~np.isnan(values)
    assert np.array_equal(got["half"][number], expected.view(np.uint16)[number])
    assert (got["half"][~number] == 0x7FFF).all()
    assert np.array_equal(got["back"], got["half"].view(np.float16).astype(np.float32), equal_nan=True)
