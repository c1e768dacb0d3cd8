"""Files that never became images: what the archive says of each of them is what the results say."""

import zipfile
from dataclasses import replace

import pytest

from mammofast import open_archive, open_results
from mammofast.archive import ingest
from mammofast.archive.writer import Writer
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


def test_rows_follow_the_archive_and_are_left_alone_where_it_says_the_same(bundle, tmp_path):
    archive, results = tmp_path / "archive.zarr", tmp_path / "results"
    ingest([damaged_zip(tmp_path / "night.zip")], archive)
    screen(archive, results, bundle)
    same, changed, torn = open_archive(archive).skipped()
    files = {r.key: next(results.glob(f"images/*/file-{r.key}.json")) for r in (same, changed, torn)}
    before = {key: (path.stat().st_ino, path.stat().st_mtime_ns) for key, path in files.items()}
    with Writer(archive) as writer:
        better = replace(changed, status="skipped", reason="tomosynthesis: read again", sop_uid="1.2.3")
        writer.skip(changed.key, better)
    files[torn.key].write_bytes(files[torn.key].read_bytes()[:-20])
    report = screen(archive, results, bundle)
    assert (report.skipped, report.failed, report.left_out) == (1, 2, 3)
    rows = {row["sop_uid"]: row for row in open_results(results).images().to_pylist()}
    assert (rows["1.2.3"]["status"], rows["1.2.3"]["reason"]) == ("skipped", "tomosynthesis: read again")
    assert open_results(results).images().num_rows == 3
    after = {key: (path.stat().st_ino, path.stat().st_mtime_ns) for key, path in files.items()}
    assert [key for key in files if before[key] == after[key]] == [same.key]
