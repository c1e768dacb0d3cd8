"""What a worker makes of misbehaving methods, without a cluster around it."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from mammofast.errors import BrokenImage, EngineError, Reason
from mammofast.records import Finding, ImageResult
from mammofast.screening import worker
from mammofast.screening.entry import parse_entry
from mammofast.screening.outcomes import screen_images
from mammofast.screening.task import packed, screen_task, unpacked


def image(number):
    record = SimpleNamespace(
        study_uid="1.2",
        series_uid="1.3",
        sop_uid=f"1.4.{number}",
        laterality=None,
        view=None,
        rows=10,
        cols=8,
        pixel_spacing=None,
        content_sha256=f"{number:064x}",
        time_units=1,
    )
    return SimpleNamespace(record=record, shape=(10, 8))


class Screener:
    """Does for an image what ``acts`` says; remembers how images came."""

    bundle_id, settings_id = "b" * 64, "c" * 64
    concurrent = False

    def __init__(self, **acts):
        self.acts = acts
        self.calls = []

    def screen_images(self, images):
        numbers = [int(image.record.sop_uid.rpartition(".")[2]) for image in images]
        self.calls.append(numbers)
        results = []
        for number in numbers:
            act = self.acts.get(f"image{number}", ImageResult((10, 8)))
            if isinstance(act, Exception):
                raise act
            if act is not None:
                results.append(act)
        return results


def outcomes(screener, numbers=(1, 2, 3)):
    encoded = screen_images(screener, [image(number) for number in numbers])
    entries = [parse_entry(content) for _, content in encoded]
    assert [status for status, _ in encoded] == [entry.status for entry in entries]
    assert [entry.image.sop_uid for entry in entries] == [f"1.4.{number}" for number in numbers]
    return [(entry.status, entry.reason) for entry in entries]


def test_images_go_to_the_method_together():
    screener = Screener()
    assert outcomes(screener) == [("done", None)] * 3
    assert screener.calls == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Doe^Jane"), "internal: RuntimeError"),
        (PermissionError(13, "no", "/home/Doe^Jane.dcm"), "read: the archive could not be read (PermissionError)"),
        (BrokenImage(Reason.READ, "array 0 cannot be read"), "read: array 0 cannot be read"),
        (MemoryError(), "internal: MemoryError"),
    ],
)
def test_what_a_method_raises_stays_with_its_image(error, reason):
    screener = Screener(image2=error)
    assert outcomes(screener) == [("done", None), ("failed", reason), ("done", None)]
    assert screener.calls == [[1, 2, 3], [1], [2], [3]]


def test_a_result_too_few_fails_the_image_that_has_none():
    screener = Screener(image3=None)
    assert outcomes(screener) == [("done", None), ("done", None), ("failed", "internal: ValueError")]


def test_a_finding_that_cannot_be_kept_fails_its_image():
    wrong = Finding((0, 0, 3, 3), 1.0, 1.0, np.ones((2, 2), bool))
    screener = Screener(image1=ImageResult((10, 8), (wrong,)))
    assert outcomes(screener) == [("failed", "internal: ValueError"), ("done", None), ("done", None)]


def test_an_error_of_the_method_is_kept_as_it_is():
    screener = Screener(image1=ImageResult((10, 8), error="not-finite: the detector gave NaN"))
    assert outcomes(screener)[0] == ("failed", "not-finite: the detector gave NaN")


def test_a_worker_without_the_bundle_says_so():
    with pytest.raises(EngineError, match="could not open the bundle"):
        screen_task(packed([]), "nothing", 60)


class Gathering(Screener):
    """Screens once so many tasks are inside, so that it hangs unless they come at the same time."""

    concurrent = True

    def __init__(self, tasks):
        super().__init__()
        self.all_in = threading.Barrier(tasks, timeout=60)
        self.ended = False

    def screen_images(self, images):
        self.all_in.wait()
        return super().screen_images(images)

    def __exit__(self, *error):
        self.ended = True


@pytest.fixture
def opened(monkeypatch):
    def put(screener):
        monkeypatch.setitem(worker._OPEN, "run", worker.Opened(screener, None, None))
        return screener

    return put


def test_a_concurrent_screener_has_several_tasks_at_once(opened):
    opened(Gathering(3))
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda number: unpacked(screen_task(packed([image(number)]), "run", 60)), range(3)))
    assert [status for ((status, _, _),) in found] == ["done"] * 3
    assert worker._OPEN["run"].users == []


def test_any_other_screener_has_one_task_at_a_time(opened):
    screener = opened(Gathering(2))
    screener.concurrent = False
    screener.all_in = threading.Barrier(2, timeout=0.5)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda number: unpacked(screen_task(packed([image(number)]), "run", 60)), range(2)))
    assert [status for ((status, _, _),) in found] == ["failed"] * 2  # each waited for the other


def dask_worker():
    return SimpleNamespace(periodic_callbacks={"heartbeat": SimpleNamespace()}, heartbeat=None)


def test_a_worker_says_seldom_that_it_lives_while_a_run_lasts(monkeypatch):
    """At thirty seconds at least, slower where the scheduler asks for that; afterwards at the scheduler's own pace."""
    monkeypatch.setattr(worker, "share_cores", lambda workers: None)
    monkeypatch.setattr(worker.ScreenerPlugin, "_open", lambda self: None)
    monkeypatch.setattr(worker, "_OPEN", {})
    beats, paces = SimpleNamespace(callback_time=1000), iter([500, 60_000, 500])

    async def heartbeat():
        beats.callback_time = next(paces)

    there = SimpleNamespace(address="tcp://127.0.0.1:1", periodic_callbacks={"heartbeat": beats}, heartbeat=heartbeat)
    plugin = worker.ScreenerPlugin("run", None, "bundle", "cpu", None, ours=False)
    plugin.setup(there)
    for pace in (30_000, 60_000, 30_000):
        asyncio.run(beats.callback())
        assert beats.callback_time == pace
    plugin.teardown(there)
    assert (beats.callback, beats.callback_time) == (heartbeat, 500)


def test_a_screener_in_use_goes_with_its_process(opened):
    screener = opened(Gathering(2))
    plugin = SimpleNamespace(name="run")
    with ThreadPoolExecutor(1) as threads:
        task = threads.submit(screen_task, packed([image(1)]), "run", 60)
        while not screener.all_in.n_waiting:
            time.sleep(0.001)
        worker.ScreenerPlugin.teardown(plugin, dask_worker())
        assert not screener.ended
        screener.all_in.wait()
        assert unpacked(task.result())[0][0] == "done"
    opened(screener)
    worker.ScreenerPlugin.teardown(plugin, dask_worker())
    assert screener.ended
