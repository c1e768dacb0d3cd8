"""Series come in parts, twice, and while processes are killed: volumes are whole, and in the end the same."""

import random
import shutil
from functools import partial

import numpy as np
import pytest

from mammofast.archive import ingest, open_archive
from mammofast.archive.ingest import Ingest
from mammofast.archive.sources import SourceFile
from mammofast.archive.verify import verify
from mammofast.archive.volumes import members
from tests.archive.killing import killed_runs, start_ingest
from tests.archive.volumes.series import Series, save, uid


def contents(archive):
    return {volume.record.content_sha256 for volume in open_archive(archive).volumes()}


def snapshot(folder):
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


@pytest.fixture
def whole(tmp_path):
    """A series, its files, and the content of the volume that they are."""
    series = Series.draw(phases=3, slices=4)
    series.write(tmp_path / "all")
    ingest(tmp_path / "all", tmp_path / "whole.zarr")
    return series, sorted((tmp_path / "all").iterdir()), contents(tmp_path / "whole.zarr")


@pytest.mark.parametrize("seed", range(3))
def test_parts_in_any_order_make_the_same_volume(tmp_path, whole, seed):
    _series, files, expected = whole
    rng = random.Random(seed)
    rng.shuffle(files)
    archive, cuts = tmp_path / "a.zarr", sorted(rng.sample(range(1, 12), 3))
    for start, stop in zip([0, *cuts], [*cuts, 12], strict=True):
        report = ingest(files[start:stop], archive)
        if stop < 12:
            assert not contents(archive)
            assert report.files == stop - start
            assert report.added == 0
            assert len(list(open_archive(archive).skipped())) == 1
    assert contents(archive) == expected
    assert report.volumes == 1
    assert not list(open_archive(archive).skipped())
    assert not list(archive.glob("waiting/*"))
    assert not list(verify(open_archive(archive)))


def test_running_again_changes_nothing(tmp_path, whole):
    _, files, _ = whole
    archive = tmp_path / "a.zarr"
    ingest(files[:5], archive)
    before = snapshot(archive / "waiting")
    report = ingest(files[:5], archive)
    assert (report.skipped + report.failed, report.known) == (5, 0)
    assert snapshot(archive / "waiting") == before
    ingest(files, archive)
    before = snapshot(archive / "volumes")
    assert ingest(files, archive).known == 12
    Series.draw(phases=3, slices=4).write(tmp_path / "copies")
    assert ingest([tmp_path / "all", tmp_path / "copies"], archive).known == 24
    assert snapshot(archive / "volumes") == before


def test_a_later_phase_makes_the_volume_anew(tmp_path):
    series = Series.draw(phases=3)

    def unannounced(phase, index, ds):
        del ds.NumberOfTemporalPositions

    series.write(tmp_path / "in", unannounced)
    early = [path for path in (tmp_path / "in").iterdir() if not path.name.startswith("2")]
    late = [path for path in (tmp_path / "in").iterdir() if path.name.startswith("2")]
    archive = tmp_path / "a.zarr"
    ingest(early, archive)
    (first,) = open_archive(archive).volumes()
    assert first.phases == 2
    # A part of a phase takes nothing from what is whole, and is not passed over.
    assert ingest(late[:2], archive).failed == 2
    assert contents(archive) == {first.record.content_sha256}
    (row,) = open_archive(archive).skipped()
    assert row.reason.startswith("missing-slices: phase 3 of 3 has 2 of 4 slices")
    assert ingest(late[2:], archive).volumes == 1
    (second,) = open_archive(archive).volumes()
    np.testing.assert_array_equal(second.read(1), series.values[1])
    np.testing.assert_array_equal(second.read(2), series.values[2])
    assert second.record.replaces == ((first.record.sop_uid, first.record.content_sha256),)
    assert not list(open_archive(archive).skipped())
    assert ingest(tmp_path / "in", archive).known == 12
    ingest(tmp_path / "in", tmp_path / "at-once.zarr")
    assert contents(archive) == contents(tmp_path / "at-once.zarr")
    headers = [header.SOPInstanceUID for header in second.headers()]
    assert headers == [each.sop_uid for each in second.objects.objects]
    assert not list(verify(open_archive(archive)))


def test_another_slice_under_the_same_uid_is_refused_and_a_copy_is_known(tmp_path, whole):
    series, files, expected = whole
    archive = tmp_path / "a.zarr"
    ingest(files, archive)
    _, _, ds = next(series.classic())
    ds.ImageComments = "sent again"
    save(ds, tmp_path / "again" / "copy.dcm")
    assert ingest(tmp_path / "again", archive).known == 1
    ds.PixelData = bytes(len(ds.PixelData))
    save(ds, tmp_path / "other" / "other.dcm")
    assert ingest(tmp_path / "other", archive).skipped == 1
    (row,) = open_archive(archive).skipped()
    assert row.reason.startswith("conflicting-uid")
    assert row.sop_uid == uid(1, 9, 0, 0)
    assert contents(archive) == expected


