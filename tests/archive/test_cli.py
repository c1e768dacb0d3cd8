import json
import os
import platform
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mammofast.archive import open_archive
from mammofast.cli import main


@pytest.fixture
def source(tmp_path, dicom):
    folder = tmp_path / "in"
    dicom.write(folder / "a", dicom.pixels(seed=1))
    dicom.write(folder / "b", dicom.pixels(seed=2), ViewPosition="CC", ImageLaterality="R")
    dicom.write(folder / "tomo", SOPClassUID=dicom.tomosynthesis)
    return folder


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "SECRET" not in result.output
    return result


def test_ingest_counts_and_exit_codes(tmp_path, source, dicom):
    result = run("ingest", source, tmp_path / "a.zarr")
    assert result.exit_code == 0
    assert "3 files: 2 added, 0 known, 1 skipped, 0 failed" in result.stdout
    assert "Ingesting files: 3 of 3" in result.stderr
    result = run("ingest", source, tmp_path / "a.zarr", "--json", "--quiet")
    assert json.loads(result.stdout) == {"added": 0, "known": 2, "skipped": 1, "failed": 0}
    assert result.stderr == ""
    assert run("ingest", source, tmp_path / "a.zarr", "--quiet").output == ""
    dicom.write(source / "broken", PixelData=None)
    result = run("ingest", source, tmp_path / "a.zarr", "--verbose")
    assert result.exit_code == 3
    assert "no-pixels" in result.stderr
    assert "tomosynthesis" in result.stderr
    assert run("ingest", source).exit_code == 2
    assert run("ingest", tmp_path / "nothing", tmp_path / "a.zarr").exit_code == 2
    assert run("ingest", source, source).exit_code == 1


def test_a_source_without_a_file_is_no_success(tmp_path, source):
    (tmp_path / "unmounted" / "deep").mkdir(parents=True)
    result = run("ingest", source, tmp_path / "unmounted", tmp_path / "a.zarr", "--quiet")
    assert result.exit_code == 1
    assert "no file in source 2," in result.stderr
    assert "mounted" in result.stderr
    assert len(list(open_archive(tmp_path / "a.zarr").images())) == 2
    # What is known already, or lies inside another source, is a success; the archive's own files are nobody's.
    assert run("ingest", source, source / "a", tmp_path / "a.zarr").exit_code == 0
    result = run("ingest", tmp_path / "unmounted", tmp_path / "a.zarr", tmp_path / "b.zarr", "--json")
    assert result.exit_code == 1
    assert "source 1 and 2," in result.stderr
    assert json.loads(result.stdout) == {"added": 0, "known": 0, "skipped": 0, "failed": 0}


def test_what_is_no_source_is_refused_with_what_to_do(tmp_path, source):
    result = run("ingest", source)
    assert result.exit_code == 2
    assert "then the ARCHIVE" in result.stderr
    os.mkfifo(tmp_path / "pipe")
    result = run("ingest", tmp_path / "pipe", tmp_path / "a.zarr")
    assert result.exit_code == 2
    assert "source 1 is a pipe" in result.stderr
    assert not (tmp_path / "a.zarr").exists()


def test_one_file_is_no_files(tmp_path, source):
    assert "1 file: 1 added," in run("ingest", source / "a", tmp_path / "a.zarr").stdout


@pytest.mark.parametrize("place", ["mammofast.archive.writer.Writer.stage", "mammofast.archive.sources.find_files"])
def test_an_interrupt_says_that_nothing_is_lost(tmp_path, source, monkeypatch, place):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    result = run("ingest", source, tmp_path / "a.zarr")
    assert result.exit_code == 1
    assert "what was added is safe" in result.stderr
    assert "Aborted" not in result.stderr


# Blocks as large as an image's, freed while small ones between them stay: the heap they would lie in keeps its size.
ALLOCATOR = """
import sys
def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
if sys.argv[1] == "flat":
    from mammofast.cli.allocator import keep_memory_flat
    keep_memory_flat()
kept = []
for size in (20, 18, 18):
    block = b"x" * (size << 20)
del block
before = held()
blocks = []
for _ in range(20):
    blocks.append(b"x" * (9 << 20))
    kept.append(b"x" * 100_000)
blocks.clear()
print((held() - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told anything")
def test_freed_images_leave_no_holes(elsewhere):
    def grown(how):
        done = subprocess.run([sys.executable, "-c", ALLOCATOR, how], **elsewhere, capture_output=True, check=True)
        return int(done.stdout)

    assert grown("flat") < 10 < 100 < grown("usual")


def test_info_and_list(tmp_path, source):
    run("ingest", source, tmp_path / "a.zarr", "--quiet")
    info = json.loads(run("archive", "info", tmp_path / "a.zarr", "--json").stdout)
    assert (info["studies"], info["images"], info["skipped"]) == (2, 2, {"tomosynthesis": 1})
    assert info["views"] == {"L MLO": 1, "R CC": 1}
    assert "L MLO (1), R CC (1)" in run("archive", "info", tmp_path / "a.zarr").stdout
    images = json.loads(run("archive", "list", tmp_path / "a.zarr", "--json").stdout)
    assert {(image["laterality"], image["view"]) for image in images} == {("L", "MLO"), ("R", "CC")}
    assert len(run("archive", "list", tmp_path / "a.zarr").stdout.splitlines()) == 2
    (skipped,) = json.loads(run("archive", "list", tmp_path / "a.zarr", "--skipped", "--json").stdout)
    assert skipped["reason"].startswith("tomosynthesis: ")
    assert "tomosynthesis" in run("archive", "list", tmp_path / "a.zarr", "--skipped").stdout
    assert run("archive", "info", tmp_path / "in").exit_code == 1


def test_verify(tmp_path, source):
    run("ingest", source, tmp_path / "a.zarr", "--quiet")
    result = run("archive", "verify", tmp_path / "a.zarr")
    assert result.exit_code == 0
    assert "2 images verified, 0 problems" in result.stdout
    shard = next((tmp_path / "a.zarr" / "images").glob("*/*/0/c/0/0"))
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    shard.write_bytes(damaged)
    result = run("archive", "verify", tmp_path / "a.zarr", "--json", "--quiet")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert found["images"] == 2
    assert [problem["sop_uid"] for problem in found["problems"]] == [shard.parts[-5]]


def test_help_has_examples():
    for command in (["ingest"], ["archive"], ["archive", "info"], ["archive", "list"], ["archive", "verify"]):
        assert "Example: mammofast" in run(*command, "--help").stdout
