"""Threads: what only they can get wrong. Nothing is timed; who must meet somebody waits for him."""

import json
import threading
import time
import weakref

import pytest

from mammofast import tracing
from mammofast.errors import DeviceLostError, EngineError
from mammofast.pipeline import Budget, Flow, Hold, Stage, each
from mammofast.pipeline.board import Board
from mammofast.pipeline.virtual import Server
from tests.pipeline.simulated import Faults, RealTime, SimulatedDevice
from tests.pipeline.toy import MANY, NAN, STAGES, Image, image_of, stages, truth

PATIENCE = 20  # seconds until a test that would hang fails
IMAGES = [Image(name) for name in range(8)]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def passing(name="pass", **options):
    return Stage(name=name, work=each(lambda item: item), **options)


def test_stages_work_at_the_same_time():
    """Each waits in its call for all the others: with six images inside, all six are at work at once."""
    meeting = threading.Barrier(len(STAGES))

    def around(name, work):
        def meets(units):
            if image_of(units[0]).name == STAGES[::-1].index(name):
                meeting.wait(PATIENCE)
            return work(units)

        return meets

    images = [Image(name, scales=1, candidates=1) for name in range(6)]
    with Flow(stages(around)) as flow:
        assert [outcome.item for outcome in flow.results(images)] == list(map(truth, images))


def test_a_stages_workers_work_at_the_same_time():
    meeting = threading.Barrier(3)

    def meet(item):
        meeting.wait(PATIENCE)
        return item

    with Flow([Stage(name="meet", work=each(meet), workers=3)]) as flow:
        assert len(flow.results(range(9))) == 9


def test_outcomes_come_as_they_are_done():
    """The first image waits until the second one's outcome is here."""
    second_is_here = threading.Event()

    def work(item):
        if item == 0:
            assert second_is_here.wait(PATIENCE)
        return item

    with Flow([Stage(name="work", work=each(work), workers=2)]) as flow:
        run = flow.run(range(2))
        assert next(run).index == 1
        second_is_here.set()
        assert next(run).index == 0
        assert list(run) == []


def test_who_takes_no_outcomes_gets_no_images_read():
    asked, done = [], threading.Semaphore(0)

    def images():
        for number in range(100):
            asked.append(number)
            yield number

    def last(item):
        done.release()
        return item

    given = [passing(room=2), Stage(name="last", work=each(last), room=3)]
    with Flow(given) as flow:
        run = flow.run(images())
        next(run)
        # What was asked for by now is done, whether anybody takes it or not; nothing more is asked for.
        for _ in asked:
            assert done.acquire(timeout=PATIENCE)
        assert len(asked) <= 1 + 2 + 3 + 1
        assert not done.acquire(timeout=0.05)
        assert len(list(run)) == 99


def test_a_reader_waits_for_a_device_that_is_stuck():
    reads, go_on = [], threading.Event()

    def stuck(item):
        assert go_on.wait(PATIENCE)
        return item

    given = [
        Stage(name="read", work=each(lambda item: reads.append(item) or item), room=2),
        passing(room=2),
        Stage(name="stuck", work=each(stuck), room=1),
    ]
    with Flow(given) as flow:
        found = []
        asks = threading.Thread(target=lambda: found.extend(flow.run(range(50))))
        asks.start()
        is_so(lambda: len(reads) == 5)
        time.sleep(0.05)  # it could go on, if it were wrong
        assert len(reads) == 5
        go_on.set()
        asks.join(PATIENCE)
    assert len(found) == 50


def is_so(question):
    """Wait until something is the case."""
    until = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_nobody_is_busy_with_waiting(monkeypatch):
    """While a call takes its time, nobody asks anything."""
    begun, go_on = threading.Event(), threading.Event()
    asked = []
    for owner, name in ((Board, "task"), (Board, "can_start"), (Board, "finish"), (Flow, "_patience")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, real=real: asked.append(1) or real(*args))

    def work(item):
        begun.set()
        assert go_on.wait(PATIENCE)
        return item

    with Flow([passing(workers=2), Stage(name="work", work=each(work), room=1)], hung_after=1000) as flow:
        asks = threading.Thread(target=lambda: list(flow.run(range(9))))
        asks.start()
        assert begun.wait(PATIENCE)
        time.sleep(0.1)
        before = len(asked)
        time.sleep(0.1)
        assert len(asked) == before
        go_on.set()
        asks.join(PATIENCE)
    assert len(asked) > before


