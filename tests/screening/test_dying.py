"""Workers that die, hang, stand still or take all memory: whatever it is, it stays with the image that did it."""

import contextlib
import itertools
import json
import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from mammofast import open_results
from mammofast.errors import EngineError, SchedulerError
from mammofast.screening import dispatch, screen
from tests.screening.programs import dask_program
from tests.screening.runs import snapshot, started, wait_until

ONE, OTHER = "1.2.1.1.1", "1.2.3.4.1"


def reasons(results, undisturbed):
    """The reasons of what failed, by UID; all others must be as nothing had happened."""
    failed = {row["sop_uid"]: row["reason"] for row in open_results(results).images().to_pylist() if row["reason"]}
    left = snapshot(results)
    assert left.keys() == undisturbed.keys()
    assert [name for name in left if left[name] != undisturbed[name]] == [
        name for name in left if name.partition("-")[0] in failed
    ]
    return failed


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("poison", "worker: ended a process of its own (SIGKILL)"),
        ("exit", "worker: ended a process of its own (exit status 5)"),
        ("hang", "hung: not done after 3 s in a process of its own"),
    ],
)
def test_what_ends_or_holds_its_worker_fails_alone(archive, private_bundle, undisturbed, tmp_path, fakes, what, reason):
    (private_bundle / what).write_text(f"{ONE} {OTHER}")
    results = tmp_path / "results"
    report = screen(
        archive, results, private_bundle, workers=2, images_per_task=2, image_deadline=3, opener=fakes.misbehaving
    )
    assert (report.done, report.failed) == (4, 2)
    assert reasons(results, undisturbed) == {ONE: reason, OTHER: reason}
    begun = started(private_bundle)
    # Once with others, where its worker had not died of the other one before it came to it, and once alone.
    assert all(len(begun[uid]) in (1, 2) for uid in (ONE, OTHER))
    assert len(begun[ONE]) + len(begun[OTHER]) >= 3


def test_what_takes_all_memory_fails_alone(archive, private_bundle, undisturbed, tmp_path, fakes):
    (private_bundle / "hog").write_text(ONE)
    results = tmp_path / "results"
    with limited_cluster(tmp_path, "600 MiB") as address:
        report = screen(
            archive, results, private_bundle, scheduler=address, images_per_task=2, opener=fakes.misbehaving
        )
    assert (report.done, report.failed) == (5, 1)
    assert reasons(results, undisturbed) == {ONE: f"memory: took more than {570 << 20} bytes in a process of its own"}
    assert len(started(private_bundle)[ONE]) == 2


def test_a_worker_that_stands_still_is_given_up(archive, private_bundle, undisturbed, tmp_path, fakes, monkeypatch):
    """Not even its own deadline ends a process that is stopped."""
    monkeypatch.setattr(dispatch, "_COUNT_SECONDS", 0.5)
    monkeypatch.setattr(dispatch, "_OVERDUE_SECONDS", 8.0)
    monkeypatch.setattr(dispatch, "_OVERDUE_FACTOR", 0)
    (private_bundle / "stop").write_text(ONE)
    report = screen(
        archive, tmp_path / "results", private_bundle, workers=1, images_per_task=2, opener=fakes.misbehaving
    )
    assert (report.done, report.failed) == (6, 0)
    assert snapshot(tmp_path / "results") == undisturbed


def scheduler_of_its_own(stack, folder):
    where = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", where]
    scheduler = dask_program(stack, folder, "dask_scheduler", *options)
    wait_until(lambda: where.exists() and where.read_text().strip().endswith("}"))
    return scheduler, json.loads(where.read_text())["address"]


def worker_of_its_own(stack, folder, address, *options):
    return dask_program(
        stack, folder, "dask_worker", address, "--nthreads", 1, "--no-dashboard", "--local-directory", folder, *options
    )


@contextlib.contextmanager
def limited_cluster(folder, limit):
    with contextlib.ExitStack() as stack:
        _, address = scheduler_of_its_own(stack, folder)
        worker_of_its_own(stack, folder, address, "--memory-limit", limit)
        yield address


def test_a_poisoned_image_does_not_go_round_a_cluster(archive, private_bundle, undisturbed, tmp_path, fakes):
    """Dask lets four workers die of a task before it says so; one is enough."""
    (private_bundle / "poison").write_text(ONE)
    with contextlib.ExitStack() as stack:
        _, address = scheduler_of_its_own(stack, tmp_path)
        for _ in range(2):
            worker_of_its_own(stack, tmp_path, address)
        report = screen(
            archive,
            tmp_path / "results",
            private_bundle,
            scheduler=address,
            images_per_task=2,
            opener=fakes.misbehaving,
        )
    assert (report.done, report.failed) == (5, 1)
    assert reasons(tmp_path / "results", undisturbed) == {ONE: "worker: ended a process of its own (SIGKILL)"}
    assert len(started(private_bundle)[ONE]) == 2


