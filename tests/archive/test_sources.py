import errno
import io
import os
import zipfile
from pathlib import Path

import pytest

from mammofast.archive import ingest, open_archive, sources
from mammofast.archive.sources import find_files
from mammofast.errors import BrokenImage, Reason
from mammofast.screening.ledger import Results


def contents(found):
    """Bytes of what opens, reasons of what does not."""
    got = []
    for file in found:
        try:
            with file.open() as stream:
                got.append(stream.read())
        except BrokenImage as error:
            got.append(error.reason)
    return got


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_files_folders_and_zips_each_file_once_in_order(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "a.dcm").write_bytes(b"a")
    (tmp_path / "b" / "1").write_bytes(b"b1")
    (tmp_path / "b" / "deep" / "2").write_bytes(b"b2")
    write_zip(tmp_path / "c.any", {"z": b"cz", "dir/y": b"cy"})
    whole = contents(find_files([tmp_path]))
    assert whole == [b"a", b"cy", b"cz", b"b1", b"b2"]
    several = [tmp_path / "b", tmp_path / "a.dcm", tmp_path, tmp_path]
    assert contents(find_files(several)) == [b"b1", b"b2", b"a", b"cy", b"cz"]
    places = [file.place for file in find_files([tmp_path])]
    assert len(set(places)) == 5
    assert all(len(place) == 64 for place in places)


