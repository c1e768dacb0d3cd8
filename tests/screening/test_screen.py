"""Whole runs over real archives, with real worker processes that really die."""

import contextlib
import gc
import json
import os
import shutil
import signal
import tempfile
import threading
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from mammofast import open_archive, open_bundle, open_results
from mammofast.archive import ingest
from mammofast.bundles import load_bundle
from mammofast.errors import ArchiveError, BundleError, EngineError, ResultsError, SchedulerError
from mammofast.records import combine_masks
from mammofast.screening import run as run_module
from mammofast.screening import screen
from tests.screening.programs import dask_program, program
from tests.screening.runs import snapshot, started, wait_until

MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"


def snapshot_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tree(folder):
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in Path(folder).rglob("*")}


@pytest.fixture
def no_cluster(monkeypatch):
    """Let nothing start workers."""

    def start(*arguments):
        raise AssertionError("workers were started")

    monkeypatch.setattr(run_module, "local_client", start)
    monkeypatch.setattr(run_module, "remote_client", start)


def test_every_image_is_done_and_equals_what_embedding_finds(archive, bundle, tmp_path):
    seen = []
    report = screen(archive, tmp_path / "results", bundle, workers=2, progress=seen.append)
    assert (report.done, report.skipped, report.failed, report.already, report.stopped) == (6, 0, 0, 0, None)
    assert sum(seen) == 6
    results = open_results(tmp_path / "results")
    rows = results.findings().to_pylist()
    assert results.images()["status"].to_pylist() == ["done"] * 6
    with open_bundle(bundle) as screener:
        for image in open_archive(archive).images():
            expected = screener.screen(image.read())
            mine = [row for row in rows if row["sop_uid"] == image.record.sop_uid]
            assert [(r["x_min"], r["y_min"], r["x_max"], r["y_max"]) for r in mine] == [
                f.box for f in expected.findings
            ]
            assert [(r["score"], r["confidence"]) for r in mine] == [(f.score, f.confidence) for f in expected.findings]
            mask = results.mask(image.record.sop_uid)
            assert np.array_equal(mask, combine_masks(expected.findings, image.shape))
            assert {(r["bundle_id"], r["settings_id"]) for r in mine} <= {(screener.bundle_id, screener.settings_id)}
    assert len(rows) == 6
    assert rows[0]["area_mm2"] == pytest.approx(rows[0]["area_px"] * 0.02)
    assert b"For tests." in results.findings().schema.metadata[b"notice"]


@pytest.mark.parametrize(("workers", "size"), [(2, 1), (1, 6), (2, 4)])
def test_the_bytes_do_not_depend_on_workers_or_batches(archive, bundle, undisturbed, tmp_path, workers, size):
    screen(archive, tmp_path / "results", bundle, workers=workers, images_per_task=size)
    assert len(undisturbed) == 6
    assert snapshot(tmp_path / "results") == undisturbed


def test_nothing_of_the_patient_is_in_the_results(archive, bundle, tmp_path):
    screen(archive, tmp_path / "results", bundle, workers=1)
    for path in (tmp_path / "results").rglob("*"):
        content = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        assert b"Doe" not in content
        assert b"SECRET" not in content


def test_a_second_run_over_finished_work_does_nothing(archive, bundle, tmp_path, monkeypatch):
    screen(archive, tmp_path / "results", bundle, workers=1)
    before = tree(tmp_path / "results")
    monkeypatch.setattr(run_module, "local_client", None)
    seen = []
    report = screen(archive, tmp_path / "results", bundle, workers=1, progress=seen.append)
    assert (report.done, report.already) == (6, 6)
    assert sum(seen) == 6
    assert tree(tmp_path / "results") == before


def test_a_rerun_does_what_is_missing_or_damaged_and_no_more(archive, private_bundle, undisturbed, tmp_path, fakes):
    results = tmp_path / "results"
    screen(archive, results, private_bundle, workers=1)
    files = sorted(results.glob("images/*/*"))
    files[0].unlink()
    files[3].write_bytes(files[3].read_bytes()[:-30])
    report = screen(archive, results, private_bundle, workers=1, opener=fakes.misbehaving)
    assert (report.done, report.already) == (6, 4)
    assert sorted(started(private_bundle)) == sorted(files[i].name.split("-")[0] for i in (0, 3))
    assert snapshot(results) == undisturbed


