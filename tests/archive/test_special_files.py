"""Pipes and sockets among what is read: nobody waits for them. A test that does is ended by its time."""

import os
import socket

import pytest

from mammofast.archive import ingest, open_archive
from mammofast.archive.regular import open_regular, read_regular
from mammofast.archive.sources import find_files
from mammofast.archive.verify import verify
from mammofast.errors import ArchiveError, BrokenImage, Reason

pytestmark = pytest.mark.timeout(60)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.fixture(params=[os.mkfifo, make_socket])
def make_special(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    return lambda path: request.param(os.path.relpath(path))


def test_what_is_no_file_is_not_opened(tmp_path, make_special):
    (tmp_path / "file").write_bytes(b"content")
    assert read_regular(tmp_path / "file") == b"content"
    make_special(tmp_path / "special")
    for path in (tmp_path / "special", "/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="pipe, socket or device"):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "missing")


@pytest.mark.parametrize("name", ["zarr.json", "results.json", "DICOMDIR", "dicomdir", "image.dcm"])
def test_ingest_passes_over_them_whatever_they_are_called(tmp_path, dicom, make_special, name):
    dicom.write(tmp_path / "in" / "1")
    make_special(tmp_path / "in" / name)
    report = ingest(tmp_path / "in", tmp_path / "a.zarr")
    assert (report.added, report.files) == (1, 1)


def test_a_file_that_became_one_since_its_folder_was_listed(tmp_path, dicom, make_special):
    dicom.write(tmp_path / "in" / "1")
    (found,) = find_files([tmp_path / "in"])
    (tmp_path / "in" / "1").unlink()
    make_special(tmp_path / "in" / "1")
    with pytest.raises(BrokenImage) as caught:
        found.open()
    assert caught.value.reason == Reason.READ
    assert str(tmp_path) not in str(caught.value)


def replace(path, make_special):
    path.unlink()
    make_special(path)


@pytest.mark.parametrize(
    "what", ["zarr.json", "0/zarr.json", "0/c/0/0", "1/zarr.json", "header/zarr.json", "header/c/0"]
)
def test_in_an_image_of_an_archive_they_are_damage(tmp_path, dicom, make_special, what):
    for number in range(2):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(700, 600, seed=number))
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    archive = open_archive(tmp_path / "a.zarr")
    damaged, _ = archive.images()
    replace(damaged.folder / what, make_special)
    assert [problem.sop_uid for problem in verify(archive)] == [damaged.record.sop_uid]
    # Another file of the same image makes ingest look at the one that is there.
    header = damaged.header if what.split("/")[0] in ("0", "1") else None
    dicom.write(tmp_path / "in" / "2", dicom.pixels(700, 600, seed=2))
    report = ingest(tmp_path / "in", tmp_path / "a.zarr")
    assert (report.added, report.files) == (1, 3)
    assert header is None or header.SOPInstanceUID == damaged.record.sop_uid


def test_in_the_archive_s_other_records_they_are_damage_too(tmp_path, dicom, make_special):
    dicom.write(tmp_path / "in" / "1")
    dicom.write(tmp_path / "in" / "tomo", SOPClassUID=dicom.tomosynthesis)
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    (skipped,) = (tmp_path / "a.zarr" / "skipped").glob("*/zarr.json")
    replace(skipped, make_special)
    archive = open_archive(tmp_path / "a.zarr")
    assert [problem.sop_uid for problem in verify(archive)] == [None]
    assert ingest(tmp_path / "in", tmp_path / "a.zarr").known == 1
    replace(tmp_path / "a.zarr" / "zarr.json", make_special)
    for look in (open_archive, lambda path: ingest(tmp_path / "in", path)):
        with pytest.raises(ArchiveError):
            look(tmp_path / "a.zarr")
