"""Volumes under the scheduler and in the ledger: one more kind of unit."""

import shutil

import numpy as np
import pytest

from mammofast import open_archive, open_bundle, open_results
from mammofast.archive import ArchiveVolume, ingest, layout
from mammofast.screening import screen
from mammofast.screening.job import Job
from tests.archive.volumes.series import Series, save, uid
from tests.methods import volume_bundle
from tests.screening.conftest import bright_pixels, write_dicom
from tests.screening.runs import snapshot


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    nan = {"trunk": volume_bundle.trunk(nan_above=0.99)}
    return volume_bundle.write_bundle(folder / "sound"), volume_bundle.write_bundle(folder / "nan", nan)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three volumes, one of them enhanced, a series with a gap, and a mammogram of the first one's study."""
    folder = tmp_path_factory.mktemp("archive")
    series = [Series(volume_bundle.phases(seed, masses=1 + seed % 2), study=seed + 1) for seed in range(4)]
    series[0].write(folder / "in" / "0")
    save(series[1].enhanced(), folder / "in" / "1" / "e.dcm")
    series[2].write(folder / "in" / "2")
    series[3].write(folder / "in" / "3", lambda phase, index, ds: (phase, index) != (1, 2))
    write_dicom(folder / "in" / "mammogram.dcm", bright_pixels(1)[0], uid(1), "1.2.3.4")
    ingest(folder / "in", folder / "archive.zarr")
    return folder / "archive.zarr"


def test_a_run_screens_volumes_and_says_what_it_did_not(archive, bundles, tmp_path):
    report = screen(archive, tmp_path / "r", bundles[0], workers=2)
    assert (report.done, report.skipped, report.failed, report.left_out) == (3, 1, 1, 1)
    results = open_results(tmp_path / "r")
    status = {(row["sop_uid"], row["status"]): row for row in results.images().to_pylist()}
    assert status["1.2.3.4", "skipped"]["reason"].startswith("not-dce")
    gap = status[uid(4, 9, 0, 0), "failed"]
    assert (gap["reason"].partition(":")[0], gap["study_uid"]) == ("missing-slices", uid(4))
    with open_bundle(bundles[0]) as screener:
        for volume in open_archive(archive).volumes():
            expected = screener.screen_volume(volume)
            row = status[volume.record.sop_uid, "done"]
            assert (row["rows"], row["cols"], row["n_findings"]) == (60, 80, len(expected.findings))
            np.testing.assert_array_equal(results.mask(volume.record.sop_uid), expected.mask)
            np.testing.assert_array_equal(results.region(volume.record.sop_uid), expected.region)
            assert results.spacing(volume.record.sop_uid) == volume.spacing
    findings = [row for row in results.findings().to_pylist() if row["sop_uid"] == uid(1, 9, 0, 0)]
    assert findings
    assert all(row["z_max"] > row["z_min"] >= 0 and row["area_px"] is None for row in findings)
    # Nothing is left to do, and other workers and tasks give the same bytes.
    before = snapshot(tmp_path / "r")
    assert screen(archive, tmp_path / "r", bundles[0], workers=1).already == 4
    assert snapshot(tmp_path / "r") == before
    screen(archive, tmp_path / "again", bundles[0], workers=1, images_per_task=1)
    assert snapshot(tmp_path / "again") == before


def test_a_bundle_may_ask_of_volumes_what_they_do_not_state(archive):
    volumes = list(open_archive(archive).volumes())
    for accepts, refused in (
        ({"laterality": ["L"]}, "laterality: the image's laterality is not stated, the bundle reads L"),
        ({"modifiers": []}, "view-modifier: the image's view modifier is not stated, the bundle reads none"),
        ({}, None),
    ):
        job = Job(None, None, None, accepts, True, True, False, None, None)
        assert {job._unaccepted(volume) for volume in volumes} == {refused}


def test_classic_and_enhanced_of_one_content_have_the_same_findings(bundles, tmp_path):
    series = Series(volume_bundle.phases(), rescale=(-2.0, 3000.0))
    series.write(tmp_path / "classic")
    save(series.enhanced(), tmp_path / "enhanced" / "e.dcm")
    found = []
    with open_bundle(bundles[0]) as screener:
        for name in ("classic", "enhanced"):
            ingest(tmp_path / name, tmp_path / f"{name}.zarr")
            found += [screener.screen_volume(volume) for volume in open_archive(tmp_path / f"{name}.zarr").volumes()]
    assert len(found) == 2
    assert found[0] == found[1]


def test_nan_fails_its_volume_alone(archive, bundles, tmp_path):
    report = screen(archive, tmp_path / "r", bundles[1], workers=1)
    assert report.failed == 4
    reasons = {row["reason"].partition(":")[0] for row in open_results(tmp_path / "r").images().to_pylist()}
    assert reasons == {"not-finite", "missing-slices", "not-dce"}


def test_a_bundle_for_mammograms_leaves_volumes_out(archive, bundle, tmp_path):
    report = screen(archive, tmp_path / "r", bundle, workers=1)
    assert (report.done, report.skipped) == (1, 3)
    row = next(r for r in open_results(tmp_path / "r").images().to_pylist() if r["sop_uid"] == uid(1, 9, 0, 0))
    assert row["reason"] == "not-a-mammogram: a breast DCE-MRI volume, the bundle reads mammograms"


def test_a_volume_that_grew_is_screened_again_and_the_old_result_is_gone(bundles, tmp_path):
    def unannounced(phase, index, ds):
        del ds.NumberOfTemporalPositions

    Series(volume_bundle.phases(count=3)).write(tmp_path / "in", unannounced)
    early = [path for path in (tmp_path / "in").iterdir() if not path.name.startswith("2")]
    ingest(early, tmp_path / "a.zarr")
    screen(tmp_path / "a.zarr", tmp_path / "r", bundles[0], workers=1)
    (before,) = open_results(tmp_path / "r").images().to_pylist()
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    report = screen(tmp_path / "a.zarr", tmp_path / "r", bundles[0], workers=1)
    assert (report.done, report.already) == (1, 0)
    (after,) = open_results(tmp_path / "r").images().to_pylist()
    assert before["sop_uid"] == after["sop_uid"]
    assert before["content_sha256"] != after["content_sha256"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_volume_is_listed_whatever_its_study_gains_meanwhile(archive, tmp_path, monkeypatch, moment):
    """A study of volumes gets its first image, or one of images its first volume."""
    path = shutil.copytree(archive, tmp_path / "archive.zarr")
    expected = {(volume.record.study_uid, volume.record.sop_uid) for volume in open_archive(path).volumes()}
    hidden = path / "volumes" / uid(1)
    if moment == "after":
        hidden = hidden.rename(tmp_path / "hidden")
    listed = layout.unsorted_folders

    def unsorted_folders(folder):
        yield from listed(folder)
        if folder.name == "images" and moment == "before":
            (folder / uid(3)).mkdir()
        elif folder.name == "images":
            hidden.rename(path / "volumes" / uid(1))

    monkeypatch.setattr(layout, "unsorted_folders", unsorted_folders)
    units = [unit for unit in open_archive(path).all_units() if isinstance(unit, ArchiveVolume)]
    assert sorted((unit.record.study_uid, unit.record.sop_uid) for unit in units) == sorted(expected)