def test_a_killed_nanny_costs_no_image(archive, private_bundle, undisturbed, tmp_path, fakes):
    """Its worker goes with it, and nobody starts another; what it held is done elsewhere. Then one more comes."""
    (private_bundle / "gate").touch()
    with contextlib.ExitStack() as stack:
        _, address = scheduler_of_its_own(stack, tmp_path)
        nanny = worker_of_its_own(stack, tmp_path, address)

        def disturb():
            wait_until(lambda: started(private_bundle))
            nanny.kill()
            (private_bundle / "gate").unlink()
            worker_of_its_own(stack, tmp_path, address)

        disturber = threading.Thread(target=disturb)
        disturber.start()
        report = screen(
            archive,
            tmp_path / "results",
            private_bundle,
            scheduler=address,
            images_per_task=1,
            opener=fakes.misbehaving,
        )
        disturber.join()
    assert (report.done, report.failed) == (6, 0)
    assert snapshot(tmp_path / "results") == undisturbed
    assert len({pid for pids in started(private_bundle).values() for pid in pids}) >= 2


class Future:
    def __init__(self, error):
        self.error = error
        self.status = "finished" if error is None else "error"

    def done(self):
        return True

    def exception(self):
        return self.error

    def release(self):
        pass


class FakeClient:
    """Of a cluster whose workers all die at once, or do what ``outcome`` says."""

    status = "running"

    def __init__(self, outcome, threads=1):
        self._outcome = outcome
        self._threads = threads
        self.sent = []

    def nthreads(self):
        return {"worker": self._threads}

    def subscribe_topic(self, topic, handler):
        self._tell = handler

    def unsubscribe_topic(self, topic):
        pass

    def map(self, what, contents, key, pure, name, deadline):
        return [self._submit(what, content, one) for content, one in zip(contents, key, strict=True)]

    def _submit(self, what, content, key):
        images = pickle.loads(content)
        self.sent.append((what.__name__, [image.record.number for image in images]))
        result = self._outcome(what.__name__, images)
        if isinstance(result, Exception):
            return Future(result)
        self._tell((0.0, (key, pickle.dumps(result))))
        return Future(None)

    def cancel(self, futures, force):
        pass


def fake_images(count, rows=4096, cols=3328, dtype="uint16"):
    nbytes = rows * cols * np.dtype(dtype).itemsize
    records = (SimpleNamespace(nbytes=nbytes, time_units=1, number=n) for n in itertools.count())
    return [SimpleNamespace(record=record) for record in itertools.islice(records, count)]


def dispatched(images, outcome, size=4, threads=1):
    """Return the client, and what came of each image by its number."""
    client = FakeClient(outcome, threads)
    given_up = ("given up", b"", None)
    dispatcher = dispatch.Dispatcher(client, "run", size, lambda: False, lambda: False, lambda image: given_up)
    found = dispatcher.run((image, image.record.number) for image in images)
    return client, [(number, status) for part in found for number, (status, _, _) in part]


def good(what, images):
    return [("done", b"", 0.0) for _ in images]


@pytest.mark.parametrize(
    ("rows", "dtype", "sizes"),
    [
        (4096, "uint16", [8, 2]),
        (1 << 18, "uint16", [2] * 5),
        (1 << 19, "uint8", [2] * 5),
        (1 << 20, "uint16", [1] * 10),
    ],
)
def test_tasks_are_bounded_by_what_their_images_decode_to(rows, dtype, sizes):
    images = fake_images(10, rows, 4096, dtype)
    client, outcomes = dispatched(images, good, size=8)
    assert [len(numbers) for _, numbers in client.sent] == sizes
    assert outcomes == [(number, "done") for number in range(10)]


def test_images_whose_workers_always_die_are_given_up_in_the_end():
    from distributed import KilledWorker

    def dies(what, images):
        dead = any(image.record.number == 1 for image in images)
        return KilledWorker("task", None, 0) if dead else good(what, images)

    client, outcomes = dispatched(fake_images(6), dies, size=2)
    assert [number for number, status in outcomes if status == "given up"] == [1]
    assert len(outcomes) == 6
    assert client.sent.count(("screen_task", [0, 1])) == 1
    assert client.sent.count(("screen_alone", [0, 1])) == dispatch.TRIES_ALONE
    assert client.sent.count(("screen_alone", [1])) == dispatch.TRIES_ALONE


def test_a_bundle_without_room_for_a_second_is_tried_again():
    failures = iter([EngineError("no room"), EngineError("no room")])

    def cramped(what, images):
        from distributed import KilledWorker

        if what == "screen_task":
            return KilledWorker("task", None, 0)
        return next(failures, None) or good(what, images)

    _, outcomes = dispatched(fake_images(1), cramped)
    assert outcomes == [(0, "done")]
    with pytest.raises(EngineError, match="no room"):
        dispatched(fake_images(1), lambda what, images: EngineError("no room"))


def test_an_image_for_which_there_is_never_room_ends_no_run_that_goes_on():
    def cramped(what, images):
        from distributed import KilledWorker

        if any(image.record.number == 1 for image in images):
            return KilledWorker("task", None, 0) if what == "screen_task" else EngineError("no room")
        return good(what, images)

    _, outcomes = dispatched(fake_images(40), cramped)
    assert [number for number, status in outcomes if status == "given up"] == [1]
    assert len(outcomes) == 40


def test_workers_that_cannot_run_tasks_end_the_run():
    with pytest.raises(SchedulerError, match="ModuleNotFoundError"):
        dispatched(fake_images(1), lambda what, images: ModuleNotFoundError("mammofast"))
