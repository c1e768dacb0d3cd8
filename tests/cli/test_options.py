"""What every command takes, and that exit statuses are said once."""

import ast
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mammofast import cli, open_archive
from mammofast.archive import ingest
from mammofast.cli import doctor, status


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def commands(command=cli.main, name=()):
    if not isinstance(command, click.Group):
        return [name]
    below = ((command.get_command(None, key), (*name, key)) for key in command.list_commands(None))
    return [found for arguments in below for found in commands(*arguments)]


@pytest.mark.parametrize("name", commands(), ids=" ".join)
def test_every_command_can_be_quiet_and_verbose_and_gives_an_example(name):
    text = run(*name, "--help").output
    assert "--quiet " in text
    assert "--verbose " in text
    assert "--json" in text
    assert f"mammofast {' '.join(name)}" in text.partition("Options:")[0].partition("Usage:")[2].partition("\n")[2]


@pytest.mark.parametrize("name", commands(), ids=" ".join)
def test_misuse_of_any_command_ends_with_2(name):
    assert run(*name, "--no-such-option").exit_code == 2


def test_exit_statuses_are_written_down_once():
    known = {name: value for name, value in vars(status).items() if name.isupper()}
    assert known == {"COULD_NOT_RUN": 1, "SOME_FAILED": 3}
    for path in Path(cli.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "ctx.exit"]
        assert {ast.unparse(call.args[0]) for call in calls} <= known.keys(), path.name
        own = [name for name in known if f"{name} =" in path.read_text()]
        assert own == (list(known) if path.name == "status.py" else []), path.name


@pytest.fixture
def archive(tmp_path, dicom):
    for number in range(2):
        dicom.write(tmp_path / "in" / f"{number}.dcm", dicom.pixels(seed=number))
    (tmp_path / "in" / "note.txt").write_text("not DICOM")
    ingest([tmp_path / "in"], tmp_path / "archive.zarr", workers=1)
    return tmp_path / "archive.zarr"


def test_info(archive):
    assert run("archive", "info", archive, "--quiet").output == ""
    assert run("archive", "info", archive.parent, "--quiet").exit_code == 1
    facts = json.loads(run("archive", "info", archive, "--verbose", "--json", "--quiet").output)
    assert {"0", "header", "records"} <= set(facts["bytes_by_array"])
    assert sum(facts["bytes_by_array"].values()) == facts["bytes"]
    assert "bytes by array" in run("archive", "info", archive, "--verbose").output
    assert "bytes by array" not in run("archive", "info", archive).output


def test_list(archive):
    uids = [image.record.sop_uid for image in open_archive(archive).images()]
    assert run("archive", "list", archive, "--quiet").output.split() == uids
    (record,) = open_archive(archive).skipped()
    assert run("archive", "list", archive, "--skipped", "--quiet").output == f"{record.key}\n"
    assert record.key in run("archive", "list", archive, "--skipped").output
    assert json.loads(run("archive", "list", archive, "--skipped", "--json").output)[0]["key"] == record.key
    lines = run("archive", "list", archive, "--verbose").output.splitlines()
    assert len(lines) == 2
    for line, image in zip(lines, open_archive(archive).images(), strict=True):
        assert f"content_sha256={image.record.content_sha256}" in line


def test_verify(archive):
    image = next(open_archive(archive).images())
    (image.folder / "0" / "zarr.json").write_text("{")
    plain, verbose = (run("archive", "verify", archive, "--quiet", *more) for more in ((), ("--verbose",)))
    assert plain.stderr.startswith(f"{image.record.sop_uid}: ")
    assert verbose.stderr == f"{image.record.study_uid}: {plain.stderr}"
    assert plain.exit_code == verbose.exit_code == 3


def test_doctor(monkeypatch):
    monkeypatch.setitem(doctor._OPTIONAL, "no-such-package", ("nothing", "nowhere"))
    missing = run("doctor", "--quiet").output.splitlines()
    assert any(line.startswith("no-such-package") for line in missing)
    assert all("not " in line for line in missing)
    assert "pyarrow" in run("doctor", "--verbose").output
    assert "pyarrow" not in run("doctor").output
    assert "no-such-package" in json.loads(run("doctor", "--quiet", "--json").output)
