"""A run may be killed at any instant, and two may run at once."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mammofast.archive import ingest, open_archive
from mammofast.archive.verify import verify

INGEST = "import sys; from mammofast.archive import ingest; print(ingest(sys.argv[1], sys.argv[2]))"


def start(source, archive, elsewhere):
    return subprocess.Popen(
        [sys.executable, "-c", INGEST, str(source), str(archive)],
        **elsewhere,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


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
    rng = random.Random(4)
    done = 0
    interrupted = 0
    for _ in range(12):
        process = start(folder, archive, elsewhere)
        while not list(archive.glob(".ingest/*.lock")) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.12))
        interrupted += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
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
    processes = [start(folder, archive, elsewhere) for _ in range(3)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    added = [int(text.split()[0]) for text in said]
    assert sum(added) == 30
    assert check(archive, images) == 30
    assert len(list(open_archive(archive).skipped())) == 1
    assert not (archive / ".ingest").exists()
