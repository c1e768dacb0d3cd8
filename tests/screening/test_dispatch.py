"""A cluster without workers: waited for, but not for ever."""

import pickle
from types import SimpleNamespace

import pytest
from distributed import LocalCluster

from mammofast.errors import SchedulerError
from mammofast.screening import dispatch, screen


def test_a_scheduler_without_workers_is_said(archive, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "NO_WORKER_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "_COUNT_SECONDS", 0.1)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        pytest.raises(SchedulerError, match="has had no worker for 0 s; start some"),
    ):
        screen(archive, tmp_path / "results", bundle, images_per_task=6, scheduler=cluster.scheduler_address)


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(dispatch, "time", clock)
    return clock


def dispatcher(threads):
    """A dispatcher of a cluster that has ``threads[0]`` threads."""
    client = SimpleNamespace(status="running", nthreads=lambda: {"worker": threads[0]} if threads[0] else {})
    return dispatch.Dispatcher(client, "run", 1, lambda: False, lambda: False, None)


def test_only_two_minutes_on_end_without_workers_end_a_run(clock):
    threads = [0]
    counting = dispatcher(threads)
    for clock.now in (0, 60, 110):
        counting._look_after_workers()
    threads[0] = 2
    for clock.now in (121, 500):
        counting._look_after_workers()
    threads[0] = 0
    for clock.now in (511, 522, 630.9):
        counting._look_after_workers()
    clock.now = 642
    with pytest.raises(SchedulerError, match="no worker for 120 s"):
        counting._look_after_workers()


class LosingClient:
    """A client to whom nobody says what came of images that were screened with others."""

    status = "running"

    def __init__(self, clock):
        self._clock = clock
        self.sent = []

    def nthreads(self):
        return {"worker": 1}

    def subscribe_topic(self, topic, handler):
        self._tell = handler

    def unsubscribe_topic(self, topic):
        pass

    def map(self, what, contents, key, pure, name, deadline):
        self.sent.append((what.__name__, self._clock.now))
        if what.__name__ == "screen_alone":
            images = pickle.loads(contents[0])
            self._tell((0.0, (key[0], pickle.dumps([("done", b"", 0.0)] * len(images)))))
        return [SimpleNamespace(status="finished", done=lambda: self._clock.now > 50, release=lambda: None)]


def test_a_result_that_never_comes_is_not_waited_for(clock):
    def sleep(seconds):
        clock.now += 1.0
        assert clock.now < 1000, "waited in vain"

    clock.sleep = sleep
    client = LosingClient(clock)
    images = [(SimpleNamespace(record=SimpleNamespace(nbytes=100, time_units=1)), number) for number in range(2)]
    run = dispatch.Dispatcher(client, "run", 2, lambda: False, lambda: False, None)
    assert [number for found in run.run(iter(images)) for number, _ in found] == [0, 1]
    assert [what for what, _ in client.sent] == ["screen_task", "screen_alone"]
    # Not before it had ended, and been ended for long enough.
    assert (
        50 + dispatch._RESULT_SECONDS < client.sent[1][1] < 50 + dispatch._RESULT_SECONDS + 3 * dispatch._COUNT_SECONDS
    )