def test_links_are_followed_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"1")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "a" / "1")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert contents(find_files([tmp_path])) == [b"1", Reason.READ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_read_as_such(tmp_path):
    (tmp_path / "1").write_bytes(b"1")
    (tmp_path / "1").chmod(0)
    assert contents(find_files([tmp_path])) == [Reason.READ]


@pytest.fixture
def refuse(monkeypatch):
    """Make the system refuse a call on paths of some names, as permissions and failing disks do, root or not."""

    def refuse(call, *names, error=errno.EACCES):
        real = getattr(os, call)

        def refusing(path=".", *args, **kwargs):
            if not isinstance(path, int) and Path(os.fsdecode(path)).name in names:
                raise OSError(error, os.strerror(error), os.fsdecode(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, call, refusing)

    return refuse


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_folders_that_cannot_be_listed_are_not_dropped(tmp_path, refuse, error):
    for name in ("a/1", "SECRET/2", "SECRET/deep/3", "z/SECRET/4", "z/5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    refuse("scandir", "SECRET", error=error)
    found = list(find_files([tmp_path, tmp_path]))
    assert contents(found) == [Reason.READ, b"a/1", b"z/5", Reason.READ]
    assert len({file.place for file in found}) == 4
    for file in found[::3]:
        with pytest.raises(BrokenImage, match=os.strerror(error)) as caught:
            file.open()
        assert "SECRET" not in str(caught.value)
    assert contents(find_files([tmp_path / "SECRET"])) == [Reason.READ]


def test_files_that_cannot_be_looked_at_are_not_dropped(tmp_path, refuse):
    for name in ("1", "SECRET", "3"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    refuse("stat", "SECRET", "link")
    assert contents(find_files([tmp_path])) == [b"1", b"3", Reason.READ, Reason.READ]
    with pytest.raises(ValueError, match="source 1") as caught:
        list(find_files([tmp_path / "SECRET"]))
    assert "SECRET" not in str(caught.value)


def test_what_is_removed_while_it_is_looked_for_is_not_there(tmp_path, refuse):
    (tmp_path / "folder").mkdir()
    (tmp_path / "1").write_bytes(b"1")
    (tmp_path / "file").write_bytes(b"2")
    refuse("scandir", "folder", error=errno.ENOENT)
    refuse("stat", "file", error=errno.ENOENT)
    assert contents(find_files([tmp_path])) == [b"1"]


def test_what_a_dicomdir_references_and_cannot_be_looked_at(tmp_path, dicom, refuse):
    a, b = dicom.write(tmp_path / "IM" / "A"), dicom.write(tmp_path / "SECRET" / "B")
    dicom.dicomdir(tmp_path / "DICOMDIR", [(b, ["SECRET", "B"]), (a, ["IM", "A"])])
    refuse("stat", "SECRET")
    unread, read = find_files([tmp_path / "DICOMDIR"])
    assert contents([unread, read]) == [Reason.READ, (tmp_path / "IM" / "A").read_bytes()]
    assert unread.sop_uid == b.SOPInstanceUID


def test_folders_and_zips_that_open_are_told(tmp_path, refuse):
    (tmp_path / "deep").mkdir()
    write_zip(tmp_path / "deep" / "a.zip", {"a": b"1"})
    (tmp_path / "cut.zip").write_bytes((tmp_path / "deep" / "a.zip").read_bytes()[:30])
    opened = []
    (cut,) = (f for f in find_files([tmp_path], opened=opened.append) if contents([f]) == [Reason.READ])
    assert len(set(opened)) == 3
    assert cut.place not in opened
    (tmp_path / "cut.zip").write_bytes((tmp_path / "deep" / "a.zip").read_bytes())
    opened.clear()
    assert len(list(find_files([tmp_path], opened=opened.append))) == 2
    assert cut.place in opened
    refuse("scandir", "deep")
    opened.clear()
    (folder, _) = find_files([tmp_path], opened=opened.append)
    assert folder.place not in opened


def test_fifos_and_sockets_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert contents(find_files([tmp_path])) == []
    with pytest.raises(ValueError, match="source 2 is a pipe") as caught:
        list(find_files([tmp_path, tmp_path / "fifo"]))
    assert str(tmp_path) not in str(caught.value)


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="source 2"):
        list(find_files([tmp_path, tmp_path / "SECRET"]))


def test_the_excluded_folder_is_not_walked(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1").write_bytes(b"1")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "zarr.json").write_bytes(b"2")
    assert contents(find_files([tmp_path], exclude=tmp_path / "archive")) == [b"1"]


def test_archives_and_results_are_passed_over_and_nothing_else_that_looks_like_them(tmp_path, dicom):
    dicom.write(tmp_path / "in" / "1")
    ingest(tmp_path / "in" / "1", tmp_path / "in" / "a.zarr")
    Results.create_or_open(tmp_path / "in" / "results", open_archive(tmp_path / "in" / "a.zarr"))
    assert (tmp_path / "in" / "results" / "results.json").exists()
    expected = [(tmp_path / "in" / "1").read_bytes()]
    assert contents(find_files([tmp_path / "in"])) == expected
    assert contents(find_files([tmp_path / "in" / "a.zarr", tmp_path / "in" / "results"])) == []
    texts = ["", "[]", "1", '"archive_id"', '{"attributes": []}', '{"attributes": {"mammofast": "archive_i"}}',
             '{"attributes": {"mammofast": {"format": 1}}}', '{"archive": null}', '{"archive": {"id": "1"}}',
             "\xff"]  # fmt: skip
    for number, text in enumerate(texts):
        for name in ("zarr.json", "results.json"):
            path = tmp_path / f"other-{number}" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode("latin-1"))
            expected.append(path.read_bytes())
    assert sorted(contents(find_files([tmp_path]))) == sorted(expected)


def test_damaged_zips(tmp_path):
    write_zip(tmp_path / "good.zip", {"a": b"x" * 1000, "b": os.urandom(1000)})
    whole = (tmp_path / "good.zip").read_bytes()
    (tmp_path / "good.zip").unlink()
    (tmp_path / "cut.zip").write_bytes(whole[:500])
    assert contents(find_files([tmp_path])) == [Reason.READ]
    (tmp_path / "cut.zip").unlink()
    damaged = bytearray(whole)
    damaged[400] ^= 0xFF  # inside b: its checksum does not match
    (tmp_path / "sum.zip").write_bytes(damaged)
    assert contents(find_files([tmp_path])) == [b"x" * 1000, Reason.READ]


def test_zip_bombs_are_refused(tmp_path, monkeypatch):
    write_zip(tmp_path / "big.zip", {"a": b"ok", "b": bytes(2000)})
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1000)
    assert contents(find_files([tmp_path])) == [b"ok", Reason.TOO_LARGE]
    monkeypatch.setattr(sources, "_UNZIPPED_FREE", 10)
    monkeypatch.setattr(sources, "_MAX_UNZIPPED_RATIO", 2)
    assert contents(find_files([tmp_path])) == [Reason.TOO_LARGE]


def test_a_member_that_is_longer_than_it_says(tmp_path):
    """The directory announces 10 bytes; the 5,000,000 behind them are never unfolded."""
    write_zip(tmp_path / "lie.zip", {"a": bytes(5_000_000)})
    data = bytearray((tmp_path / "lie.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.find(signature) + offset
        data[at : at + 4] = (10).to_bytes(4, "little")
    (tmp_path / "lie.zip").write_bytes(data)
    assert contents(find_files([tmp_path])) == [Reason.READ]


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_names_files_and_what_is_missing(tmp_path, dicom):
    cd = tmp_path / "cd"
    a = dicom.write(cd / "IMAGES" / "A")
    b = dicom.write(cd / "images2" / "b")
    gone = dicom.dataset()
    outside = dicom.write(tmp_path / "outside.dcm")
    dicom.dicomdir(
        cd / "DICOMDIR",
        [(a, ["IMAGES", "A"]), (gone, ["IMAGES", "GONE"]), (b, ["IMAGES2", "B"]), (outside, ["..", "outside.dcm"])],
    )
    found = list(find_files([cd / "DICOMDIR"]))
    assert contents(found) == [
        (cd / "IMAGES" / "A").read_bytes(), Reason.MISSING_FILE,
        (cd / "images2" / "b").read_bytes(), Reason.MISSING_FILE,
    ]  # fmt: skip
    assert (found[1].study_uid, found[1].series_uid, found[1].sop_uid) == (
        gone.StudyInstanceUID, gone.SeriesInstanceUID, gone.SOPInstanceUID)  # fmt: skip
    # The folder gives the same, and each file once.
    (cd / "IMAGES" / "B-not-indexed").write_bytes(b"more")
    both = contents(find_files([cd]))
    assert sorted(map(len, both)) == sorted([*(len(c) for c in contents(found)), 4])
    assert both.count(Reason.MISSING_FILE) == 2


def test_a_dicomdir_in_a_zip(tmp_path, dicom):
    a, gone = dicom.dataset(), dicom.dataset()
    dicom.dicomdir(tmp_path / "DICOMDIR", [(a, ["IM", "A"]), (gone, ["IM", "GONE"])])
    members = {"CD/DICOMDIR": (tmp_path / "DICOMDIR").read_bytes(), "CD/IM/A": dicom.bytes(a)}
    write_zip(tmp_path / "cd.zip", members)
    (tmp_path / "DICOMDIR").unlink()
    assert contents(find_files([tmp_path])) == [Reason.MISSING_FILE, dicom.bytes(a)]


def test_a_dicomdir_that_is_none_is_a_file_like_any_other(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"no index")
    assert contents(find_files([tmp_path])) == [b"no index"]
    assert contents(find_files([tmp_path / "DICOMDIR"])) == [b"no index"]


def test_streams_can_be_read_twice(tmp_path):
    write_zip(tmp_path / "a.zip", {"a": b"abc"})
    (file,) = find_files([tmp_path])
    for _ in range(2):
        with file.open() as stream:
            assert stream.read() == b"abc"
            stream.seek(0, io.SEEK_SET)
            assert stream.read() == b"abc"
