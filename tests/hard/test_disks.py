"""A disk that is full or cannot be written: a clear end, and a rerun that completes."""

import shutil
import subprocess
import time

import pytest

from mammofast import open_results
from tests.hard.shell import command, contents, mammofast, one_line, step

BIGGER = "mount -o remount,size=200m,rw $disk\n"


def ended(out, name):
    return int((out / f"{name}.status").read_text()), (out / name).read_text()


# The first cannot hold the results' own header, the second not all images.
@pytest.mark.parametrize("size", ["4k", "40k"])
def test_the_disk_is_full_while_screening(on_a_disk, archive, bundle, undisturbed, size):
    screen = ("screen", archive, "$disk/results", "--bundle", bundle, "--workers", 1)
    out = on_a_disk(
        size, step("full", *screen) + BIGGER + step("again", *screen) + "cp -r $disk/results/images $out/images\n"
    )
    status, said = ended(out, "full")
    assert status == 1, said
    assert "No space left on device" in one_line(said)
    status, said = ended(out, "again")
    assert status == 0, said
    assert contents(out / "images") == undisturbed


def read_only_twice(on_a_disk, command, half, made):
    """Run a command on a read-only disk that is empty, and where half is done; return what it made once it could."""
    read_only = "mount -o remount,ro $disk\n"
    out = on_a_disk(
        "100m",
        "mkdir $disk/results\n"
        + (read_only + step("empty", *command) + BIGGER + half)
        + (read_only + step("half", *command) + BIGGER + step("again", *command))
        + f"cp -r {made} $out/made\n",
    )
    for name in ("empty", "half"):
        status, said = ended(out, name)
        assert status == 1, said
        assert "Read-only file system" in one_line(said)
    assert ended(out, "again")[0] == 0, ended(out, "again")[1]
    return contents(out / "made")


def test_the_results_cannot_be_written(on_a_disk, archive, bundle, undisturbed):
    screen = ("screen", archive, "$disk/results", "--bundle", bundle, "--workers", 1)
    half = step("first", *screen) + "rm $disk/results/images/*/1.2.2.*\n"
    assert read_only_twice(on_a_disk, screen, half, "$disk/results/images") == undisturbed


def test_the_archive_cannot_be_written(on_a_disk, source, undisturbed_archive):
    ingest = ("ingest", source, "$disk/a.zarr")
    half = step("first", "ingest", source / "0.dcm", "$disk/a.zarr")
    assert read_only_twice(on_a_disk, ingest, half, "$disk/a.zarr") == undisturbed_archive


def test_an_archive_that_cannot_be_written_is_screened(on_a_disk, archive, bundle, undisturbed):
    out = on_a_disk(
        "100m",
        f"cp -r {archive} $disk/archive; mount -o remount,ro $disk\n"
        + step("screen", "screen", "$disk/archive", "$out/results", "--bundle", bundle, "--workers", 1),
    )
    assert ended(out, "screen")[0] == 0, ended(out, "screen")[1]
    assert contents(out / "results" / "images") == undisturbed


@pytest.fixture(scope="session")
def source(tmp_path_factory, dicom):
    """Six images that take some 40 kB each, and before and between them ten files that are none."""
    folder = tmp_path_factory.mktemp("source")
    for number in range(6):
        dicom.write(folder / f"{number}.dcm", dicom.pixels(400, 300, seed=number))
    for number in range(10):
        (folder / f"{number - 5}.txt").write_text(f"nothing {number}")
    return folder


@pytest.fixture(scope="session")
def undisturbed_archive(tmp_path_factory, source):
    path = tmp_path_factory.mktemp("undisturbed") / "a.zarr"
    assert mammofast("ingest", source, path).returncode == 0
    return contents(path)


# Full before there is an archive; at the first files, which are none; then at an image.
@pytest.mark.parametrize("size", ["4k", "16k", "200k"])
def test_the_disk_is_full_while_ingesting(on_a_disk, source, undisturbed_archive, size):
    ingest = ("ingest", source, "$disk/a.zarr", "--workers", 2)
    out = on_a_disk(
        size,
        step("full", *ingest) + BIGGER + step("again", *ingest) + step("verify", "archive", "verify", "$disk/a.zarr")
        + "cp -r $disk/a.zarr $out/a.zarr\n",
    )  # fmt: skip
    status, said = ended(out, "full")
    assert status == 1, said
    assert "cannot be written" in one_line(said)
    assert ended(out, "again")[0] == 0, ended(out, "again")[1]
    assert ended(out, "verify")[0] == 0, ended(out, "verify")[1]
    assert contents(out / "a.zarr") == undisturbed_archive


@pytest.mark.parametrize("gone", ["all", "some"])
def test_the_archive_is_gone_under_a_run(tmp_path, images, bundle, gone):
    """Whether it is moved away, or its images are: nothing is passed over in silence, and a rerun completes."""
    archive = images.make_archive(tmp_path / "made", 40)
    whole, results = tmp_path / "whole", tmp_path / "results"
    assert mammofast("screen", archive, whole, "--bundle", bundle, "--workers", 1).returncode == 0
    away = archive if gone == "all" else archive / "images"
    screen = command("screen", archive, results, "--bundle", bundle, "--workers", 1)
    with subprocess.Popen(screen, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not list(results.glob("images/*/*.json")) and process.poll() is None:
            time.sleep(0.001)
        away.rename(tmp_path / "away")
        said, _ = process.communicate(timeout=120)
    rows = open_results(results).images().to_pylist()
    failed = [row["reason"] for row in rows if row["status"] == "failed"]
    assert len(rows) - len(failed) < 40, "the archive went too late to disturb anything"
    assert all(reason.startswith("read: ") for reason in failed)
    if process.returncode == 1:
        assert "archive" in one_line(said)
    else:
        assert (process.returncode, len(rows)) == (3, 40), said
        assert "Traceback" not in said
    (tmp_path / "away").rename(away)
    again = mammofast("screen", archive, results, "--bundle", bundle, "--workers", 1, "--retry-failed")
    assert again.returncode == 0, again.stderr
    assert contents(results / "images") == contents(whole / "images")


def test_what_failed_while_its_disk_was_away_is_screened_when_asked_again(tmp_path, archive, bundle, undisturbed):
    copy, results = shutil.copytree(archive, tmp_path / "archive.zarr"), tmp_path / "results"
    screen = ("screen", copy, results, "--bundle", bundle, "--workers", 1)
    shard = sorted(copy.glob("images/*/*/0/c/0/0"))[5]
    shard.rename(tmp_path / "away")
    for _ in range(2):
        assert mammofast(*screen).returncode == 3
        (failed,) = (row for row in open_results(results).images().to_pylist() if row["status"] == "failed")
        assert (failed["sop_uid"], failed["reason"].partition(":")[0]) == (shard.parents[3].name, "read")
        if (tmp_path / "away").exists():
            (tmp_path / "away").rename(shard)
    assert mammofast(*screen, "--retry-failed").returncode == 0
    assert contents(results / "images") == undisturbed