def test_a_flow_without_images_does_nothing():
    with Flow([passing()]) as flow:
        assert flow.results([]) == []
        assert list(flow.run(())) == []
    with Flow([passing()]):
        pass


def test_closing_twice_and_without_with():
    flow = Flow([passing(workers=4)])
    assert len(flow.results(range(3))) == 3
    flow.close()
    flow.close()
    with pytest.raises(EngineError, match="was closed"):
        flow.results(range(3))


def test_closing_meanwhile_ends_who_waits():
    begun, go_on = threading.Event(), threading.Event()

    def work(item):
        begun.set()
        assert go_on.wait(PATIENCE)
        return item

    flow = Flow([Stage(name="work", work=each(work))])
    caught = []

    def ask():
        try:
            flow.results(range(5))
        except EngineError as error:
            caught.append(str(error))

    asks = threading.Thread(target=ask)
    asks.start()
    assert begun.wait(PATIENCE)
    closes = threading.Thread(target=flow.close)
    closes.start()
    asks.join(PATIENCE)
    assert caught == ["the pipeline was closed while it had images; open it again"]
    assert closes.is_alive()  # the call at work is let end
    go_on.set()
    closes.join(PATIENCE)


@pytest.mark.parametrize("how", ["break", "KeyboardInterrupt"])
def test_who_stops_early_drops_the_rest(how):
    budget = Budget(100)
    with Flow(stages(segment={"batch": 4}), [Hold(budget, lambda image: image.size)]) as flow:
        images = iter([Image(name) for name in range(1000)])
        run = flow.run(images)
        next(run)
        if how == "break":
            run.close()
        else:
            with pytest.raises(KeyboardInterrupt):
                run.throw(KeyboardInterrupt)
        is_so(lambda: budget.taken == 0)
        assert next(images).name < 100
        # The others, and later ones, do not notice.
        assert [outcome.item for outcome in flow.results(IMAGES)] == list(map(truth, IMAGES))


def test_what_was_dropped_is_not_worked_on():
    begun, go_on, worked = threading.Event(), threading.Event(), []

    def work(item):
        worked.append(item)
        if item == 1:
            begun.set()
            assert go_on.wait(PATIENCE)
        return item

    with Flow([Stage(name="work", work=each(work), room=4)]) as flow:
        run = flow.run(range(100))
        assert next(run).index == 0
        assert begun.wait(PATIENCE)
        run.close()
        go_on.set()
        assert [outcome.item for outcome in flow.results(["other"])] == ["other"]
    assert worked == [0, 1, "other"]


def test_an_error_of_the_images_is_the_callers():
    def images():
        yield Image(0)
        raise OSError("the archive is gone")

    with Flow(stages()) as flow:
        with pytest.raises(OSError, match="the archive is gone"):
            flow.results(images())
        assert [outcome.item for outcome in flow.results(IMAGES)] == list(map(truth, IMAGES))


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_thread_ends_the_run(end):
    def work(item):
        if item == 3:
            raise end
        return item

    with Flow([passing(), Stage(name="work", work=each(work))]) as flow, pytest.raises(end):
        flow.results(range(9))


def test_a_call_that_hangs_is_said_and_not_waited_for():
    go_on = threading.Event()

    def work(item):
        if item == 2:
            assert go_on.wait(PATIENCE)
        return item

    flow = Flow([passing(), Stage(name="detect", work=each(work), device=True)], hung_after=0.1)
    run = flow.run(range(9))
    assert [next(run).index, next(run).index] == [0, 1]
    with pytest.raises(DeviceLostError, match=r"stage 'detect' has not come back for 0.1 s; end this process"):
        next(run)
    flow.close()  # returns though the call does not
    with pytest.raises(DeviceLostError, match="has not come back"):
        flow.results(range(2))
    hung = [thread for thread in threading.enumerate() if thread.name == "detect"]
    assert len(hung) == 1
    assert hung[0].daemon  # so that the process can end
    go_on.set()
    hung[0].join(PATIENCE)


