"""Objects full of marked identifiers through everything the command does: none of it may say one of them.

docs/privacy.md is the rule. Of what is written, only DICOM objects may hold what came with them: ``*.dcm``, and the
header that the archive keeps.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest

import mammofast
from mammofast.archive import ingest
from mammofast.archive.repeats import repeats
from mammofast.cli.report import report_command
from mammofast.errors import BrokenImage, MammofastError
from mammofast.records import GreyPipeline
from tests.hard.marked import NAMES, leaks, leaks_in, write_everything
from tests.hard.shell import ROOT

# All of the command in one process, as a program might call it that listens to every logger and every warning.
DRIVER = """
import json, logging, sys, warnings
from mammofast.cli import main
if sys.argv[1] == "listening":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    warnings.simplefilter("always")
if __name__ == "__main__":
    for words in json.loads(sys.stdin.read()):
        print("$", words[0], flush=True)
        try:
            main(words, standalone_mode=False)
        except BaseException as error:
            print(type(error).__name__, error, repr(error.__cause__), repr(error.__context__), flush=True)
"""


def run(tmp_path, how, *commands):
    """Run commands one after another; return what they said on either stream."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    words = json.dumps([[str(word) for word in command] for command in commands])
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "COLUMNS": "1000"}
    (tmp_path / "tmp").mkdir(exist_ok=True)
    path = [str(Path(mammofast.__file__).parents[1]), str(ROOT)]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    done = subprocess.run(
        [sys.executable, "-P", script, how], input=words, cwd=tmp_path, env=environment, capture_output=True, text=True,
        errors="surrogateescape", timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line[2:] for line in done.stdout.splitlines() if line.startswith("$ ")] == [line[0] for line in commands]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("source")
    return folder, write_everything(folder, images.bright_pixels)


def test_the_marks_are_there_to_be_found(source):
    folder, good = source
    assert good == len(NAMES) + 3
    text = "".join(str(path) for path in folder.rglob("*"))
    assert len(leaks(text)) > 40
    for name in NAMES.values():
        first = name.split("^")[0]
        assert leaks(first)
        assert leaks(json.dumps(first))
        assert leaks(repr(first.encode()))
    first = min(folder.rglob("*.dcm"))
    assert len(leaks(first.read_bytes())) > 1_500
    assert not leaks("2.25.19031021 a page about nobody 1931")


FORMS = next(option for option in report_command.params if option.name in ("form", "forms", "to")).type.choices


@pytest.mark.parametrize("how", ["shell", "listening"])
def test_nothing_says_who_they_are(tmp_path, source, bundle, networks, how):
    folder, good = source
    (marked,) = folder.iterdir()
    out = tmp_path / "out"
    broken = networks.write_bundle(tmp_path / "broken", segmenter=networks.bright_segmenter(bias=float("nan")))
    archive, results, failed = out / "archive.zarr", out / "results", out / "failed"
    objects = [word for form in FORMS if form not in ("html", "csv", "parquet", "json") for word in ("--to", form)]
    commands = [
        ["ingest", folder, archive, "--verbose", "--workers", "2"],
        ["screen", archive, results, "--bundle", bundle, "--workers", "1", "--verbose"],
        ["archive", "verify", archive, "--verbose"],
        *(["report", results, "--to", form, "--out", out / f"report-{form}"] for form in FORMS if form not in objects),
    ]
    if how == "listening":
        commands += [
            ["ingest", folder, archive, "--json"],
            ["ingest", marked / "ZQXJMARK-is-not-there", archive],
            ["ingest", marked / "ZQXJMARK\x00", archive],
            ["archive", "info", archive, "--verbose"],
            ["archive", "list", archive, "--json", "--verbose"],
            ["archive", "list", archive, "--verbose"],
            ["archive", "list", archive, "--skipped", "--json"],
            ["screen", archive, failed, "--bundle", broken, "--workers", "1", "--verbose"],
            ["report", failed, "--to", "html", "--out", out / "report-failed"],
            ["evaluate", results, "--truth", out],
            ["bench", "archive", archive, "--json", out / "archive.json"],
            ["doctor"],
            ["report", results, *objects, "--out", out / "identified"],
            ["report", results, *objects, "--out", out / "de-identified", "--deidentify"],
        ]
    said = run(tmp_path, how, *commands)
    assert leaks(said) == []
    assert leaks_in(out) == {}
    assert leaks_in(tmp_path / "tmp") == {}
    rows = mammofast.open_results(results).images().to_pylist()
    assert sum(row["status"] == "done" for row in rows) >= good
    assert sum(row["status"] == "failed" for row in rows) > 10
    assert (out / "report-html" / "index.html").exists()
    if how == "listening":
        identified, others = (list((out / name).rglob("*.dcm")) for name in ("identified", "de-identified"))
        assert len(identified) == len(others) > 10
        assert all(leaks(path.read_bytes()) for path in identified)
        assert not [found for path in others for found in leaks(path.read_bytes())]
        assert {row["status"] for row in mammofast.open_results(failed).images().to_pylist()} >= {"failed", "skipped"}


def test_a_program_that_embeds_us_hears_nothing_either(tmp_path, source, bundle, caplog):
    folder, good = source
    said = []
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        said.append(str(ingest(folder, tmp_path / "archive.zarr", workers=2)))
        archive = mammofast.open_archive(tmp_path / "archive.zarr")
        images = list(archive.images())
        for image in images:
            assert image.header is not None
            said.append(repr(image.record))
            with contextlib.suppress(BrokenImage):
                image.grey_table(GreyPipeline())
        with mammofast.open_bundle(bundle) as screener:
            results = screener.screen_batch(images)
            for image, result in zip(images, results, strict=True):
                if result.error is not None:
                    with pytest.raises(MammofastError) as caught:
                        screener.screen(image)
                    said += traceback.format_exception(caught.value)
        said += [repr(result) for result in results] + [repr(record) for record in archive.skipped()]
        said += [repr(repeats(of_study)) for of_study in archive.studies().values()]
    assert sum(result.error is None for result in results) >= good
    assert sum(result.error is not None for result in results) > 0
    assert leaks("\n".join(said)) == []
    assert leaks("\n".join(str(warning.message) for warning in warned)) == []
    assert leaks(caplog.text) == []
