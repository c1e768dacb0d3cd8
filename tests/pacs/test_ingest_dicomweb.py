"""From a real PACS into an archive."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.archive import ingest, open_archive
from mammofast.cli import main
from mammofast.errors import PacsError
from mammofast.pacs.dicomweb import DicomWeb
from tests.pacs.orthanc import PASSWORD, USER


def fetch(url, archive, **options):
    with DicomWeb(url, waits=(), **options) as source:
        report = ingest(source, archive)
        return report, source


def sop_uids(archive):
    return sorted(image.record.sop_uid for image in open_archive(archive).images())


def study(dicom, orthanc, images=2, **attributes):
    """Store a study; return its data sets."""
    uid = dicom.uid()
    stored = []
    for number in range(images):
        ds = dicom.dataset(dicom.pixels(seed=number), StudyInstanceUID=uid, **attributes)
        orthanc.add(dicom.bytes(ds))
        stored.append(ds)
    return stored


def test_what_is_new_is_fetched_as_it_is_and_once(tmp_path, dicom, orthanc):
    archive = tmp_path / "a.zarr"
    first = study(dicom, orthanc) + study(dicom, orthanc)
    orthanc.add(dicom.bytes(dicom.dataset(Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")))
    report, source = fetch(orthanc.web, archive)
    assert str(report) == "4 added, 0 known, 0 skipped, 0 failed"
    assert (source.studies, source.new_studies) == (2, 2)
    for ds in first:
        image = open_archive(archive).image(ds.StudyInstanceUID, ds.SOPInstanceUID)
        np.testing.assert_array_equal(image.read(), ds.pixel_array)
        assert image.header.PatientName == "SECRET^NAME"
    # Again: nothing; and one study and one late instance of an old one later, those.
    assert fetch(orthanc.web, archive)[0].files == 0
    late = dicom.dataset(dicom.pixels(seed=9), StudyInstanceUID=first[0].StudyInstanceUID)
    orthanc.add(dicom.bytes(late))
    third = study(dicom, orthanc, 1)
    assert str(fetch(orthanc.web, archive)[0]) == "2 added, 0 known, 0 skipped, 0 failed"
    assert sop_uids(archive) == sorted(ds.SOPInstanceUID for ds in [*first, late, *third])


@pytest.mark.parametrize("name", ["implicit", "JPEG lossless SV1", "JPEG-LS", "JPEG 2000 lossless", "JPEG 2000", "RLE"])
def test_nothing_is_transcoded(tmp_path, dicom, orthanc, name):
    syntax = {**dicom.lossless, **dicom.lossy}[name]
    stored = study(dicom, orthanc, 1, syntax=syntax)[0]
    fetch(orthanc.web, tmp_path / "a.zarr")
    image = open_archive(tmp_path / "a.zarr").image(stored.StudyInstanceUID, stored.SOPInstanceUID)
    assert image.record.transfer_syntax_uid == syntax
    ingest(_written(dicom, stored, tmp_path), tmp_path / "b.zarr")
    beside = open_archive(tmp_path / "b.zarr").image(stored.StudyInstanceUID, stored.SOPInstanceUID)
    assert image.record.content_sha256 == beside.record.content_sha256


def _written(dicom, ds, tmp_path):
    path = tmp_path / "beside.dcm"
    path.write_bytes(dicom.bytes(ds))
    return path


def test_filters_and_single_studies(tmp_path, dicom, orthanc):
    old = study(dicom, orthanc, StudyDate="20200101")
    new = study(dicom, orthanc, StudyDate="20261120")
    fetch(orthanc.web + "?StudyDate=20261101-", tmp_path / "a.zarr")
    assert sop_uids(tmp_path / "a.zarr") == sorted(ds.SOPInstanceUID for ds in new)
    fetch(f"{orthanc.web}/studies/{old[0].StudyInstanceUID}", tmp_path / "b.zarr")
    assert sop_uids(tmp_path / "b.zarr") == sorted(ds.SOPInstanceUID for ds in old)
    # The same server, whatever was searched for: what it had is known.
    report, source = fetch(orthanc.web, tmp_path / "b.zarr")
    assert report.added == 2
    assert source.studies == 2


def test_tomosynthesis_is_recorded_and_never_fetched(tmp_path, dicom, orthanc):
    study(dicom, orthanc, 1, SOPClassUID=dicom.tomosynthesis)
    report, _ = fetch(orthanc.web, tmp_path / "a.zarr")
    assert str(report) == "0 added, 0 known, 1 skipped, 0 failed"
    record = next(open_archive(tmp_path / "a.zarr").skipped())
    assert record.reason == "tomosynthesis: a tomosynthesis object"
    assert record.sop_uid is not None
    assert record.source_sha256 is None


def test_password_and_tls(tmp_path, dicom, secure_orthanc, tls, monkeypatch):
    secure_orthanc.clear()
    stored = study(dicom, secure_orthanc, 1)
    with pytest.raises(PacsError, match="certificate is not trusted"):
        fetch(secure_orthanc.web, tmp_path / "a.zarr")
    with pytest.raises(PacsError, match="HTTP status 401: set MAMMOFAST_PACS_USER"):
        fetch(secure_orthanc.web, tmp_path / "a.zarr", ca=tls.ca)
    monkeypatch.setenv("MAMMOFAST_PACS_USER", USER)
    monkeypatch.setenv("MAMMOFAST_PACS_PASSWORD", PASSWORD)
    assert fetch(secure_orthanc.web, tmp_path / "a.zarr", ca=tls.ca)[0].added == 1
    monkeypatch.delenv("MAMMOFAST_PACS_USER")
    with pytest.raises(PacsError, match="one is set: set both"):
        fetch(secure_orthanc.web, tmp_path / "b.zarr", ca=tls.ca)
    monkeypatch.delenv("MAMMOFAST_PACS_PASSWORD")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    # A CA of the environment's does not take the place of the one that was given.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.certificate))
    assert fetch(secure_orthanc.web, tmp_path / "b.zarr", ca=tls.ca)[0].added == 1
    assert sop_uids(tmp_path / "b.zarr") == [stored[0].SOPInstanceUID]


def test_the_command(tmp_path, dicom, orthanc):
    study(dicom, orthanc, 3)
    archive = str(tmp_path / "a.zarr")
    done = CliRunner().invoke(main, ["ingest", orthanc.web, archive])
    assert done.exit_code == 0, done.output
    assert done.stdout == "3 files: 3 added, 0 known, 0 skipped, 0 failed\n"
    done = CliRunner().invoke(main, ["ingest", orthanc.web, archive, "--json", "--verbose"])
    assert set(json.loads(done.stdout).values()) == {0}
    assert "1 study in the PACS, 1 looked into\n" in done.stderr


def test_misuse_of_the_command_repeats_no_password(tmp_path):
    done = CliRunner().invoke(main, ["ingest", "https://me:secret@pacs/dicom-web", str(tmp_path / "a.zarr")])
    assert done.exit_code == 2
    assert "MAMMOFAST_PACS_USER" in done.output
    assert "secret" not in done.output
    assert not (tmp_path / "a.zarr").exists()


def test_a_killed_fetch_goes_on(tmp_path, dicom, orthanc, elsewhere):
    stored = [ds for number in range(6) for ds in study(dicom, orthanc, 4)]
    archive = tmp_path / "a.zarr"
    command = [sys.executable, "-m", "mammofast", "ingest", orthanc.web, str(archive), "--workers", "1", "--quiet"]
    process = subprocess.Popen(command, **elsewhere)
    while process.poll() is None and len(list(archive.glob("images/*/*"))) < 6:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    had = len(sop_uids(archive))
    assert 0 < had < 24  # some of the six folders were not finished
    report, _ = fetch(orthanc.web, archive)
    assert report.added == report.files == 24 - had
    assert sop_uids(archive) == sorted(ds.SOPInstanceUID for ds in stored)
    assert fetch(orthanc.web, archive)[0].files == 0
