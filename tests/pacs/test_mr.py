"""Breast DCE-MRI from a PACS: fetched and received slice by slice, in any order, until there is the whole volume."""

import random
import signal
from datetime import timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.archive import ingest, open_archive
from mammofast.archive.verify import verify
from mammofast.cli import main
from mammofast.pacs.dicomweb import DicomWeb, watermark
from tests.archive.volumes.series import ENHANCED, MR, OBLIQUE, Series, save
from tests.pacs.serving import associate, storescu


def volumes(archive):
    return {volume.record.content_sha256: volume for volume in open_archive(archive).volumes()}


def fetch(orthanc, archive, *modalities, path=""):
    with DicomWeb(orthanc.web + path, waits=(), modalities=modalities or ("MR",)) as source:
        return ingest(source, archive), source


def write(folder, series, enhanced=False):
    """Write a series; return its files."""
    if enhanced:
        save(series.enhanced(), folder / "enhanced.dcm")
    else:
        series.write(folder)
    return sorted(folder.iterdir())


def add(orthanc, paths):
    for path in paths:
        orthanc.add(path.read_bytes())


@pytest.mark.parametrize("enhanced", [False, True])
def test_series_are_fetched_only_when_mr_is_asked_for(tmp_path, dicom, orthanc, enhanced, monkeypatch):
    monkeypatch.setattr(watermark, "_UNSETTLED", timedelta(0))  # what is on record as done is not looked into
    series = Series.draw(orientation=OBLIQUE, study=1)
    add(orthanc, write(tmp_path / "in", series, enhanced))
    mammogram = dicom.dataset(dicom.pixels(), StudyInstanceUID=next(series.classic())[2].StudyInstanceUID)
    orthanc.add(dicom.bytes(mammogram))
    orthanc.add(dicom.bytes(dicom.dataset(dicom.pixels(seed=1))))
    archive = tmp_path / "a.zarr"
    assert fetch(orthanc, archive, "MG")[0].files == 2
    assert not volumes(archive)
    # That a study's mammograms are known says nothing of its MR.
    report, source = fetch(orthanc, archive, "MG", "MR")
    assert (report.added, report.files, report.volumes) == (1 if enhanced else 12, 1 if enhanced else 12, 1)
    assert (source.studies, source.new_studies) == (2, 1)
    (volume,) = volumes(archive).values()
    for phase in range(3):
        np.testing.assert_array_equal(volume.read(phase), series.values[phase])
    assert fetch(orthanc, archive, "MG", "MR")[0].files == 0
    _, source = fetch(orthanc, tmp_path / "mr.zarr")
    assert source.studies == 1
    assert set(volumes(tmp_path / "mr.zarr")) == set(volumes(archive))
    assert not list(open_archive(tmp_path / "mr.zarr").images())


def test_slices_that_come_night_after_night_make_the_whole_volume(tmp_path, orthanc):
    files = write(tmp_path / "in", Series.draw(phases=3, slices=5))
    ingest(files, tmp_path / "whole.zarr")
    random.Random(1).shuffle(files)
    archive = tmp_path / "a.zarr"
    for start, stop in ((0, 4), (4, 11), (11, 15)):
        add(orthanc, files[start:stop])
        report, _ = fetch(orthanc, archive)
        assert report.files == stop - start, "what waits in the archive is not fetched again"
        assert fetch(orthanc, archive)[0].files == 0
        if stop < 15:
            assert report.failed == report.files
            assert not volumes(archive)
    assert report.volumes == 1
    assert set(volumes(archive)) == set(volumes(tmp_path / "whole.zarr"))
    assert not list(open_archive(archive).skipped())
    assert not list(verify(open_archive(archive)))


def test_a_waiting_slice_that_the_disk_damaged_is_fetched_again(tmp_path, orthanc):
    files = write(tmp_path / "in", Series.draw())
    archive = tmp_path / "a.zarr"
    add(orthanc, files[:6])
    fetch(orthanc, archive)
    damaged = next((archive / "waiting").rglob("*.dcm"))
    damaged.write_bytes(damaged.read_bytes()[:200])
    add(orthanc, files[6:])
    for _ in range(2):  # first what is damaged is found out, and goes
        fetch(orthanc, archive)
    ingest(files, tmp_path / "whole.zarr")
    assert set(volumes(archive)) == set(volumes(tmp_path / "whole.zarr"))


def test_what_is_of_another_part_of_the_body_or_no_image_is_on_record_and_not_fetched(tmp_path, orthanc, monkeypatch):
    knee = Series.draw(study=1, attributes={"BodyPartExamined": "KNEE"})
    breast = Series.draw(study=2, seed=2, attributes={"BodyPartExamined": "BREAST"})
    unsaid = Series.draw(study=3)
    for number, series in enumerate((knee, breast, unsaid)):
        add(orthanc, write(tmp_path / str(number), series))
    _, _, spectroscopy = next(Series.draw(study=4).classic())
    spectroscopy.SOPClassUID = spectroscopy.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    save(spectroscopy, tmp_path / "spectroscopy.dcm")
    add(orthanc, [tmp_path / "spectroscopy.dcm"])
    archive = tmp_path / "a.zarr"
    report, _ = fetch(orthanc, archive)
    assert (report.added, report.skipped) == (24, 2)
    assert {volume.record.study_uid for volume in volumes(archive).values()} == {
        next(series.classic())[2].StudyInstanceUID for series in (breast, unsaid)
    }
    rows = {row.reason.partition(":")[0]: row for row in open_archive(archive).skipped()}
    assert set(rows) == {"not-a-mammogram", "not-dce"}
    assert {row.source_sha256 for row in rows.values()} == {None}, "nothing was fetched"
    _, _, one = next(knee.classic())
    row = rows["not-dce"]
    assert (row.status, row.study_uid, row.series_uid) == ("skipped", one.StudyInstanceUID, one.SeriesInstanceUID)
    assert row.sop_uid is None, "one row for all of the series"
    assert "Body Part Examined" in row.reason
    monkeypatch.setattr(watermark, "_UNSETTLED", timedelta(days=7))  # looked into again
    assert fetch(orthanc, archive)[0].files == 0
    assert len(list(open_archive(archive).skipped())) == 2


