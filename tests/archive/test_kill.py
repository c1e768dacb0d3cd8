"""A run may be killed at any instant, and two may run at once."""

import numpy as np
import pytest

from mammofast.archive import ingest, open_archive
from mammofast.archive.verify import verify
from tests.archive.killing import killed_runs, start_ingest


@pytest.fixture
def source(tmp_path, dicom):
    images = {}
    for number in range(30):
        pixels = dicom.pixels(900, 700, seed=number)
        images[dicom.write(tmp_path / "in" / f"{number:02}", pixels).SOPInstanceUID] = pixels
    dicom.write(tmp_path / "in" / "tomo", SOPClassUID=dicom.tomosynthesis)
    return tmp_path / "in", images


def check(archive, images, at_least=0):
    opened = open_archive(archive)
    found = list(opened.images())
    assert len(found) >= at_least
    for image in found:
        np.testing.assert_array_equal(image.read(), images[image.record.sop_uid])
        assert image.header.SOPInstanceUID == image.record.sop_uid
    assert not list(verify(opened))
    return len(found)


def test_killed_runs_leave_no_half_image_and_a_rerun_completes(tmp_path, source, elsewhere):
    folder, images = source
    archive = tmp_path / "a.zarr"
    done = 0
    interrupted = 0
    for was_at_work in killed_runs(folder, archive, elsewhere, times=12, longest=0.12, seed=4):
        interrupted += was_at_work
        if (archive / "zarr.json").exists():
            done = check(archive, images, at_least=done)
    assert interrupted >= 6
    report = ingest(folder, archive)
    assert report.added + report.known == 30
    assert check(archive, images) == 30
    assert not (archive / ".ingest").exists()
    assert sorted(path.name for path in archive.iterdir()) == ["images", "skipped", "zarr.json"]


def test_runs_at_the_same_time_add_each_image_once(tmp_path, source, elsewhere):
    folder, images = source
    archive = tmp_path / "a.zarr"
    processes = [start_ingest(folder, archive, elsewhere) for _ in range(3)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    added = [int(text.split()[0]) for text in said]
    assert sum(added) == 30
    assert check(archive, images) == 30
    assert len(list(open_archive(archive).skipped())) == 1
    assert not (archive / ".ingest").exists()
