import hashlib
import importlib
import json
import logging
import os
import re
import shutil
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import Dataset

from mammofast.archive import ingest, open_archive, writer
from mammofast.archive.ingest import IngestReport
from mammofast.archive.repeats import repeats
from mammofast.archive.verify import verify
from mammofast.archive.writer import Writer
from mammofast.cli import main
from mammofast.errors import ArchiveError, Reason
from mammofast.ops import _native


def snapshot(folder):
    """Every file's bytes and times, every folder's times."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        stat = path.stat()
        data = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (stat.st_mtime_ns, stat.st_ino, data)
    return found


def reasons(archive):
    return sorted((record.status, record.reason.partition(":")[0]) for record in open_archive(archive).skipped())


@pytest.fixture
def mixed(tmp_path, dicom):
    """A folder of usable images of several syntaxes, and one of each thing that is not."""
    source = tmp_path / "in"
    good = {}
    for number, name in enumerate(["explicit", "JPEG lossless SV1", "JPEG 2000 lossless", "HTJ2K lossless", "RLE"]):
        pixels = dicom.pixels(seed=number)
        ds = dicom.write(source / f"SECRET{number}.dcm", pixels, syntax=dicom.lossless[name])
        good[ds.SOPInstanceUID] = pixels
    dicom.write(source / "tomo.dcm", SOPClassUID=dicom.tomosynthesis)
    dicom.write(source / "ct.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")
    dicom.write(source / "nopixels.dcm", PixelData=None)
    dicom.write(source / "black.dcm", np.zeros((40, 40), np.uint16))
    dicom.write(source / "range.dcm", dicom.pixels(bits=14), syntax=dicom.lossless["JPEG-LS"], bits_stored=14,
                BitsStored=12, HighBit=11)  # fmt: skip
    dicom.write(source / "cut.dcm", syntax=dicom.lossless["JPEG lossless SV1"], frame=b"\xff\xd8\xff\xd9")
    dicom.write(source / "mpeg.dcm", syntax="1.2.840.10008.1.2.4.100", frame=b"abcd")
    (source / "notes.txt").write_text("Patient SECRET is doing well")
    return source, good


# By their names: the package has a function that is called as one of them.
INGEST, INTAKE = (importlib.import_module(f"mammofast.archive.{name}") for name in ("ingest", "intake"))
EXPECTED = [
    ("failed", "constant-pixels"), ("failed", "decode"), ("failed", "no-pixels"), ("failed", "transfer-syntax"),
    ("failed", "value-range"), ("skipped", "not-a-mammogram"), ("skipped", "not-dicom"), ("skipped", "tomosynthesis"),
]  # fmt: skip


@pytest.mark.parametrize("workers", [None, 1, 5])
def test_what_is_usable_is_added_and_the_rest_recorded(tmp_path, mixed, workers):
    source, good = mixed
    calls = []
    report = ingest([source], tmp_path / "a.zarr", workers=workers, progress=calls.append)
    assert report == IngestReport(added=5, known=0, skipped=3, failed=5)
    assert calls == [1] * 13
    archive = open_archive(tmp_path / "a.zarr")
    images = list(archive.images())
    assert [(i.record.study_uid, i.record.sop_uid) for i in images] == sorted(
        (i.record.study_uid, i.record.sop_uid) for i in images
    )
    assert {image.record.sop_uid for image in images} == set(good)
    for image in images:
        np.testing.assert_array_equal(image.read(), good[image.record.sop_uid])
    assert archive.studies().keys() == {image.record.study_uid for image in images}
    assert reasons(tmp_path / "a.zarr") == EXPECTED
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in source.iterdir()}
    found = {i.record.source_sha256 for i in images} | {r.source_sha256 for r in archive.skipped()}
    assert found == hashes
    for record in archive.skipped():
        if not record.reason.startswith("not-dicom"):
            assert (record.laterality, record.view) == ("L", "MLO")
            assert record.sop_uid
    assert not list(verify(archive))


def test_a_second_run_changes_nothing_and_decodes_nothing(tmp_path, mixed, monkeypatch):
    source, _ = mixed
    ingest([source], tmp_path / "a.zarr")
    before = snapshot(tmp_path / "a.zarr")
    archive_before = (tmp_path / "a.zarr").stat().st_mtime_ns

    def not_again(*_):
        raise AssertionError("a known file was decoded again")

    monkeypatch.setattr(INTAKE, "read_pixels", not_again)
    assert ingest([source], tmp_path / "a.zarr") == IngestReport(added=0, known=5, skipped=3, failed=5)
    after = snapshot(tmp_path / "a.zarr")
    # The run's own folder comes and goes, which shows in the time of the archive's folder and nowhere else.
    assert {k: v for k, v in before.items() if k != "."} == {k: v for k, v in after.items() if k != "."}
    assert (tmp_path / "a.zarr").stat().st_mtime_ns >= archive_before


def test_only_what_is_new_is_added(tmp_path, dicom):
    for number in range(3):
        dicom.write(tmp_path / "in" / f"{number}", dicom.pixels(seed=number))
        before = snapshot(tmp_path / "a.zarr") if number else {}
        assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(added=1, known=number)
        after = snapshot(tmp_path / "a.zarr")
        changed = {name for name in before if name not in ("images", ".") and before[name] != after.get(name)}
        assert not changed


UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def uids_of(ds):
    return {keyword: ds[keyword].value for keyword in UIDS}


def rich(dicom):
    """Elements whose bytes depend on the transfer syntax, and ones that are not by the book."""
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, 12], b"\1\0\2\0\3\0\4\0"
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    return {"WindowCenter": [2000, 1500.5], "WindowWidth": ["400", "9.50"], "VOILUTSequence": [table],
            "SmallestImagePixelValue": 3, "ViewCodeSequence": [dicom.code("399162004")]}  # fmt: skip


def test_the_same_image_in_another_file_is_known_and_not_decoded_again(tmp_path, dicom, monkeypatch):
    pixels = dicom.pixels()
    syntaxes = {
        name: uid for name, uid in dicom.lossless.items() if name not in ("JPEG lossless", "HTJ2K RPCL lossless")
    }
    first = dicom.write(tmp_path / "in" / "a", pixels, **rich(dicom))
    for name, syntax in syntaxes.items():
        dicom.write(tmp_path / "in" / f"b {name}", pixels, syntax=syntax, **uids_of(first), **rich(dicom))
    (tmp_path / "in" / "a again").write_bytes((tmp_path / "in" / "a").read_bytes())
    count = len(syntaxes) + 1
    archive = tmp_path / "a.zarr"
    assert ingest(tmp_path / "in", archive) == IngestReport(added=1, known=count)
    assert not list(open_archive(archive).skipped())
    assert not list(verify(open_archive(archive)))
    assert len(list(open_archive(archive).duplicates())) == len(syntaxes) - 1  # all but the explicit one, which is "a"
    before = snapshot(archive)

    def not_again(*_):
        raise AssertionError("a known file was decoded again")

    monkeypatch.setattr(INTAKE, "read_pixels", not_again)
    for _ in range(2):
        assert ingest(tmp_path / "in", archive) == IngestReport(known=count + 1)
        after = snapshot(archive)
        assert {k: v for k, v in before.items() if k != "."} == {k: v for k, v in after.items() if k != "."}
    monkeypatch.undo()
    # A copy of an image that is gone is no copy; a record of one that is damaged is made anew.
    damaged = sorted((archive / "duplicates").glob("*/zarr.json"))[0]
    sound = damaged.read_bytes()
    damaged.write_text("{")
    assert ingest(tmp_path / "in", archive) == IngestReport(known=count + 1)
    assert damaged.read_bytes() == sound
    (image,) = open_archive(archive).images()
    shutil.rmtree(image.folder)
    (tmp_path / "in" / "a").unlink()
    (tmp_path / "in" / "a again").unlink()
    (tmp_path / "in" / "b explicit").unlink()
    assert ingest(tmp_path / "in", archive) == IngestReport(added=1, known=len(syntaxes) - 2)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_same_pixels_with_another_header_are_on_record(tmp_path, dicom, workers):
    pixels = dicom.pixels()
    first = dicom.write(tmp_path / "in" / "0", pixels, **rich(dicom))
    syntax = dicom.lossless["implicit"]
    changes = [{"ImageLaterality": "R"}, {"WindowCenter": [2000, 1501.5]}, {"WindowWidth": "9"},
               {"PatientName": "SECRET^OTHER"}, {"ImageLaterality": "R", "syntax": syntax}]  # fmt: skip
    for number, change in enumerate(changes, start=1):
        dicom.write(tmp_path / "in" / str(number), pixels, **(rich(dicom) | uids_of(first) | change))
    for expected in (IngestReport(added=1, skipped=5), IngestReport(known=1, skipped=5)):
        assert ingest(tmp_path / "in", tmp_path / "a.zarr", workers=workers) == expected
    records = list(open_archive(tmp_path / "a.zarr").skipped())
    for record in records:
        assert record.reason.startswith("conflicting-uid: ")
        assert record.reason.endswith("the same pixels with another header")
        assert record.sop_uid == first.SOPInstanceUID
    assert sorted(record.laterality for record in records) == ["L", "L", "L", "R", "R"]
    (image,) = open_archive(tmp_path / "a.zarr").images()
    assert image.record.laterality == "L"


def test_a_copy_of_an_image_whose_header_is_damaged_is_not_taken_for_known(tmp_path, dicom):
    first = dicom.write(tmp_path / "in" / "0")
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    (image,) = open_archive(tmp_path / "a.zarr").images()
    path = image.folder / "header" / "c" / "0"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    dicom.write(tmp_path / "in" / "1", syntax=dicom.lossless["RLE"], **uids_of(first))
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(known=1, failed=1)
    assert reasons(tmp_path / "a.zarr") == [("failed", "read")]
    path.write_bytes(sound)
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(known=2)
    assert reasons(tmp_path / "a.zarr") == []


@pytest.mark.parametrize("workers", [1, 8])
def test_another_image_under_a_known_uid_is_never_written_over_it(tmp_path, dicom, workers):
    pixels = [dicom.pixels(seed=number) for number in range(6)]
    ds = dicom.write(tmp_path / "in" / "0", pixels[0])
    uids = {k: ds[k].value for k in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    for number in range(1, 5):
        dicom.write(tmp_path / "in" / str(number), pixels[number], **uids)
    dicom.write(tmp_path / "in" / "5", pixels[0], **uids | {"StudyInstanceUID": dicom.uid()})
    assert ingest(tmp_path / "in", tmp_path / "a.zarr", workers=workers) == IngestReport(added=1, skipped=5)
    (image,) = open_archive(tmp_path / "a.zarr").images()
    np.testing.assert_array_equal(image.read(), pixels[0])  # the first by name, however many threads
    assert reasons(tmp_path / "a.zarr") == [("skipped", "conflicting-uid")] * 5
    before = snapshot(tmp_path / "a.zarr" / "images")
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(known=1, skipped=5)
    assert snapshot(tmp_path / "a.zarr" / "images") == before


def test_a_missing_file_that_turns_up_is_no_longer_missing(tmp_path, dicom):
    a, b = dicom.dataset(), dicom.dataset()
    cd = tmp_path / "cd"
    cd.mkdir()
    (cd / "A").write_bytes(dicom.bytes(a))
    dicom.dicomdir(cd / "DICOMDIR", [(a, ["A"]), (b, ["B"])])
    assert ingest([cd], tmp_path / "a.zarr") == IngestReport(added=1, failed=1)
    (record,) = open_archive(tmp_path / "a.zarr").skipped()
    assert (record.status, record.sop_uid, record.source_sha256) == ("failed", b.SOPInstanceUID, None)
    assert record.reason.startswith("missing-file: ")
    before = snapshot(tmp_path / "a.zarr" / "skipped")
    assert ingest([cd / "DICOMDIR"], tmp_path / "a.zarr") == IngestReport(known=1, failed=1)
    assert snapshot(tmp_path / "a.zarr" / "skipped") == before
    (cd / "B").write_bytes(dicom.bytes(b))
    assert ingest([cd], tmp_path / "a.zarr") == IngestReport(added=1, known=1)
    assert not list(open_archive(tmp_path / "a.zarr").skipped())


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path, dicom):
    good = dicom.bytes(dicom.dataset())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", good)
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(good, good[:-1] + b"\x55"))
    assert ingest([tmp_path / "a.zip"], tmp_path / "a.zarr") == IngestReport(failed=1)
    assert reasons(tmp_path / "a.zarr") == [("failed", "read")]
    (tmp_path / "a.zip").write_bytes(whole)
    assert ingest([tmp_path / "a.zip"], tmp_path / "a.zarr") == IngestReport(added=1)
    assert reasons(tmp_path / "a.zarr") == []


@pytest.mark.parametrize("name", ["explicit", "implicit", "deflated", "RLE", "JPEG 2000 lossless"])
def test_a_mammogram_that_is_cut_off_is_damaged_wherever_it_ends(tmp_path, dicom, caplog, name):
    ds = dicom.dataset(dicom.pixels(200, 160), syntax=dicom.lossless[name])
    whole = dicom.bytes(ds)
    meta = 144 + int.from_bytes(whole[140:144], "little")
    rng = np.random.default_rng(6)
    ends = {meta, meta + 1, meta + 9, meta + 40, len(whole) // 2, len(whole) - 20, *rng.integers(meta, meta + 700, 20)}
    (tmp_path / "in").mkdir()
    for end in ends:
        (tmp_path / "in" / f"SECRET{end}").write_bytes(whole[:end])
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(failed=len(ends))
    assert {record.status for record in open_archive(tmp_path / "a.zarr").skipped()} == {"failed"}
    if name not in ("deflated", "explicit", "implicit"):
        sha256 = hashlib.sha256(whole[: len(whole) // 2]).hexdigest()
        (half,) = (r for r in open_archive(tmp_path / "a.zarr").skipped() if r.source_sha256 == sha256)
        assert half.sop_uid == ds.SOPInstanceUID
    assert "SECRET" not in caplog.text


def test_folders_and_zips_that_could_not_be_read_are_on_record_until_they_can(tmp_path, dicom, monkeypatch):
    dicom.write(tmp_path / "in" / "SECRET" / "a")
    with zipfile.ZipFile(tmp_path / "in" / "b.zip", "w") as archive:
        archive.writestr("b", dicom.bytes(dicom.dataset(dicom.pixels(seed=2))))
    whole = (tmp_path / "in" / "b.zip").read_bytes()
    (tmp_path / "in" / "b.zip").write_bytes(whole[:-20])
    scandir = os.scandir

    def refusing(path="."):
        if str(path).endswith("SECRET"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for _ in range(2):
        assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(failed=2)
        assert reasons(tmp_path / "a.zarr") == [("failed", "read")] * 2
    assert "SECRET" not in "".join(record.reason for record in open_archive(tmp_path / "a.zarr").skipped())
    monkeypatch.undo()
    (tmp_path / "in" / "b.zip").write_bytes(whole)
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(added=2)
    assert reasons(tmp_path / "a.zarr") == []


def test_nothing_that_names_a_patient_leaves_the_header(tmp_path, mixed, caplog, capfd):
    source, _ = mixed
    caplog.set_level(logging.DEBUG)
    (source / "SECRET.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI\x05\x00SECRE" + b"SECRET" * 9)
    ingest([source], tmp_path / "a.zarr")
    for path in (tmp_path / "a.zarr").rglob("*"):
        assert "SECRET" not in path.name
        if path.is_file() and "header" not in path.parts:
            assert b"SECRET" not in path.read_bytes()
    assert "SECRET" not in caplog.text
    out, err = capfd.readouterr()
    assert "SECRET" not in out + err


def test_an_unexpected_error_is_one_files(tmp_path, dicom, monkeypatch):
    for number in range(3):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(seed=number))
    seen = []

    def explode(header, frame):
        seen.append(header)
        if len(seen) == 2:
            raise MemoryError("SECRET")
        from mammofast.archive.reading import read_pixels

        return read_pixels(header, frame)

    monkeypatch.setattr(INTAKE, "read_pixels", explode)
    assert ingest(tmp_path / "in", tmp_path / "a.zarr", workers=1) == IngestReport(added=2, failed=1)
    (record,) = open_archive(tmp_path / "a.zarr").skipped()
    assert record.reason == f"{Reason.INTERNAL}: MemoryError"
    monkeypatch.undo()
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(added=1, known=2)
    assert not list(open_archive(tmp_path / "a.zarr").skipped())


def test_a_full_disk_stops_the_run_and_leaves_a_whole_archive(tmp_path, dicom, monkeypatch):
    for number in range(4):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(seed=number))
    from mammofast.archive import layout

    write, calls = layout.write_bytes, []

    def full(folder, data):
        calls.append(folder)
        if len(calls) > 2:
            raise OSError(28, "No space left on device", "SECRET")
        write(folder, data)

    monkeypatch.setattr(layout, "write_bytes", full)
    with pytest.raises(ArchiveError, match="No space left") as caught:
        ingest(tmp_path / "in", tmp_path / "a.zarr", workers=1)
    assert "SECRET" not in str(caught.value)
    monkeypatch.undo()
    archive = open_archive(tmp_path / "a.zarr")
    assert len(list(archive.images())) == 2
    assert not list(verify(archive))
    assert sorted(path.name for path in (tmp_path / "a.zarr").iterdir()) == ["images", "skipped", "zarr.json"]
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(added=2, known=2)


def test_an_image_is_on_the_disk_before_it_has_its_name(tmp_path, dicom, monkeypatch):
    """Every file and folder of it, whichever thread syncs them; and its name before the run says that it is added."""
    for number in range(3):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(600, 500, seed=number))
    synced, moved, counted = set(), [], []
    fsync, rename = os.fsync, Path.rename

    def note(descriptor):
        time.sleep(0.005)  # so that whoever does not wait is early
        fsync(descriptor)
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def checked(path, target):
        if target.parent.parent.name == "images":
            whole = {str(path), *(str(part) for part in path.rglob("*"))}
            assert len([part for part in whole if Path(part).is_file()]) >= 6
            assert whole <= synced
            synced.discard(str(target.parent))
            moved.append(target.parent)
        return rename(path, target)

    def count(n):
        assert str(moved[len(counted)]) in synced
        counted.append(n)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "rename", checked)
    assert ingest(tmp_path / "in", tmp_path / "a.zarr", progress=count) == IngestReport(added=3)
    assert len(counted) == 3
    for made in (tmp_path, tmp_path / "a.zarr", tmp_path / "a.zarr" / "images"):
        assert str(made) in synced


def test_what_the_disk_refuses_to_keep_stops_the_run(tmp_path, dicom, monkeypatch):
    for number in range(4):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(seed=number))
    fsync, shards = os.fsync, []

    def full(descriptor):
        is_shard = str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith("/0/c/0/0")
        shards.append(is_shard)
        if is_shard and sum(shards) == 3:  # only once: nothing else is there to notice it
            raise OSError(28, "No space left on device", "SECRET")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveError, match="No space left") as caught:
        ingest(tmp_path / "in", tmp_path / "a.zarr", workers=1)
    assert "SECRET" not in str(caught.value)
    monkeypatch.undo()
    archive = open_archive(tmp_path / "a.zarr")
    assert len(list(archive.images())) <= 2
    assert not list(verify(archive))
    assert not (tmp_path / "a.zarr" / ".ingest").exists()
    again = ingest(tmp_path / "in", tmp_path / "a.zarr")
    assert (again.added + again.known, again.files) == (4, 4)


@pytest.mark.parametrize("name", ["explicit", "deflated"])
def test_large_images_are_worked_on_one_at_a_time(tmp_path, dicom, monkeypatch, name):
    for number in range(8):
        pixels = dicom.pixels(200, 200, seed=number)
        dicom.write(tmp_path / "in" / str(number), pixels, syntax=dicom.lossless[name])
    read_pixels, at_work, most = INTAKE.read_pixels, [], []

    def counted(header, frame):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.01)
        try:
            return read_pixels(header, frame)
        finally:
            at_work.pop()

    monkeypatch.setattr(INTAKE, "read_pixels", counted)
    assert ingest(tmp_path / "in", tmp_path / "a.zarr", workers=4) == IngestReport(added=8)
    assert max(most) > 1
    most.clear()
    # Of explicit pixels the frame's size is what counts, of deflated ones what is inflated: frame and header.
    monkeypatch.setattr(INTAKE, "LARGE_BYTES", 79_999 if name == "explicit" else 1 << 20)
    monkeypatch.setattr("mammofast.archive.reading.LARGE_BYTES", 1 << 20 if name == "explicit" else 80_001)
    assert ingest(tmp_path / "in", tmp_path / "b.zarr", workers=4) == IngestReport(added=8)
    assert max(most) == 1


def test_an_interrupt_ends_the_run_cleanly(tmp_path, dicom):
    for number in range(6):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(seed=number))
    done = []

    def interrupt(n):
        done.append(n)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path / "in", tmp_path / "a.zarr", progress=interrupt)
    assert not (tmp_path / "a.zarr" / ".ingest").exists()
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(added=3, known=3)


def test_the_archive_may_stand_inside_the_source(tmp_path, dicom):
    dicom.write(tmp_path / "a")
    assert ingest(tmp_path, tmp_path / "a.zarr") == IngestReport(added=1)
    assert ingest(tmp_path, tmp_path / "a.zarr") == IngestReport(known=1)


def test_a_folder_of_other_things_is_not_made_an_archive(tmp_path, dicom):
    dicom.write(tmp_path / "in" / "a")
    with pytest.raises(ArchiveError, match="neither empty nor an archive"):
        ingest(tmp_path / "in", tmp_path / "in")
    with pytest.raises(ArchiveError, match="a file"):
        ingest(tmp_path / "in", tmp_path / "in" / "a")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a"]


def test_without_the_extension_nothing_is_made_of_files_or_archive(tmp_path, dicom, monkeypatch):
    dicom.write(tmp_path / "in" / "a")
    monkeypatch.setitem(sys.modules, "mammofast.ops._kernels", None)
    monkeypatch.delattr("mammofast.ops._kernels", raising=False)
    _native.kernels.cache_clear()
    with pytest.raises(ImportError, match="build the extension in place"):
        ingest(tmp_path / "in", tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    monkeypatch.undo()
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(added=1)


def test_wrong_arguments(tmp_path, dicom):
    dicom.write(tmp_path / "in" / "a")
    with pytest.raises(ValueError, match="workers"):
        ingest(tmp_path / "in", tmp_path / "a.zarr", workers=0)
    with pytest.raises(ValueError, match="does not exist") as caught:
        ingest([tmp_path / "in", tmp_path / "SECRET"], tmp_path / "a.zarr")
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ArchiveError, match="ingest to one, then copy"):
        ingest(tmp_path / "in", "s3://bucket/a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    assert ingest(iter([tmp_path / "in"]), tmp_path / "a.zarr") == IngestReport(added=1)


def test_files_too_large_are_recorded_by_their_header(tmp_path, dicom, monkeypatch):
    dicom.write(tmp_path / "in" / "a", dicom.pixels(200, 200))
    dicom.write(tmp_path / "in" / "b", dicom.pixels(200, 200), SOPClassUID=dicom.tomosynthesis)
    monkeypatch.setattr(INTAKE, "MAX_FILE_BYTES", 50_000)
    assert ingest(tmp_path / "in", tmp_path / "a.zarr") == IngestReport(skipped=1, failed=1)
    assert reasons(tmp_path / "a.zarr") == [("failed", "too-large"), ("skipped", "tomosynthesis")]


def test_the_window_of_files_in_flight_is_bounded(tmp_path, dicom, monkeypatch):
    for number in range(12):
        dicom.write(tmp_path / "in" / f"{number:02}", dicom.pixels(seed=number))
    size = (tmp_path / "in" / "00").stat().st_size
    monkeypatch.setattr(INGEST, "_IN_FLIGHT_BYTES", 2 * size + 10)
    look_at, open_files, most = INTAKE.Intake.look_at, [], []

    def counted(self, file):
        open_files.append(1)
        most.append(len(open_files))
        try:
            return look_at(self, file)
        finally:
            open_files.pop()

    monkeypatch.setattr(INTAKE.Intake, "look_at", counted)
    assert ingest(tmp_path / "in", tmp_path / "a.zarr", workers=12).added == 12
    assert max(most) <= 2


def test_of_two_runs_that_start_an_archive_one_names_it(tmp_path):
    writer._make_group(tmp_path, {"format": 1, "archive_id": "first"})
    writer._make_group(tmp_path, {"format": 1, "archive_id": "second"})
    assert open_archive(tmp_path).archive_id == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["zarr.json"]


def test_what_dead_runs_leave_is_removed_and_what_live_runs_do_is_not(tmp_path, dicom):
    path = tmp_path / "a.zarr"
    with Writer(path):
        (live,) = (path / ".ingest").glob("*.lock")
        (path / ".ingest" / "dead").mkdir()
        (path / ".ingest" / "dead" / "half").write_bytes(b"half an image")
        (path / ".ingest" / "dead.lock").touch()
        with Writer(path):
            assert not (path / ".ingest" / "dead").exists()
            assert not (path / ".ingest" / "dead.lock").exists()
            assert live.exists()
            assert live.with_suffix("").is_dir()
    assert not (path / ".ingest").exists()


@pytest.mark.parametrize("damage", ["pixels", "level", "record", "header", "missing", "swapped"])
def test_verify_finds_damage(tmp_path, dicom, damage):
    from mammofast.archive import layout

    for number in range(2):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(700, 600, seed=number))
    dicom.write(tmp_path / "in" / "tomo", SOPClassUID=dicom.tomosynthesis)
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    archive = open_archive(tmp_path / "a.zarr")
    image, other = archive.images()
    assert not list(verify(archive))
    folder = image.folder
    if damage in ("pixels", "level"):
        name = "0" if damage == "pixels" else "1"
        pixels = image.read(int(name)).copy()
        pixels[5, 5] ^= 1
        (folder / name).rename(tmp_path / "old")
        layout.write_image(folder / name, pixels, 0)
    elif damage == "record":
        (folder / "zarr.json").write_text(re.sub(r'"rows": \d+', '"rows": "x"', (folder / "zarr.json").read_text()))
    elif damage == "header":
        (folder / "header").rename(tmp_path / "old")
        (other.folder / "header").rename(folder / "header")
        (tmp_path / "old").rename(other.folder / "header")
    elif damage == "missing":
        (folder / "0" / "c" / "0" / "0").unlink()
    else:
        folder.rename(folder.parent / "1.2.3.4")
    problems = list(verify(archive))
    assert problems
    assert {problem.sop_uid for problem in problems} <= {image.record.sop_uid, other.record.sop_uid, "1.2.3.4"}
    assert len(problems) == (2 if damage == "header" else 1)


def test_studies_with_several_patients_are_noticed_without_a_name(tmp_path, dicom):
    source, archive = tmp_path / "source", tmp_path / "a.zarr"
    for number, patient in enumerate(["SECRETID", "SECRETID ", None, "SECRETID"]):
        study = "1.2.3" if number < 3 else "1.2.4"
        dicom.write(source / f"{number}.dcm", StudyInstanceUID=study, PatientID=patient)
    assert ingest(source / "0.dcm", archive).mixed_studies == 0
    assert ingest([source / "1.dcm", source / "3.dcm"], archive).mixed_studies == 0
    report = ingest([source], archive)
    assert (report.added, report.known, report.mixed_studies) == (1, 3, 1)
    assert str(report) == "1 added, 3 known, 0 skipped, 0 failed; studies with images of several patients: 1"
    assert ingest([source], archive).mixed_studies == 0  # nothing was added
    problems = list(verify(open_archive(archive)))
    assert {(p.study_uid, p.detail) for p in problems} == {
        ("1.2.3", "its Patient ID is not that of the study's first image")
    }
    done = CliRunner().invoke(main, ["ingest", str(source), str(tmp_path / "b.zarr"), "--json"])
    assert json.loads(done.stdout)["mixed_studies"] == 1
    assert "SECRET" not in done.output + str(problems)


def test_images_of_one_view_are_counted_in_the_order_they_were_taken(tmp_path, dicom):
    taken = [("20260102", "120000", "1"), ("20260102", "090000", "2"), ("20260102", "090000", "10"), (None, None, "3")]
    uids = []
    for number, (date, hour, instance) in enumerate(taken):
        acquired = {} if date is None else {"AcquisitionDate": date, "AcquisitionTime": hour}
        path = tmp_path / "dicom" / f"{number}.dcm"
        ds = dicom.write(path, StudyInstanceUID="1.2.3", InstanceNumber=instance, ContentDate="20260101", **acquired)
        uids.append(ds.SOPInstanceUID)
    for number, other in enumerate(({"ViewPosition": "CC"}, {"ImageLaterality": "R"}, {"ViewPosition": "MLOID"},
                                    {"ViewPosition": ""}, {"ViewPosition": ""})):  # fmt: skip
        dicom.write(tmp_path / "dicom" / f"other{number}.dcm", StudyInstanceUID="1.2.3", **other)
    ingest(tmp_path / "dicom", tmp_path / "a.zarr")
    images = open_archive(tmp_path / "a.zarr").studies()["1.2.3"]
    assert len(images) == 9
    assert repeats(images) == {uids[3]: (1, 4), uids[1]: (2, 4), uids[2]: (3, 4), uids[0]: (4, 4)}
    assert repeats(images[:1]) == {}
