import json

import pytest
from click.testing import CliRunner

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
