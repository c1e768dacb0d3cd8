"""The life of an engine on a card, over the fakes of TensorRT, pycuda and the driver beside this file."""

import sys
import threading

import numpy as np
import pytest

from mammofast.engine import TensorSpec, device, driver, load_engine
from mammofast.engine.on_device import PREPARING
from mammofast.engine.tensorrt.weights import Weights
from mammofast.errors import EngineError
from tests.engine.fake_card import FakeDriver
from tests.engine.fake_tensorrt import FakeTensorRt, serialized

SMALL, LARGE = (2, 2, 4, 4), (3, 2, 6, 8)


def images(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def check(outputs, x):
    assert set(outputs) == {"y", "first"}
    np.testing.assert_array_equal(outputs["y"], 2 * x + 1)
    np.testing.assert_array_equal(outputs["first"], x[:, :1])


def assert_gone(card, trt):
    assert card.allocations == {}
    assert card.graphs == {}
    assert card.executables == {}
    assert card.live_pinned == []
    assert [len(trt.engines), len(trt.contexts), len(card.streams)] == [0, 0, 0]


def test_arrays_in_arrays_out_at_every_shape(load, card, trt):
    with load() as engine:
        assert engine.inputs == (TensorSpec("x", (None, 2, None, None), "float32"),)
        assert engine.outputs == (
            TensorSpec("y", (None, 2, None, None), "float32"),
            TensorSpec("first", (None, 1, None, None), "float32"),
        )
        for seed, shape in enumerate([SMALL, LARGE, SMALL, (1, 2, 6, 8), LARGE]):
            x = images(shape, seed)
            check(engine.run({"x": x}), x)
    assert_gone(card, trt)


def test_a_shape_is_prepared_once_and_replayed_from_then_on(load, card, trt):
    with load() as engine:
        for k, shape in enumerate([SMALL, SMALL, LARGE, SMALL, LARGE]):
            engine.run({"x": images(shape)})
            assert engine.graphs == (1 if k < 2 else 2)
        # Once to warm up and once to be captured, each shape.
        assert (trt.executions, card.launches, len(card.executables)) == (4, 5, 2)
        assert card.graphs == {}


def test_shapes_are_prepared_one_at_a_time_and_run_at_any(load, card, monkeypatch):
    new_context, alone = Weights.new_context, []

    def watched(weights):
        alone.append(PREPARING.locked())
        return new_context(weights)

    monkeypatch.setattr(Weights, "new_context", watched)
    x = images(SMALL)
    with load() as engine:
        engine.run({"x": x})
        with PREPARING:  # somebody else prepares
            check(engine.run({"x": x}), x)
    assert alone == [True]
    assert not PREPARING.locked()


def test_outputs_are_the_callers_to_keep(load, card):
    with load() as engine:
        x = images(SMALL)
        first = engine.run({"x": x})
        engine.run({"x": x + 1})
    check(first, x)


def test_work_on_a_card_is_only_enqueued(load, card, trt):
    x = images(SMALL)
    given = card.put(x)
    with load() as engine:
        engine.run_on_device({"x": given}, 7)
        waits = card.waits
        card.run(7)
        card.array(given.__cuda_array_interface__)[...] = x + 5
        found = engine.run_on_device({"x": given}, 7)
        place = found["y"].__cuda_array_interface__
        assert place["shape"] == SMALL
        check({name: card.array(a.__cuda_array_interface__) for name, a in found.items()}, x)
        assert card.waits == waits
        card.run(7)
        check({name: card.array(a.__cuda_array_interface__) for name, a in found.items()}, x + 5)
    with card.context():
        given.free()
    assert_gone(card, trt)


def test_the_default_stream_is_a_stream_too(load, card):
    x = images(SMALL)
    with load() as engine:
        found = engine.run_on_device({"x": card.put(x)}, 0)
        card.run(0)
        check({name: card.array(a.__cuda_array_interface__) for name, a in found.items()}, x)


def test_what_is_written_into_the_engines_buffers_is_not_copied(load, card):
    with load() as engine:
        (buffer,) = engine.buffers({"x": LARGE}).values()
        x = images(LARGE)
        card.array(buffer.__cuda_array_interface__)[...] = x
        outputs = engine.run_on_device({"x": buffer}, engine.stream)
        check(engine.download(outputs), x)
        assert card.copies == 0
        engine.run_on_device({"x": card.put(x)}, engine.stream)
        assert card.copies == 1


def test_a_second_batch_does_not_overtake_the_first_in_pinned_memory(load, card):
    a, b = images(SMALL, 1), images(SMALL, 2)
    kept = []
    with load() as engine:
        for x in (a, b):
            outputs = engine.run_on_device(engine.upload({"x": x}), engine.stream)
            where = outputs["y"].__cuda_array_interface__
            card.enqueue(engine.stream, lambda where=where: kept.append(card.array(where).copy()))
        engine.synchronize()
    np.testing.assert_array_equal(kept, [2 * a + 1, 2 * b + 1])


def test_engines_that_share_weights_have_memory_of_their_own(load, card, trt):
    a, b = images(SMALL, 1), images(SMALL, 2)
    engine = load()
    other = engine.share()
    assert other.stream != engine.stream
    assert len(trt.engines) == 1
    first = engine.run_on_device(engine.upload({"x": a}), engine.stream)
    second = other.run_on_device(other.upload({"x": b}), other.stream)
    check(other.download(second), b)
    check(engine.download(first), a)
    used = card.used
    engine.close()
    engine.close()
    assert 0 < card.used < used
    assert len(trt.engines) == 1
    check(other.run({"x": b}), b)
    check(other.run({"x": images(LARGE)}), images(LARGE))
    other.close()
    assert_gone(card, trt)


def test_the_memory_stated_is_the_memory_taken(load, card):
    with load() as engine:
        assert (engine.memory.weights, engine.memory.context) == (500, 1000)
        engine.run({"x": images(SMALL)})
        engine.run({"x": images(LARGE)})
        floats = 2 * 2 * 4 * 4 * 5 // 2 + 3 * 2 * 6 * 8 * 5 // 2  # x and y of two channels, the first of one
        assert engine.memory.context == 1000 + 4 * floats == card.used


def test_a_network_without_activations(load, card):
    with load(activations=0) as engine:
        x = images(SMALL)
        check(engine.run({"x": x}), x)


def test_shapes_that_it_was_not_built_for_are_named(load, card, trt):
    with load() as engine:
        with pytest.raises(
            EngineError, match=r"^shapes: got 'x' \(4, 2, 4, 4\), .* \(1, 2, 4, 4\) to \(3, 2, 4, 4\); "
        ):
            engine.run({"x": images((4, 2, 4, 4))})
        with pytest.raises(EngineError, match=r"got 'x' \(1, 2, 6, 4\)"):
            engine.buffers({"x": (1, 2, 6, 4)})
        with pytest.raises(EngineError, match=r"got float32\(1, 3, 4, 4\), expected float32\(None, 2, None, None\)"):
            engine.run_on_device({"x": card.put(images((1, 3, 4, 4)))}, 7)
        with pytest.raises(EngineError, match="expected float32"):
            engine.buffers({"z": SMALL})
        assert trt.executions == 0


def test_arrays_that_are_not_on_a_card_or_not_in_one_piece_are_refused(load, card):
    strided = card.put(images(SMALL))
    with load() as engine:
        with pytest.raises(EngineError, match="input 'x': got ndarray, expected an array on a CUDA device"):
            engine.run_on_device({"x": images(SMALL)}, 7)
        strided.__cuda_array_interface__["strides"] = (128, 64, 4, 16)
        with pytest.raises(EngineError, match=r"strides \(128, 64, 4, 16\), expected a C-contiguous"):
            engine.run_on_device({"x": strided}, 7)
        strided.__cuda_array_interface__["strides"] = (128, 64, 16, 4)
        engine.run_on_device({"x": strided}, 7)
        with pytest.raises(EngineError, match=r"inputs: got \['z'\]"):
            engine.run_on_device({"z": strided}, 7)


@pytest.mark.parametrize("failure, words", [("execute", "could not run: no kernels"), ("context", "no context today")])
def test_what_fails_says_why_and_leaves_nothing_behind(load, card, trt, failure, words):
    with load() as engine:
        x = images(SMALL)
        engine.run({"x": x})
        used, contexts = card.used, len(trt.contexts)
        trt.fails.add(failure)
        for _ in range(2):
            with pytest.raises(EngineError, match=words):
                engine.run({"x": images(LARGE)})
            assert (card.used, len(trt.contexts)) == (used, contexts)
        trt.fails.clear()
        check(engine.run({"x": x}), x)
        check(engine.run({"x": images(LARGE)}), images(LARGE))
    assert_gone(card, trt)


def test_a_full_card_is_an_error_of_that_run(load, card, trt):
    with load() as engine:
        x = images(SMALL)
        engine.run({"x": x})
        used, card.total = card.used, card.used + 100
        with pytest.raises(EngineError, match=r"no memory left \(0 of 0 MiB are free\); run smaller batches"):
            engine.run({"x": images(LARGE)})
        assert card.used == used
        check(engine.run({"x": x}), x)
        card.total = 1 << 24
        check(engine.run({"x": images(LARGE)}), images(LARGE))
    assert_gone(card, trt)


def test_a_card_that_is_full_already(load, card, trt):
    card.total = 10
    with pytest.raises(EngineError, match="no memory left"):
        load()
    assert_gone(card, trt)


@pytest.mark.parametrize("why", ["capture", "refused", "capturable"])
def test_what_cannot_be_captured_is_launched_one_by_one(load, card, trt, why):
    if why == "capturable" and trt.__name__ == "tensorrt":
        pytest.skip("only TensorRT for RTX can say so")
    trt.fails.add(why)
    card.refuse_capture = why == "refused"
    with load() as engine:
        for seed in range(3):
            x = images(SMALL, seed)
            check(engine.run({"x": x}), x)
        assert (engine.graphs, card.launches, card.captures) == (0, 0, {})
        assert trt.executions == (4 if why == "capturable" else 5)
        trt.fails = {"execute"}
        with pytest.raises(EngineError, match=r"run: no kernels today$"):
            engine.run({"x": x})
    assert_gone(card, trt)


def test_another_threads_stack_of_contexts_is_empty(load, card):
    engine = load()
    found = []
    x = images(SMALL)
    thread = threading.Thread(target=lambda: (found.append(engine.run({"x": x})), engine.close()))
    thread.start()
    thread.join()
    check(found[0], x)
    assert card.allocations == {}


def test_a_closed_engine_says_so(load, card):
    engine = load()
    engine.close()
    for call in (
        lambda: engine.run({"x": images(SMALL)}),
        lambda: engine.buffers({"x": SMALL}),
        lambda: engine.run_on_device({}, 7),
        engine.share,
        engine.synchronize,
    ):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_closing_waits_for_what_runs(load, card):
    engine = load()
    found = engine.run_on_device({"x": card.put(images(SMALL))}, 7)
    engine.close()
    assert not card.queues[7]
    del found


def test_an_engine_of_another_version_is_refused_in_the_packages_words(load, card, trt):
    with pytest.raises(EngineError, match=r"10\.99\.1 cannot read the engine: engine of version 9\.0, expecting 10"):
        load(version="9.0")
    assert_gone(card, trt)


def test_an_engine_of_another_card_is_refused(card, monkeypatch):
    trt = FakeTensorRt(card, rtx=True)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", trt)
    trt.fails.add("fit")
    with pytest.raises(EngineError, match=r"does not fit this machine .*says: unsupported cc.*mammofast compile"):
        load_engine(serialized(), "tensorrt-rtx", "cuda")


def test_contexts_share_what_is_compiled(card, monkeypatch):
    trt = FakeTensorRt(card, rtx=True)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", trt)
    with load_engine(serialized(), "tensorrt-rtx", "cuda") as engine, engine.share() as other:
        for each in (engine, other):
            each.run({"x": images(SMALL)})
            each.run({"x": images(LARGE)})
        assert (len(trt.contexts), len(trt.caches)) == (4, 1)


def test_types_without_a_counterpart_are_named(load, card):
    with pytest.raises(EngineError, match="tensor 'x': its type has no counterpart in NumPy"):
        load(kind="BF16")


def test_without_pycuda_it_says_how_to_get_it(load, card, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(EngineError, match=r'needs pycuda, which is not installed .*pip install "mammofast\[cuda\]"'):
        load()


def test_a_card_that_is_not_there(load, card, flavour):
    with pytest.raises(EngineError, match="needs an NVIDIA card"):
        load_engine(serialized(), flavour, "cuda:1")
    with pytest.raises(EngineError, match="card 1 cannot be used: invalid device ordinal"):
        device.card(1)


def test_events_order_streams(card):
    mine = device.card(0)
    done = []
    with mine.current():
        first, second, event = mine.stream(), mine.stream(), mine.event()
        card.enqueue(first.handle, lambda: done.append("first"))
        event.record(first)
        second.wait(event)
        card.enqueue(second.handle, lambda: done.append("second"))
        second.synchronize()
        event.synchronize()
    assert done == ["first", "second"]


def test_what_cuda_reports_is_an_engine_error(card):
    with pytest.raises(EngineError, match="the card reports: invalid device context"), device.card(0).current():
        raise card.pycuda.LogicError("invalid device context")


def test_a_status_of_the_driver_is_an_engine_error_in_its_words(card, monkeypatch):
    fake = FakeDriver(card)
    fake.cuGraphLaunch = lambda *arguments: 719
    monkeypatch.setattr(driver, "_driver", lambda: fake)
    with pytest.raises(EngineError, match="cuGraphLaunch: the driver's words for 719"):
        driver.call("cuGraphLaunch")
    monkeypatch.setattr(driver, "_driver", lambda: None)
    with pytest.raises(EngineError, match="there is no NVIDIA driver"):
        driver.call("cuGraphLaunch")
