"""Runs that share a results folder at the same time, and a run whose client is gone."""

from distributed import Client, LocalCluster

from mammofast import open_archive, open_results
from mammofast.screening import Results, screen
from mammofast.screening.entry import Entry, ImageInfo, Run
from mammofast.screening.job import Job
from mammofast.screening.study_log import StudyLog
from tests.screening.programs import program
from tests.screening.runs import snapshot, wait_until

PROGRAM = """
    import sys
    sys.path.insert(0, {here!r})
    import fake_screeners
    from mammofast.screening import Results, screen
    won, put_all = [], Results.put_all

    def counting(self, contents, run):
        taken = put_all(self, contents, run)
        won.extend(name.partition("-")[0] for name in contents if name not in taken)
        return taken

    Results.put_all = counting

    if __name__ == "__main__":
        report = screen({archive!r}, {results!r}, {bundle!r}, opener=fake_screeners.misbehaving, **{options!r})
        print(report.done, *won)
"""


def test_of_two_runs_at_once_one_writes_each_image(archive, private_bundle, bundle, tmp_path):
    results = tmp_path / "results"
    (private_bundle / "gate").touch()
    filled = archive, results, private_bundle
    options = {"workers": 1, "images_per_task": 1}
    with (
        program(tmp_path / "one.py", PROGRAM, *filled, options=options) as one,
        program(tmp_path / "two.py", PROGRAM, *filled, options=options) as two,
    ):
        # Both have begun the same image before either may end it.
        begun = private_bundle / "started"
        wait_until(lambda: any(len(set(path.read_text().split())) == 2 for path in begun.glob("*")))
        (private_bundle / "gate").unlink()
        said = [process.communicate(timeout=240)[0].split() for process in (one, two)]
    assert [words[0] for words in said] == ["6", "6"]
    written = [uid for words in said for uid in words[1:]]
    assert len(written) == len(set(written)) == 6
    screen(archive, tmp_path / "undisturbed", bundle, workers=1)
    assert snapshot(results) == snapshot(tmp_path / "undisturbed")
    assert open_results(results).images()["status"].to_pylist() == ["done"] * 6


def test_nothing_is_looked_up_where_nothing_was_on_record_until_somebody_else_writes(
    archive, bundle, undisturbed, tmp_path, monkeypatch
):
    asked, statuses = [], Results.statuses

    def counting(self, names, run):
        asked.extend(names)
        return statuses(self, names, run)

    monkeypatch.setattr(Results, "statuses", counting)
    assert screen(archive, tmp_path / "alone", bundle, workers=1).already == 0
    assert asked == []
    assert screen(archive, tmp_path / "alone", bundle, workers=1).already == 6
    assert sorted(asked) == sorted(undisturbed)
    asked.clear()

    opened, run = open_archive(archive), open_results(tmp_path / "alone").runs()[0]
    ledger, run = Results.create_or_open(tmp_path / "two", opened), Run(run["bundle_id"], run["settings_id"])
    job = Job(opened, ledger, run, {}, False, ledger.start(run, {}), False, lambda n: None, StudyLog(list))
    pending = job.pending(None)
    (_, first), (image, second), (_, third) = (next(pending) for _ in range(3))
    other = Results.create_or_open(tmp_path / "two", opened)
    other.put_all({name: undisturbed[name] for name in undisturbed if name not in (first[2], third[2])}, run)
    assert [result[0] for _, result in job._put_all([(first, ("done", undisturbed[first[2]], None))])] == ["done"]
    assert asked == []
    # What the other one found counts, whatever this one did.
    reason = Entry(ImageInfo.of(image.record), run, "failed", "hung: 1 s").to_bytes()
    ((_, counted),) = job._put_all([(second, ("failed", reason, 2.0))])
    assert counted == ("done", undisturbed[second[2]], 2.0)
    left = [name for _, name in pending]
    assert 0 < len(asked) < 6
    assert len(left) + len(asked) == 3
    assert job.report.already == len(asked)


def test_a_killed_client_leaves_nothing_open_on_a_cluster(archive, private_bundle, tmp_path, fakes):
    """Its networks would stay in every worker's memory, night after night."""
    (private_bundle / "gate").touch()
    filled = archive, tmp_path / "results", private_bundle
    with (
        LocalCluster(
            n_workers=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
            local_directory=str(tmp_path / "scratch"),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def left():
            plugins = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.plugins))
            return sum(client.run(fakes.open_screeners).values()), sum("guest" in name for name in plugins)

        with program(tmp_path / "p.py", PROGRAM, *filled, options={"scheduler": cluster.scheduler_address}) as process:
            wait_until(lambda: list(private_bundle.glob("started/*")) or process.poll() is not None)
            assert left() == (1, 1)
            process.kill()
        (private_bundle / "gate").unlink()
        wait_until(lambda: left() == (0, 0))
