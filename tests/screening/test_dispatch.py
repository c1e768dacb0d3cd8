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
    monkeypatch.setattr(dispatch, "as_completed", lambda **options: None)
    return clock


def dispatcher(threads):
    """A dispatcher of a cluster that has ``threads[0]`` threads."""
    client = SimpleNamespace(loop=None, status="running", nthreads=lambda: {"worker": threads[0]} if threads[0] else {})
    return dispatch.Dispatcher(client, "run", 1, lambda: False, lambda: False)


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


class Sent(SimpleNamespace):
    __hash__ = object.__hash__


class Lost:
    """as_completed that never hands out what was sent to be screened with others, though it has ended."""

    def __init__(self):
        self.alone = []

    def add(self, future):
        if future.what == "screen_alone":
            self.alone.append(future)

    def has_ready(self):
        return bool(self.alone)

    def next_batch(self, block):
        futures, self.alone = self.alone, []
        return [(future, pickle.dumps([("done", b"", 0.0)] * future.images)) for future in futures]


@pytest.mark.parametrize("status", ["finished", "error"])
def test_a_result_that_has_ended_and_never_comes_is_not_waited_for(clock, monkeypatch, status):
    sent = []

    def submit(what, name, task, deadline, key, pure):
        images = len(pickle.loads(task))
        sent.append((what.__name__, clock.now))
        ended = "finished" if what.__name__ == "screen_alone" else status
        return Sent(
            what=what.__name__, images=images, key=key, status=ended, done=lambda: clock.now > 50, release=lambda: None
        )

    def sleep(seconds):
        clock.now += 1.0
        assert clock.now < 1000, "waited in vain"

    clock.sleep = sleep
    monkeypatch.setattr(dispatch, "as_completed", lambda **options: Lost())
    client = SimpleNamespace(loop=None, status="running", nthreads=lambda: {"worker": 1}, submit=submit)
    record = SimpleNamespace(nbytes=100, time_units=1)
    images = [SimpleNamespace(record=record, number=number) for number in range(2)]
    run = dispatch.Dispatcher(client, "run", 2, lambda: False, lambda: False)
    outcomes = [outcome for found in run.run(iter(images)) for outcome in found]
    assert [outcome.image.number for outcome in outcomes] == [0, 1]
    assert [what for what, _ in sent] == ["screen_task", "screen_alone"]
    # Not before it had ended, and been ended for long enough.
    assert 50 + dispatch._FETCH_SECONDS < sent[1][1] < 50 + dispatch._FETCH_SECONDS + 3 * dispatch._COUNT_SECONDS