def test_another_bundle_screens_beside_the_old_results(archive, bundle, make_bundle, undisturbed, tmp_path):
    results = tmp_path / "results"
    screen(archive, results, bundle, workers=1)
    other = make_bundle(tmp_path / "other", confidence_threshold=0.9999)
    report = screen(archive, results, other, workers=1)
    assert (report.done, report.already) == (6, 0)
    assert len(list(results.glob("images/*/*"))) == 12
    (old,) = [p for p in results.glob("images/*") if snapshot_of(p) == undisturbed]
    assert old.name.startswith(load_bundle(bundle).id[:16])
    opened = open_results(results)
    assert opened.images().num_rows == 12
    assert len(set(opened.images()["bundle_id"].to_pylist())) == 2
    with pytest.raises(ResultsError, match="say which"):
        opened.mask("1.2.1.1.1")


def test_a_killed_worker_costs_no_image(archive, private_bundle, undisturbed, tmp_path, fakes):
    (private_bundle / "gate").touch()

    def kill():
        wait_until(lambda: len(started(private_bundle)) >= 2)
        pid = int(next(iter(started(private_bundle).values()))[0])
        os.kill(pid, signal.SIGKILL)
        (private_bundle / "gate").unlink()

    killer = threading.Thread(target=kill)
    killer.start()
    report = screen(
        archive, tmp_path / "results", private_bundle, workers=2, images_per_task=2, opener=fakes.misbehaving
    )
    killer.join()
    assert (report.done, report.failed) == (6, 0)
    assert any(len(pids) > 1 for pids in started(private_bundle).values())
    assert snapshot(tmp_path / "results") == undisturbed


def test_an_image_that_kills_its_worker_fails_alone(archive, private_bundle, undisturbed, tmp_path, fakes):
    (private_bundle / "poison").write_text("1.2.1.1.1 1.2.3.4.1")
    seen = []
    report = screen(
        archive,
        tmp_path / "results",
        private_bundle,
        workers=2,
        images_per_task=3,
        opener=fakes.misbehaving,
        progress=seen.append,
    )
    assert (report.done, report.failed) == (4, 2)
    assert sum(seen) == 6
    rows = {row["sop_uid"]: row for row in open_results(tmp_path / "results").images().to_pylist()}
    assert {uid for uid, row in rows.items() if row["status"] == "failed"} == {"1.2.1.1.1", "1.2.3.4.1"}
    assert rows["1.2.1.1.1"]["reason"] == "worker: ended a process of its own (SIGKILL)"
    left = snapshot(tmp_path / "results")
    assert all(
        left[name] == content for name, content in undisturbed.items() if rows[name.split("-")[0]]["reason"] is None
    )


def test_an_image_that_raises_fails_alone_and_says_nothing_it_should_not(archive, private_bundle, tmp_path, fakes):
    (private_bundle / "raise").write_text("1.2.2.2.1")
    report = screen(archive, tmp_path / "results", private_bundle, workers=1, opener=fakes.misbehaving)
    assert (report.done, report.failed) == (5, 1)
    (failed,) = [r for r in open_results(tmp_path / "results").images().to_pylist() if r["status"] == "failed"]
    assert (failed["sop_uid"], failed["reason"]) == ("1.2.2.2.1", "internal: RuntimeError")


def test_an_unreadable_image_fails_and_can_be_tried_again(new_archive, bundle, tmp_path, monkeypatch):
    archive = new_archive(2)
    (image,) = [image for image in open_archive(archive).images() if image.record.sop_uid == "1.2.1.1.1"]
    shards = [path for path in image.folder.rglob("*/c/*/*") if path.is_file()]
    saved = {shard: shard.read_bytes() for shard in shards}
    assert saved
    for shard in shards:
        shard.write_bytes(b"\x00" * 100)
    results = tmp_path / "results"
    report = screen(archive, results, bundle, workers=1)
    assert (report.done, report.failed) == (1, 1)
    (failed,) = [r for r in open_results(results).images().to_pylist() if r["status"] == "failed"]
    assert failed["reason"].startswith("read: ")
    assert failed["sop_uid"] == "1.2.1.1.1"
    for shard, content in saved.items():
        shard.write_bytes(content)
    assert screen(archive, results, bundle, workers=1).failed == 1
    report = screen(archive, results, bundle, workers=1, retry_failed=True)
    assert (report.done, report.failed, report.already) == (2, 0, 1)