def test_a_series_whose_body_part_is_put_right_is_fetched_after_all(tmp_path, pacs):
    """And what was said of it is forgotten."""
    archive, body_parts = tmp_path / "a.zarr", ("KNEE", "BREAST")
    for number, body_part in enumerate(body_parts):
        pacs.objects.clear()
        for _, _, dataset in Series.draw(study=1, attributes={"BodyPartExamined": body_part}).classic():
            pacs.add(dataset)
        with DicomWeb(pacs.url, waits=(), modalities=["MR"]) as source:
            report = ingest(source, archive)
        assert (report.volumes, report.skipped) == ((0, 1), (1, 0))[number]
    assert not list(open_archive(archive).skipped())


def test_the_command_chooses(tmp_path, orthanc):
    add(orthanc, write(tmp_path / "in", Series.draw(attributes={"StudyDescription": "MR BREAST BILATERAL"})))
    knee = Series.draw(study=2, attributes={"StudyDescription": "MR KNEE", "BodyPartExamined": "KNEE"})
    add(orthanc, write(tmp_path / "knee", knee))

    def run(*arguments):
        return CliRunner().invoke(main, ["ingest", *map(str, arguments)])

    archive = tmp_path / "a.zarr"
    done = run("--modality", "MR", f"{orthanc.web}?StudyDescription=*BREAST*", archive, "--verbose")
    assert (done.exit_code, done.stdout) == (0, "12 files: 12 added, 0 known, 0 skipped, 0 failed; volumes: 1\n")
    assert "1 study in the PACS, 1 looked into\n" in done.stderr
    assert "not-dce" not in done.stderr
    done = run("--modality", "MR", orthanc.web, tmp_path / "b.zarr", "--verbose")
    _, _, one = next(knee.classic())
    assert (
        f"skipped: {one.SeriesInstanceUID}: not-dce: Body Part Examined is another one than the breast" in done.stderr
    )
    assert run(orthanc.web, tmp_path / "c.zarr").stdout.startswith("0 files")
    done = run("--modality", "MR", tmp_path / "in", tmp_path / "c.zarr")
    assert done.exit_code == 2
    assert "--modality: got no URL" in done.stderr
    done = run(f"{orthanc.web}?ModalitiesInStudy=MR", tmp_path / "c.zarr")
    assert done.exit_code == 2
    assert "the URL holds ModalitiesInStudy" in done.stderr


@pytest.mark.parametrize("modalities", [("MR",), ("MG", "MR"), ("MR", "MG")])
def test_a_mammogram_whose_modality_is_cut_off_is_no_mr(tmp_path, dicom, pacs, modalities):
    pacs.add(dicom.dataset(dicom.pixels(), Modality="M"))
    with DicomWeb(pacs.url, waits=(), modalities=modalities) as source:
        report = ingest(source, tmp_path / "a.zarr")
    assert (report.added, report.files) == ((1, 1) if "MG" in modalities else (0, 0))
    assert not list(open_archive(tmp_path / "a.zarr").skipped())


def test_another_modality_is_refused():
    with pytest.raises(ValueError, match='got CT, expected "MG" or "MR" or both'):
        DicomWeb("http://localhost/web", modalities=["CT"])


def test_mr_is_received_only_where_it_is_asked_for(dicom, start):
    for options, accepted in (
        ((), {dicom.for_presentation}),
        (("--modality", "MR"), {MR, ENHANCED}),
        (("--modality", "MG", "--modality", "MR"), {dicom.for_presentation, MR, ENHANCED}),
    ):
        served = start(*options)
        for sop_class in (dicom.for_presentation, MR, ENHANCED):
            association = associate(served.port, sop_class)
            assert association.is_established is (sop_class in accepted)
            association.release()
        assert served.end()[0] == 0


def test_slices_received_in_any_order_by_a_server_that_is_killed_make_the_whole_volume(tmp_path, start):
    files = write(tmp_path / "in", Series.draw(phases=3, slices=5))
    ingest(files, tmp_path / "whole.zarr")
    expected = set(volumes(tmp_path / "whole.zarr"))
    random.Random(2).shuffle(files)
    for part in (files[:4], files[4:9], files[9:10]):
        served = start("--modality", "MR")
        storescu(served.port, *part)
        served.process.send_signal(signal.SIGKILL)  # with or without time to put them away
        served.process.wait(30)
    served = start("--modality", "MR")
    served.wait_for(0)
    assert not (tmp_path / "a.zarr" / "volumes").exists()
    storescu(served.port, *files[10:], *files[:2])
    served.wait_for(0)
    status, said, complained = served.end()
    assert (status, complained) == (0, "")
    assert sum(line.get("volumes", 0) for line in said) == 1
    assert set(volumes(tmp_path / "a.zarr")) == expected
    assert not list(open_archive(tmp_path / "a.zarr").skipped())
    assert not list(verify(open_archive(tmp_path / "a.zarr")))