def test_a_disk_that_stalls_is_waited_for():
    go_on, asked, found = threading.Event(), [], []

    def read(item):
        assert go_on.wait(PATIENCE)
        return item

    with Flow([Stage(name="read", work=each(read)), passing("detect", device=True)], hung_after=0.01) as flow:
        real = flow._patience
        flow._patience = lambda workers: asked.append(1) or real(workers)
        asks = threading.Thread(target=lambda: found.extend(flow.results(range(3))))
        asks.start()
        is_so(lambda: len(asked) > 9)  # it was looked whether the call hangs, and found that it may go on
        go_on.set()
        asks.join(PATIENCE)
    assert [outcome.item for outcome in found] == [0, 1, 2]


def test_a_device_that_is_lost_ends_all_runs_and_blames_no_image():
    begun, worked, caught = threading.Barrier(3), [], []

    def detect(item):
        worked.append(item)
        if item == "first":
            begun.wait(PATIENCE)
            raise DeviceLostError("card 0 is lost")
        return item

    def ask(flow):
        begun.wait(PATIENCE)
        try:
            caught.append(flow.results(images()))
        except EngineError as error:
            caught.append(error)

    def images():
        yield 1
        is_so(lambda: flow._broken is not None)
        yield 2

    flow = Flow([passing(), Stage(name="detect", work=each(detect), device=True), passing("later")])
    others = [threading.Thread(target=ask, args=(flow,)) for _ in range(2)]
    for thread in others:
        thread.start()
    with pytest.raises(DeviceLostError, match="card 0 is lost"):
        flow.results(["first"])
    for thread in others:
        thread.join(PATIENCE)
    before = len(worked)
    with pytest.raises(DeviceLostError, match="card 0 is lost"):
        flow.results(range(4))
    assert len(worked) == before
    assert [type(error) for error in caught] == [DeviceLostError] * 2
    flow.close()


def test_nothing_is_begun_on_a_device_that_is_lost():
    worked = []

    def detect(item):
        worked.append(item)
        if item == 0:
            is_so(lambda: len(worked) == 2)
            raise DeviceLostError("card 0 is lost")
        is_so(lambda: flow._broken is not None)
        return item

    flow = Flow([Stage(name="detect", work=each(detect), workers=2, room=9, device=True)])
    with pytest.raises(DeviceLostError):
        flow.results(range(9))
    for thread in threading.enumerate():
        if thread.name == "detect":
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert sorted(worked) == [0, 1]
    flow.close()


def test_two_runs_of_one_thread_do_not_wait_for_each_other():
    """A batch that only the other run could fill starts all the same: the other one is away."""
    with Flow(stages(detect={"batch": 4}, segment={"batch": 16, "room": 64})) as flow:
        both = list(zip(flow.run(IMAGES), flow.run(IMAGES), strict=True))
    assert sorted(a.index for a, _ in both) == sorted(b.index for _, b in both) == list(range(8))


def test_who_is_busy_with_an_outcome_keeps_nobody_waiting():
    """A batch is not held back for images that somebody who is away might ask for."""
    full = threading.Event()

    def work(units):
        full.set()
        return list(units)

    def images():
        for number in range(9):
            if number == 4:
                assert full.wait(PATIENCE)
            yield ("a", number)

    with Flow([Stage(name="work", work=work, key=lambda item: item[0], batch=4, room=400)]) as flow:
        first = flow.run(images())
        next(first)
        assert [outcome.item for outcome in flow.run([("b", 0)])] == [("b", 0)]
        assert len(list(first)) == 8


def test_one_image_keeps_several_workers_busy():
    meeting = threading.Barrier(2)

    def work(unit):
        meeting.wait(PATIENCE)
        return unit

    given = [
        passing(),
        Stage(name="pair", split=lambda item: [item, item], work=each(work), join=lambda item, _: item, workers=2),
    ]
    with Flow(given) as flow:
        assert [outcome.item for outcome in flow.results([5])] == [5]


def test_runs_share_batches():
    sizes = []
    both = threading.Barrier(2)

    def images():
        both.wait(PATIENCE)  # who has not asked yet is still about to
        yield from range(2)

    def work(units):
        sizes.append(len(units))
        return list(units)

    with Flow([Stage(name="work", work=work, batch=4)]) as flow:
        asks = [threading.Thread(target=flow.results, args=(images(),)) for _ in range(2)]
        for thread in asks:
            thread.start()
        for thread in asks:
            thread.join(PATIENCE)
    assert sizes == [4]