def test_what_the_bundle_does_not_read_is_skipped_without_a_worker(new_archive, make_bundle, tmp_path, no_cluster):
    archive = new_archive(2, intent="FOR PROCESSING", sop_class=f"{MAMMOGRAPHY}.1")
    folder = make_bundle(tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["accepts"] = {"presentation_intent": ["FOR PRESENTATION"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    report = screen(archive, tmp_path / "results", folder)
    assert (report.done, report.skipped, report.failed) == (0, 2, 0)
    reasons = set(open_results(tmp_path / "results").images()["reason"].to_pylist())
    assert reasons == {
        "presentation-intent: the image's presentation intent is FOR PROCESSING, the bundle reads FOR PRESENTATION"
    }
    manifest["accepts"] = {"colour": ["green"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="colour"):
        screen(archive, tmp_path / "results", folder)


def test_files_that_never_became_images_have_rows(new_archive, bundle, tmp_path):
    archive = new_archive(1)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "note.dcm").write_bytes(b"not DICOM at all" * 20)
    ingest([tmp_path / "more"], archive)
    report = screen(archive, tmp_path / "results", bundle, workers=1)
    assert (report.done, report.skipped, report.failed, report.left_out) == (1, 1, 0, 1)
    rows = open_results(tmp_path / "results").images().to_pylist()
    (record,) = open_archive(archive).skipped()
    (row,) = [row for row in rows if row["sop_uid"] is None]
    assert (row["status"], row["reason"]) == (record.status, record.reason)
    assert row["content_sha256"] == record.source_sha256
    shutil.rmtree(next((archive / "skipped").glob("[!z]*")))
    assert screen(archive, tmp_path / "results", bundle, workers=1).left_out == 0
    assert open_results(tmp_path / "results").images().num_rows == 1


def test_what_cannot_run_says_so_before_workers_are_started(archive, private_bundle, tmp_path, no_cluster, new_archive):
    with pytest.raises(ArchiveError):
        screen(tmp_path / "nothing", tmp_path / "results", private_bundle)
    with pytest.raises(BundleError):
        screen(archive, tmp_path / "results", tmp_path / "nothing")
    with pytest.raises(EngineError, match="tpu"):
        screen(archive, tmp_path / "results", private_bundle, device="tpu")
    for words, arguments in {
        "until": {"until": "25:00"},
        "workers": {"workers": 0},
        "images_per_task": {"images_per_task": 0},
        "trace": {"trace": "s3://bucket/trace"},
    }.items():
        with pytest.raises(ValueError, match=words):
            screen(archive, tmp_path / "results", private_bundle, **arguments)
    with (private_bundle / "detector.onnx").open("ab") as file:
        file.write(b"changed")
    with pytest.raises(BundleError, match="detector"):
        screen(archive, tmp_path / "results", private_bundle)
    with pytest.raises(ResultsError, match="results of archive"):
        screen(new_archive(1), tmp_path / "results", private_bundle)


def test_until_ends_the_run_and_the_next_one_goes_on(archive, bundle, undisturbed, tmp_path, monkeypatch):
    results = tmp_path / "results"

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 1, 6, 30 if snapshot(results) else 29)

    monkeypatch.setattr(run_module, "datetime", Clock)
    monkeypatch.setattr(run_module, "next_time", lambda until: datetime(2026, 1, 1, 6, 30))
    report = screen(archive, results, bundle, workers=1, images_per_task=1, until="06:30")
    assert report.stopped == "time is up"
    assert 0 < report.done < 6
    assert len(snapshot(results)) == report.done
    monkeypatch.undo()
    report = screen(archive, results, bundle, workers=1)
    assert (report.stopped, report.done) == (None, 6)
    assert snapshot(results) == undisturbed


def test_a_run_that_was_done_when_its_time_was_up_was_not_stopped_by_it(archive, bundle, tmp_path, monkeypatch):
    results = tmp_path / "results"
    screen(archive, results, bundle, workers=1)
    # The last one that needs a worker; what follows it in the archive is on record.
    next(results.glob("images/*/*")).unlink()
    asked = []

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            asked.append(None)
            return datetime(2026, 1, 1, 6, 29 if len(asked) == 1 else 30)

    monkeypatch.setattr(run_module, "datetime", Clock)
    monkeypatch.setattr(run_module, "next_time", lambda until: datetime(2026, 1, 1, 6, 30))
    report = screen(archive, results, bundle, workers=1, images_per_task=1, until="06:30")
    assert len(asked) > 1
    assert (report.stopped, report.done, report.already) == (None, 6, 5)
    monkeypatch.undo()
    assert [run["stopped"] for run in open_results(results).runs()[0]["timings"]] == [None, None]


def test_the_next_time_a_clock_shows():
    now = datetime(2026, 3, 4, 22, 15, 30)
    assert run_module.next_time("06:30", now) == datetime(2026, 3, 5, 6, 30)
    assert run_module.next_time("22:16", now) == datetime(2026, 3, 4, 22, 16)
    assert run_module.next_time("22:15", now) == datetime(2026, 3, 5, 22, 15)
    assert run_module.next_time("22:15", now.replace(second=0)) == datetime(2026, 3, 5, 22, 15)
    assert run_module.next_time("00:00", now) - now < timedelta(hours=2)


# With this one waiting, a run cannot end by itself.
LAST = "1.2.3.5.1"

PROGRAM = """
    import signal
    import sys
    sys.path.insert(0, {here!r})
    import fake_screeners
    from mammofast.screening import screen

    if __name__ == "__main__":
        # Ignored where a shell runs the tests in its background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            opener = fake_screeners.misbehaving
            screen({archive!r}, {results!r}, {bundle!r}, workers=2, images_per_task=1, opener=opener)
        except KeyboardInterrupt as stop:
            print("interrupted:", stop.report)
            sys.exit(1)
"""


def alive(pid):
    """Whether a process still runs; one that ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(folder):
    return {int(pid) for found in started(folder).values() for pid in found}


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGINT, os.kill), (signal.SIGTERM, os.kill)],
    ids=["Ctrl-C in a terminal", "SIGINT", "SIGTERM"],
)
def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(archive, private_bundle, undisturbed, tmp_path, number, send):
    results = tmp_path / "results"
    (private_bundle / "gate").write_text(LAST)
    with program(tmp_path / "p.py", PROGRAM, archive, results, private_bundle) as process:
        wait_until(lambda: len(list(results.glob("images/*/[!.]*"))) >= 2 or process.poll() is not None)
        recorded = snapshot(results)
        send(process.pid, number)
        out, err = process.communicate(timeout=240)
        assert process.returncode == 1
        assert "interrupted: " in out
        assert err == ""
        wait_until(lambda: not any(alive(pid) for pid in pids(private_bundle)), 20)
    assert recorded.items() <= snapshot(results).items()
    (private_bundle / "gate").unlink()
    report = screen(archive, results, private_bundle, workers=1)
    assert report.done == 6
    assert report.already >= len(recorded)
    assert snapshot(results) == undisturbed


def test_a_killed_run_goes_on_where_it_was_and_leaves_no_workers(archive, private_bundle, undisturbed, tmp_path):
    results = tmp_path / "results"
    (private_bundle / "gate").write_text(LAST)
    with program(tmp_path / "p.py", PROGRAM, archive, results, private_bundle) as process:
        wait_until(lambda: len(list(results.glob("images/*/[!.]*"))) >= 1 or process.poll() is not None)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(alive(pid) for pid in pids(private_bundle)), 30)
    report = screen(archive, results, private_bundle, workers=1)
    assert report.done == 6
    assert snapshot(results) == undisturbed


def test_what_a_killed_run_left_in_the_temporary_folder_the_next_one_clears(archive, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch = tmp_path / "dask-scratch-space"
    (scratch / "worker-dead").mkdir(parents=True)
    (scratch / "worker-dead.dirlock").touch()
    screen(archive, tmp_path / "results", bundle, workers=1)
    assert {path.name for path in tmp_path.iterdir()} == {"results", "dask-scratch-space"}
    assert not [path for path in scratch.iterdir() if path.is_dir() or path.name.endswith(".dirlock")]


@pytest.fixture
def cluster(fakes, tmp_path):
    with LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
        local_directory=str(tmp_path / "scratch"),
    ) as cluster:
        yield cluster


def heartbeat(dask_worker):
    beats = dask_worker.periodic_callbacks["heartbeat"]
    return beats.callback.__name__, beats.callback_time <= 2000


def test_a_cluster_that_is_there_is_used_and_left_as_it_was(
    archive, private_bundle, undisturbed, tmp_path, fakes, cluster
):
    report = screen(
        archive,
        tmp_path / "results",
        private_bundle,
        scheduler=cluster.scheduler_address,
        images_per_task=1,
        opener=fakes.misbehaving,
    )
    assert report.done == 6
    assert snapshot(tmp_path / "results") == undisturbed
    with Client(cluster, set_as_default=False) as client:
        assert set(client.run(heartbeat).values()) == {("heartbeat", True)}
        assert client.submit(sum, [1, 2]).result() == 3
        assert [topic for topic in client.get_events() if topic.startswith("mammofast")] == []
        assert client.run(fakes.open_screeners) == dict.fromkeys(client.nthreads(), 0)
        assert pids(private_bundle) <= set(client.run(os.getpid).values())


def listening(pids):
    """(address, port) of every TCP port that these processes listen on, IPv4 and IPv6."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes.add(str(descriptor.readlink()))
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {tuple(line[1].split(":")) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes}


def test_nothing_is_open_to_the_network(archive, private_bundle, tmp_path, fakes):
    found = set()
    (private_bundle / "gate").touch()

    def look():
        wait_until(lambda: started(private_bundle))
        found.update(listening({os.getpid(), *pids(private_bundle)}))
        (private_bundle / "gate").unlink()

    looker = threading.Thread(target=look)
    looker.start()
    screen(archive, tmp_path / "results", private_bundle, workers=1, opener=fakes.misbehaving)
    looker.join()
    assert {address for address, _ in found} == {"0100007F"}  # 127.0.0.1


def test_workers_with_another_bundle_are_refused(archive, private_bundle, tmp_path, fakes):
    with pytest.raises(EngineError, match="same bundle"):
        screen(archive, tmp_path / "results", private_bundle, workers=1, opener=fakes.other_bundle)
    assert snapshot(tmp_path / "results") == {}


def test_no_scheduler_is_said(archive, bundle, tmp_path):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(SchedulerError, match=r"no Dask scheduler answers us at tcp://127\.0\.0\.1:9"),
    ):
        screen(archive, tmp_path / "results", bundle, scheduler="tcp://127.0.0.1:9")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # Dask's own sockets, when it tries to connect again
def test_a_lost_scheduler_ends_the_run_and_the_next_one_goes_on(archive, private_bundle, undisturbed, tmp_path, fakes):
    where = tmp_path / "scheduler.json"
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--dashboard-address",
        "127.0.0.1:0",
        "--scheduler-file",
        str(where),
    ]
    with (
        contextlib.ExitStack() as stack,
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
    ):
        start = partial(dask_program, stack, tmp_path)
        scheduler = start("dask_scheduler", *options)
        wait_until(lambda: where.exists() and where.read_text().strip().endswith("}"))
        start("dask_worker", "--scheduler-file", str(where), "--nthreads", "1", "--no-nanny", "--no-dashboard")
        (private_bundle / "gate").touch()

        def kill():
            wait_until(lambda: started(private_bundle))
            scheduler.kill()
            (private_bundle / "gate").unlink()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(SchedulerError, match="run again to resume"):
            screen(
                archive,
                tmp_path / "results",
                private_bundle,
                scheduler=json.loads(where.read_text())["address"],
                images_per_task=1,
                opener=fakes.misbehaving,
            )
        killer.join()
    assert len(snapshot(tmp_path / "results")) < 6
    assert screen(archive, tmp_path / "results", private_bundle, workers=1).done == 6
    assert snapshot(tmp_path / "results") == undisturbed
    gc.collect()
