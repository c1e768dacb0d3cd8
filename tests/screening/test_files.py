"""Files that never became images: what the archive says of each of them is what the results say."""

import zipfile

import pytest

from mammofast import open_archive, open_results
from mammofast.archive import ingest
from mammofast.screening import run as run_module
from mammofast.screening import screen


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """Files need no workers."""
    monkeypatch.setattr(run_module, "local_client", None)


def damaged_zip(path, members=3):
    """A zip file none of whose members has the bytes that its checksum is of."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(members):
            archive.writestr(f"{number}.dcm", b"the same in all" * 50)
    content = bytearray(path.read_bytes())
    for position in range(len(content)):
        if content[position : position + 8] == b"the same" and content[position - 4 : position] == b".dcm":
            content[position] ^= 0xFF
    path.write_bytes(content)
    return path


def test_files_of_which_nothing_is_known_have_a_row_each(bundle, tmp_path):
    ingest([damaged_zip(tmp_path / "night.zip")], tmp_path / "archive.zarr")
    records = list(open_archive(tmp_path / "archive.zarr").skipped())
    assert len({record.key for record in records}) == 3
    assert {(record.source_sha256, record.sop_uid) for record in records} == {(None, None)}
    report = screen(tmp_path / "archive.zarr", tmp_path / "results", bundle)
    assert (report.failed, report.left_out) == (3, 3)
    rows = open_results(tmp_path / "results").images().to_pylist()
    assert [(row["status"], row["reason"]) for row in rows] == [(r.status, r.reason) for r in records]
