"""A cluster without workers: waited for, but not for ever."""

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