def several_series(folder, starts, study=1, seed=0):
    """Write a series of its own for each of ``starts``: its phases' seconds of acquisition."""
    for number, seconds in enumerate(starts, start=1):
        series = Series.draw(phases=len(seconds), study=study, seed=seed + number)
        for phase, index, ds in series.classic():
            ds.SOPInstanceUID, ds.SeriesInstanceUID = uid(study, 8, number, phase, index), uid(study, 5, number)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.AcquisitionTime = f"0900{seconds[phase]:02}"
            del ds.NumberOfTemporalPositions
            save(ds, folder / str(number) / f"{phase}-{index}.dcm")


def test_a_series_that_comes_later_takes_no_volume_apart(tmp_path):
    several_series(tmp_path / "in", [(0, 10), (20, 30), (10,)])
    archive = tmp_path / "a.zarr"
    ingest([tmp_path / "in" / "1", tmp_path / "in" / "2"], archive)
    (volume,) = open_archive(archive).volumes()
    assert volume.phases == 4
    # Acquired while the first one was: by themselves, the first two would now be a volume each.
    assert ingest(tmp_path / "in" / "3", archive).volumes == 0
    assert contents(archive) == {volume.record.content_sha256}
    assert not list(verify(open_archive(archive)))
    (row,) = open_archive(archive).skipped()
    assert row.series_uid == uid(1, 5, 3)
    assert ingest([tmp_path / "in" / "1", tmp_path / "in" / "2"], archive).known == 16


@pytest.mark.parametrize("name", ["zarr.json", "frames"])
def test_a_damaged_volume_is_not_said_to_be_added_again(tmp_path, whole, name):
    _, files, expected = whole
    archive = tmp_path / "a.zarr"
    ingest(files, archive)
    (volume,) = open_archive(archive).volumes()
    path = volume.folder / name
    path = path if path.is_file() else path / "c" / "0"
    path.write_bytes(path.read_bytes()[:-9])
    for _ in range(2):
        report = ingest(files, archive)
        assert (report.failed, report.added, report.volumes) == (12, 0, 0)
        reasons = [row.reason for row in open_archive(archive).skipped()]
        assert "read: the archive's volume of the same content is damaged" in reasons
    shutil.rmtree(volume.folder)
    assert ingest(files, archive).volumes == 1
    assert contents(archive) == expected
    assert not list(open_archive(archive).skipped())


def test_the_same_content_under_other_uids_is_not_said_to_be_added(tmp_path, whole):
    series, files, expected = whole
    archive = tmp_path / "a.zarr"
    ingest(files, archive)
    for phase, index, ds in series.classic():
        ds.SOPInstanceUID, ds.SeriesInstanceUID = uid(1, 99, phase, index), uid(1, 6)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        save(ds, tmp_path / "copies" / f"{phase}-{index}.dcm")
    for _ in range(2):
        report = ingest(tmp_path / "copies", archive)
        assert (report.skipped, report.added, report.volumes) == (12, 0, 0)
    (row,) = open_archive(archive).skipped()
    assert (row.series_uid, row.reason.partition(":")[0]) == (uid(1, 6), "conflicting-uid")
    assert contents(archive) == expected


def test_a_file_whose_waiting_copy_was_damaged_is_not_said_to_be_added(tmp_path, whole):
    _, files, expected = whole
    archive = tmp_path / "a.zarr"
    ingest(files[:5], archive)
    damaged = next((archive / "waiting").rglob("*.dcm"))
    damaged_bytes = damaged.read_bytes()[:-9]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    kept = set(files)

    class Received:
        def files(self, archive, opened):
            for path in sorted(kept):
                settled = lambda final, path=path: kept.discard(path) if final else None  # noqa: E731
                yield SourceFile(path.name, path.stat().st_size, partial(path.open, "rb"), settled=settled)

    with Ingest(archive) as run:
        report = run.add(Received())
        assert (report.added, report.failed) == (0, 12)
        reasons = [row.reason for row in open_archive(archive).skipped()]
        assert sum(reason.startswith("read: the archive's copy was damaged") for reason in reasons) == 1
        assert [path.read_bytes()[:-9] for path in kept] == [damaged_bytes]
        assert run.add(Received()).volumes == 1
    assert contents(archive) == expected
    assert not kept
    assert not list(open_archive(archive).skipped())


