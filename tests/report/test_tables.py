import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from mammofast.cli import main
from mammofast.errors import ResultsError
from mammofast.records import Finding, ImageResult
from mammofast.report.tables import write_tables
from mammofast.screening import Results
from mammofast.screening.entry import Entry, ImageInfo, Run

RUN = Run("b" * 64, "c" * 64)


@pytest.fixture
def ledger(tmp_path):
    results = Results.create_or_open(tmp_path / "results", SimpleNamespace(archive_id="a" * 32, path=tmp_path / "a"))
    results.start(RUN, {"notice": "For tests."})
    finding = Finding((1, 2, 4, 6), 1 / 3, 0.1 + 0.2, np.eye(4, 3, dtype=bool))
    info = ImageInfo("1.1", "1.9", "1.2.1", "L", None, 60, 50, (0.1, 0.1), "1" * 64)
    results.record(Entry.of(info, RUN, ImageResult((60, 50), (finding,))))
    file = ImageInfo(None, None, None, None, None, None, None, None, "9" * 64, file_key="9" * 64)
    results.record(Entry(file, RUN, "skipped", 'not-dicom: a "note", two\nlines'))
    return results


def test_parquet_holds_the_tables_types_and_notice(ledger, tmp_path):
    write_tables(ledger.path, tmp_path / "out", "parquet")
    for name in ("findings", "images"):
        table = pyarrow.parquet.read_table(tmp_path / "out" / f"{name}.parquet")
        assert table.equals(getattr(ledger, name)(), check_metadata=True)
        assert table.schema.metadata[b"notice"] == b"For tests."


def test_json_holds_the_rows(ledger, tmp_path):
    write_tables(ledger.path, tmp_path / "out", "json")
    for name in ("findings", "images"):
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text()) == getattr(ledger, name)().to_pylist()


def test_csv_reads_back_with_nothing_for_null(ledger, tmp_path):
    write_tables(ledger.path, tmp_path / "out", "csv")
    for name in ("findings", "images"):
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        expected = getattr(ledger, name)().to_pylist()
        assert list(rows[0]) == list(expected[0])
        assert rows == [{k: "" if v is None else str(v) for k, v in row.items()} for row in expected]


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_the_notice_lies_beside_the_tables(ledger, tmp_path, form):
    written = write_tables(ledger.path, tmp_path / "deep" / "out", form)
    assert [path.name for path in written] == [f"findings.{form}", f"images.{form}", "NOTICE.txt"]
    assert (tmp_path / "deep" / "out" / "NOTICE.txt").read_text() == "For tests.\n"


def test_what_cannot_be_written_is_said(ledger, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ResultsError, match="cannot be written"):
        write_tables(ledger.path, tmp_path / "out", "csv")
    with pytest.raises(ValueError, match="xlsx"):
        write_tables(ledger.path, tmp_path / "out", "xlsx")