def test_what_is_done_with_is_let_go():
    """Buffers on a device are freed with their last reference: no idle thread keeps one, no failed image does."""
    alive, seen = weakref.WeakSet(), []

    class Buffer:
        def __init__(self, number):
            self.number = number
            alive.add(self)
            seen.append(number)

    def use(buffer):
        if buffer.number == 3:
            raise EngineError("no")
        return Buffer(buffer.number)

    given = [
        Stage(name="read", work=each(Buffer)),
        Stage(name="use", work=each(use)),
        Stage(name="end", work=each(lambda buffer: buffer.number)),
    ]
    with Flow(given) as flow:
        assert len(flow.results(range(9))) == 9
        is_so(lambda: not alive)
    assert len(seen) == 9 + 8


def test_a_trace_shows_the_stages(tmp_path):
    recorder = tracing.start_recording()
    try:
        with Flow(stages(), [Hold(Budget(1000), lambda image: image.size)]) as flow:
            flow.results(IMAGES)
    finally:
        tracing.stop_recording()
    tracing.write_chrome_trace(recorder.spans, tmp_path / "trace.json", recorder.samples)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    shown = {event["name"] for event in events if event["ph"] == "X"}
    assert shown == set(STAGES)
    counters = {event["name"] for event in events if event["ph"] == "C"}
    assert counters >= {"device memory", "images in the pipeline", "waiting for detect"}
    rows = {event["name"]: event["tid"] for event in events if event["ph"] == "X"}
    assert len(set(rows.values())) == len(STAGES)


def segmenting(device, faults=None, unit_bytes=lambda unit: 1):
    """The toy's `segment` on a simulated device."""
    network = device.engine(
        lambda unit: (unit[0].value * 11 + unit[1]) % MANY,
        lambda n: 0.5 * n,
        image=lambda unit: unit[0].image.name,
        unit_bytes=unit_bytes,
        faults=faults,
    )
    return stages(segment={"work": network, "batch": 4, "workers": 3})


def test_a_device_with_faults_in_real_time():
    device = SimulatedDevice(RealTime(scale=0.001), memory=8)
    faults = Faults(nan=frozenset({1}), raises={2: EngineError("no"), 3: KeyError("x")}, passing={5: 1})
    images = [Image(name, candidates=3) for name in range(12)]
    # Image 6 alone takes all there is, image 7 more than that.
    needs = {6: 8, 7: 9}
    with Flow(segmenting(device, faults, lambda unit: needs.get(unit[0].image.name, 2))) as flow:
        found = {each.index: each.error or each.item for each in flow.results(images)}
    assert [found.pop(name) for name in (1, 2, 3, 7)] == [
        NAN,
        "internal: the network of 'segment' could not be run on this image",
        "internal: KeyError",
        "too-large: no memory was left for this image in 'segment', even alone",
    ]
    assert found == {name: truth(images[name]) for name in range(12) if name not in (1, 2, 3, 7)}
    assert device.peak == 8


def test_a_device_that_hangs_is_said():
    go_on = threading.Event()
    device = SimulatedDevice(RealTime(scale=0.0), memory=100)
    flow = Flow(segmenting(device, Faults(wait={3: go_on})), hung_after=0.1)
    with pytest.raises(DeviceLostError, match="stage 'segment' has not come back"):
        flow.results(IMAGES)
    flow.close()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "segment":
            thread.join(PATIENCE)


@pytest.mark.parametrize("lines", [1, 2])
def test_a_server_in_real_time_has_so_many_lines(lines, monkeypatch):
    clock, server = RealTime(), Server("gpu", lines)
    at_work, most = [], []

    def sleep(seconds):
        at_work.append(seconds)
        most.append(len(at_work))
        threading.Event().wait(0.002)
        at_work.pop()

    monkeypatch.setattr("tests.pipeline.simulated.time.sleep", sleep)
    with Flow([Stage(name="work", work=each(lambda item: clock.spend(server, 1.0)), workers=4)]) as flow:
        assert len(flow.results(range(12))) == 12
    assert max(most) == lines