def test_one_by_one_in_one_run_each_is_decoded_once_and_damage_is_seen(tmp_path, whole, monkeypatch):
    _, files, expected = whole
    random.Random(4).shuffle(files)
    archive, decoded, check = tmp_path / "a.zarr", [], members.check

    def counted(dataset, source_sha256):
        decoded.append(source_sha256)
        return check(dataset, source_sha256)

    monkeypatch.setattr(members, "check", counted)
    with Ingest(archive) as run:
        for path in files[:11]:
            run.add(path)
        assert len(decoded) == len(set(decoded)) == 11
        damaged = next((archive / "waiting").rglob(f"{decoded[3]}.dcm"))
        damaged.write_bytes(damaged.read_bytes()[:-9] + bytes(9))
        assert run.add(files[11]).volumes == 0
        assert not damaged.exists()
        assert run.add(files[3]).volumes == 1
    assert contents(archive) == expected
    assert not list(open_archive(archive).skipped())


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_waiting_file_may_be_put_together_between_being_looked_at_and_settled(tmp_path, whole, is_damaged):
    _, files, _ = whole
    archive = tmp_path / "a.zarr"
    ingest(files[:5], archive)
    waiting = sorted((archive / "waiting").rglob("*.dcm"))
    if is_damaged:
        waiting[0].write_bytes(waiting[0].read_bytes()[:-9])
    told = []
    with Ingest(archive) as run:
        gathering = run._run._gathering
        assert gathering.waits(waiting[0].stem)
        run.add(files[5:])  # the rest of the series
        if is_damaged:
            assert not contents(archive)
        gathering.add_waiting(waiting[0].stem, lambda *fate: told.append(fate))
        gathering.put_together()
    ((status, words),) = told
    assert (status, words is None) == (("failed", False) if is_damaged else ("known", True))


def test_what_waits_gets_its_row_after_a_kill_whatever_else_its_study_is_on_record_for(tmp_path, whole):
    _, files, _ = whole
    archive = tmp_path / "a.zarr"
    ingest(files[:5], archive)
    (row,) = (archive / "skipped").glob("?" * 64)
    row.rename(row.with_name("0" * 64))  # another file's of the study, which could not be read
    with Ingest(archive) as run:
        run.add([])
    assert {record.key for record in open_archive(archive).skipped()} == {row.name, "0" * 64}


def test_killed_runs_leave_no_half_volume_and_a_rerun_completes(tmp_path, elsewhere):
    studies = [Series.draw(phases=2, slices=12, rows=64, cols=64, seed=study, study=study) for study in range(1, 4)]
    for number, series in enumerate(studies):
        series.write(tmp_path / "in" / str(number))
    archive, interrupted = tmp_path / "a.zarr", 0
    for was_at_work in killed_runs(tmp_path / "in", archive, elsewhere, times=8, longest=0.25, seed=2):
        interrupted += was_at_work
        if (archive / "zarr.json").exists():
            assert not list(verify(open_archive(archive)))
    assert interrupted >= 3
    ingest(tmp_path / "in", archive)
    found = {volume.record.study_uid: volume for volume in open_archive(archive).volumes()}
    for series in studies:
        np.testing.assert_array_equal(found[uid(series.study)].read(1), series.values[1])
    assert len(found) == 3
    assert not (archive / ".ingest").exists()


def test_runs_at_the_same_time_make_each_volume_once(tmp_path, elsewhere):
    for study in range(1, 4):
        Series.draw(phases=2, slices=6, study=study).write(tmp_path / "in" / str(study))
    halves = [tmp_path / "half1", tmp_path / "half2"]
    for number, path in enumerate(sorted((tmp_path / "in").rglob("*.dcm"))):
        target = halves[number % 2] / path.relative_to(tmp_path / "in")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    archive = tmp_path / "a.zarr"
    processes = [start_ingest(source, archive, elsewhere) for source in (*halves, tmp_path / "in")]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    ingest(tmp_path / "in", archive)
    assert sorted(volume.record.study_uid for volume in open_archive(archive).volumes()) == [uid(1), uid(2), uid(3)]
    assert not list(open_archive(archive).skipped())
    assert not list(verify(open_archive(archive)))


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_damaged_objects_are_no_crash_and_name_nobody(tmp_path, kind):
    """Bytes changed anywhere: each file is added, known, skipped or failed, and nothing said of it names a patient."""
    series, rng = Series.draw(phases=2, slices=2, rows=6, cols=6), random.Random(kind)
    whole = tmp_path / "whole.dcm"
    save(series.enhanced() if kind == "enhanced" else next(series.classic())[2], whole)
    content = whole.read_bytes()
    (tmp_path / "in").mkdir()
    for number in range(120):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 8])):
            place = rng.randrange(140, len(changed))
            if rng.random() < 0.2:
                del changed[place : place + rng.randrange(1, 30)]
            else:
                changed[place] = rng.randrange(256)
        (tmp_path / "in" / f"{number}.dcm").write_bytes(changed)
    report = ingest(tmp_path / "in", tmp_path / "a.zarr")
    assert report.files == 120
    reasons = [record.reason for record in open_archive(tmp_path / "a.zarr").skipped()]
    assert not [reason for reason in reasons if "SECRET" in reason or reason.startswith("internal")]
    assert not list(verify(open_archive(tmp_path / "a.zarr")))