def test_the_command(ledger, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["report", str(ledger.path), "--to", "csv", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.output)
    assert printed == {
        "written": [str(out / n) for n in ("findings.csv", "images.csv", "NOTICE.txt")],
        "notices": ["For tests."],
    }
    plain = CliRunner().invoke(main, ["report", str(ledger.path), "--to", "json", "--out", str(out), "--verbose"])
    assert "2 images, 1 finding\n" in plain.output
    assert "For tests." in plain.output
    quiet = CliRunner().invoke(main, ["report", str(ledger.path), "--to", "json", "--out", str(out), "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert CliRunner().invoke(main, ["report", str(ledger.path), "--to", "xlsx", "--out", str(out)]).exit_code == 2
    assert CliRunner().invoke(main, ["report", str(tmp_path), "--to", "csv", "--out", str(out)]).exit_code == 1


def test_the_notice_beside_all_tables_is_named_once(ledger, tmp_path):
    out = tmp_path / "out"
    tables = [word for form in ("csv", "json", "parquet") for word in ("--to", form)]
    done = CliRunner().invoke(main, ["report", str(ledger.path), *tables, "--out", str(out)])
    assert sorted(done.stdout.split()) == sorted(map(str, out.iterdir()))
    assert len(done.stdout.split()) == 7


@pytest.mark.parametrize("form", ["html", "csv", "parquet", "json"])
@pytest.mark.parametrize("switch", [["--deidentify"], ["--deidentify-key", "key"]])
def test_what_bears_the_images_uids_is_never_written_as_de_identified(ledger, tmp_path, form, switch):
    out = tmp_path / "out"
    command = ["report", str(ledger.path), "--to", "cad-sr", "--to", form, "--out", str(out), *switch]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert f"got --deidentify and --to {form}, expected DICOM objects alone" in done.stderr
    assert not out.exists()


def test_objects_of_an_archive_that_moved_say_how_to_name_it(ledger, tmp_path):
    done = CliRunner().invoke(main, ["report", str(ledger.path), "--to", "gsps", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "there is no archive at that path" in done.stderr
    assert "say with --archive where it is now" in done.stderr


def test_the_command_writes_the_page(ledger, tmp_path):
    done = CliRunner().invoke(main, ["report", str(ledger.path), "--to", "html", "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "page" / "index.html").is_file()
    assert "the archive is not where it was screened" in done.stderr
    assert "say with --archive" in done.stderr


def deidentified(ledger, tmp_path, *options):
    arguments = ["report", str(ledger.path), "--to", "gsps", "--out", str(tmp_path / "out"), *options]
    return CliRunner().invoke(main, [*arguments, "--archive", str(tmp_path / "none")])


def export_of(key, path, dicom):
    """Write a de-identified object."""
    pytest.importorskip("dicomanonymizer")
    from mammofast.report.dicom.deidentify import Deidentifier

    path.parent.mkdir(parents=True, exist_ok=True)
    Deidentifier(key)(dicom.dataset(BurnedInAnnotation="NO")).save_as(path, enforce_file_format=True)


def test_an_export_goes_to_a_folder_of_its_own_or_of_its_key(ledger, tmp_path, dicom):
    keys = [tmp_path / "one", tmp_path / "other"]
    for number, key in enumerate(keys):
        key.write_bytes(bytes([number]) * 32)
    # Where there is nothing, and where there is an export of the same key, it is the archive that is missing here.
    assert "no archive at that path" in deidentified(ledger, tmp_path, "--deidentify").stderr
    export_of(bytes(32), tmp_path / "out" / "study" / "a.dcm", dicom)
    assert "no archive at that path" in deidentified(ledger, tmp_path, "--deidentify-key", str(keys[0])).stderr
    for options in (["--deidentify"], ["--deidentify-key", str(keys[1])]):
        done = deidentified(ledger, tmp_path, *options)
        assert done.exit_code == 2
        assert "each patient would be in it twice" in " ".join(done.stderr.split())


@pytest.mark.parametrize("switch", ["--deidentify", "--deidentify-key"])
def test_an_export_is_never_put_beside_objects_that_name_patients(ledger, tmp_path, dicom, switch):
    (tmp_path / "key").write_bytes(bytes(32))
    export_of(bytes(32), tmp_path / "out" / "study" / "a.dcm", dicom)
    dicom.write(tmp_path / "out" / "study" / "b.dcm")
    done = deidentified(ledger, tmp_path, switch, *([str(tmp_path / "key")] if switch.endswith("key") else []))
    assert done.exit_code == 2
    (tmp_path / "out" / "study" / "b.dcm").write_bytes(b"damaged")
    assert deidentified(ledger, tmp_path, "--deidentify-key", str(tmp_path / "key")).exit_code == 2


def test_without_highdicom_only_dicom_objects_are_out_of_reach(ledger, tmp_path, elsewhere):
    hidden = (
        "import importlib.util as u, sys; find = u.find_spec; sys.modules['highdicom'] = None; "
        "u.find_spec = lambda name, *more: None if name == 'highdicom' else find(name, *more); "
        "from mammofast.cli import main; main()"
    )

    def run(form):
        command = [sys.executable, "-c", hidden, "report", ledger.path, "--to", form, "--out", tmp_path / form]
        return subprocess.run(command, **elsewhere, capture_output=True, text=True, check=False)

    assert run("html").returncode == run("csv").returncode == 0
    done = run("dicom-seg")
    assert done.returncode == 1
    assert (
        'mammofast: highdicom is not installed, and DICOM objects need it: pip install "mammofast[dicom]"'
        in done.stderr
    )
