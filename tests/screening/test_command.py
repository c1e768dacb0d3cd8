"""``mammofast screen`` as a shell sees it."""

import json
from datetime import datetime

import pytest
from click.testing import CliRunner

from mammofast import open_archive, open_results
from mammofast.cli import main
from mammofast.screening import run as run_module
from mammofast.screening import stopping


def mammofast(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_run_and_its_rerun(new_archive, bundle, tmp_path):
    archive = new_archive(2)
    done = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "2 done, 0 skipped, 0 failed\n" in done.output
    assert "Screening images: 2 of 2" in done.output
    again = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--json", "--quiet")
    report = json.loads(again.output)
    assert (report["done"], report["already"], report["stopped"]) == (2, 2, None)
    quiet = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_until_says_which_day_it_means(archive, bundle, tmp_path, monkeypatch):
    class Now(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 3, 28, 22, 30, 5, tzinfo=tz)

    monkeypatch.setattr(stopping, "datetime", Now)
    monkeypatch.setattr(run_module, "screen", lambda *arguments, **options: run_module.ScreenReport())
    for until, words in (("22:31", "22:31\n"), ("22:30", "22:30 tomorrow\n"), ("6:30", "06:30 tomorrow\n")):
        done = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--until", until)
        assert done.stderr == f"Screening until {words}"
    quiet = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--until", "22:30", "--quiet")
    assert quiet.stderr == ""


def test_failed_images_end_with_3_and_their_reasons(new_archive, bundle, tmp_path):
    archive = new_archive(2)
    for image in open_archive(archive).images():
        if image.record.sop_uid == "1.2.1.1.1":
            for shard in image.folder.rglob("*/c/*/*"):
                shard.write_bytes(b"")
    done = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--workers", 1, "--verbose")
    assert done.exit_code == 3
    assert "1 done, 0 skipped, 1 failed" in done.output
    rows = open_results(tmp_path / "results").images().to_pylist()
    (sha256,) = {row["content_sha256"] for row in rows if row["status"] == "failed"}
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: 1.2.1.1.1: read: ")
    assert line.endswith(f" (SHA-256 {sha256})")


def test_an_interrupted_run_ends_with_1_and_says_how_to_go_on(archive, bundle, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise run_module.Interrupted(run_module.ScreenReport(done=3, stopped="interrupted"))

    monkeypatch.setattr(run_module, "screen", interrupted)
    done = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--quiet")
    assert done.exit_code == 1
    assert done.output == "3 done, 0 skipped, 0 failed; stopped, interrupted: run again to go on\n"


@pytest.mark.parametrize(
    "options",
    [
        ["--until", "24:00"],
        ["--until", "soon"],
        ["--workers", "0"],
        ["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"],
        ["--device", "gpu"],
    ],
)
def test_misuse_ends_with_2(archive, bundle, tmp_path, options):
    assert mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, *options).exit_code == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_bundle_for_the_cpu_is_not_run_on_a_card(archive, bundle, tmp_path, device):
    result = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--device", device)
    assert result.exit_code == 1
    assert f"was compiled for the CPU, not for device '{device}'; compile it for this machine" in result.stderr


def test_what_cannot_run_ends_with_1(archive, bundle, tmp_path):
    for arguments in (
        (tmp_path / "nothing", tmp_path / "results", "--bundle", bundle),
        (archive, tmp_path / "results", "--bundle", tmp_path / "nothing"),
    ):
        done = mammofast("screen", *arguments)
        assert done.exit_code == 1, done.output
        assert done.output.startswith("mammofast: ")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_bundle_for_the_cpu_runs_there(archive, bundle, tmp_path, device):
    done = mammofast("screen", archive, tmp_path / "results", "--bundle", bundle, "--device", device, "--workers", 1)
    assert done.exit_code == 0, done.output
