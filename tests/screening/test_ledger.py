import base64
import errno
import hashlib
import json
import multiprocessing
import os
import signal
import stat
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mammofast import open_results
from mammofast.archive import SkippedRecord
from mammofast.errors import ResultsError
from mammofast.records import Finding, ImageResult, combine_masks
from mammofast.screening import Results, files
from mammofast.screening.entry import Entry, ImageInfo, Run, is_whole, parse_entry
from mammofast.screening.layout import entry_name

RUN = Run("b" * 64, "c" * 64)
OTHER_RUN = Run("d" * 64, "c" * 64)
WHERE = ["study_uid", "series_uid", "sop_uid", "laterality", "view"]
BOX = ["x_min", "y_min", "x_max", "y_max", "z_min", "z_max"]
IDS = ["bundle_id", "settings_id"]
SIDES = ["width_mm", "length_mm", "depth_mm"]
OF_VOLUMES = ["slice_first", "slice_last", *SIDES, "center_x_mm", "center_y_mm", "center_z_mm"]
FINDINGS_COLUMNS = [*WHERE, "finding", *BOX, "score", "confidence", "area_px", "area_mm2", *IDS, *OF_VOLUMES]
IMAGES_COLUMNS = [*WHERE, "rows", "cols", "status", "reason", "n_findings", "content_sha256", *IDS, "slices"]


def info(number=1, **changes):
    known = ImageInfo("1.2", "1.2.9", f"1.2.3.{number}", "L", "CC", 100, 80, (0.1, 0.2), f"{number:064x}")
    return replace(known, **changes)


def result(seed=0, shape=(100, 80), boxes=((10, 20, 40, 45), (0, 0, 80, 100), (79, 99, 80, 100))):
    rng = np.random.default_rng(seed)
    sizes = [(box[3] - box[1], box[2] - box[0]) for box in boxes]
    findings = [
        Finding(
            box,
            float(np.float32(rng.random())),
            float(rng.random()),
            rng.random(size) > 0.7,
        )
        for box, size in zip(boxes, sizes, strict=True)
    ]
    return ImageResult(shape, tuple(findings))


def archive(tmp_path, identity="a" * 32):
    return SimpleNamespace(archive_id=identity, path=tmp_path / "archive.zarr")


@pytest.fixture
def ledger(tmp_path):
    results = Results.create_or_open(tmp_path / "results", archive(tmp_path))
    results.start(RUN, {"name": "test", "notice": "For tests."})
    return results


def test_a_run_starts_anew_where_nothing_of_it_is_on_record(ledger):
    assert ledger.start(RUN, {})
    ledger.record(Entry.of(info(), RUN, result()))
    assert not ledger.start(RUN, {})
    assert ledger.start(OTHER_RUN, {})
    ledger.forget(info(), RUN)
    assert ledger.start(RUN, {})


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def only_file(ledger):
    (path,) = ledger.path.glob("images/*/*")
    return path


def test_what_is_recorded_comes_back(ledger):
    found = result()
    assert not ledger.has(info(), RUN)
    assert ledger.record(Entry.of(info(), RUN, found))
    assert ledger.has(info(), RUN)
    assert ledger.statuses(map(entry_name, (info(2), info())), RUN) == [None, "done"]
    (entry,) = open_results(ledger.path).entries()
    assert entry.image == info()
    assert tuple(stored.finding() for stored in entry.findings) == found.findings
    assert np.array_equal(open_results(ledger.path).mask("1.2.3.1"), combine_masks(found.findings, (100, 80)))


def test_what_identifies_a_result(ledger):
    ledger.record(Entry.of(info(), RUN, result()))
    assert not ledger.has(info(), OTHER_RUN)
    assert not ledger.has(info(), Run(RUN.bundle_id, "e" * 64))
    assert not ledger.has(info(content_sha256="f" * 64), RUN)
    assert ledger.has(info(study_uid="9.9"), RUN)


def test_columns_and_their_types_are_those_of_the_design(ledger):
    ledger.record(Entry.of(info(), RUN, result()))
    findings, images = ledger.findings(), ledger.images()
    assert findings.column_names == FINDINGS_COLUMNS
    assert images.column_names == IMAGES_COLUMNS
    types = {field.name: str(field.type) for table in (findings, images) for field in table.schema}
    assert types["x_min"] == types["z_max"] == types["rows"] == types["finding"] == types["n_findings"] == "int32"
    assert types["area_px"] == "int64"
    assert types["area_mm2"] == types["score"] == types["confidence"] == "double"
    assert all(types[name] == "string" for name in ("study_uid", "view", "status", "reason", "bundle_id"))


def test_empty_results_have_the_columns_too(ledger):
    assert ledger.findings().column_names == FINDINGS_COLUMNS
    assert ledger.images().column_names == IMAGES_COLUMNS
    assert ledger.images().num_rows == 0


def test_findings_rows(ledger):
    found = result()
    ledger.record(Entry.of(info(), RUN, found))
    ledger.record(Entry.of(info(2, pixel_spacing=None), RUN, result(1, boxes=((1, 2, 3, 4),))))
    rows = ledger.findings().to_pylist()
    assert [(row["sop_uid"], row["finding"]) for row in rows] == [
        ("1.2.3.1", 1),
        ("1.2.3.1", 2),
        ("1.2.3.1", 3),
        ("1.2.3.2", 1),
    ]
    for row, finding in zip(rows, found.findings, strict=False):
        assert (row["x_min"], row["y_min"], row["x_max"], row["y_max"]) == finding.box
        assert (row["score"], row["confidence"]) == (finding.score, finding.confidence)
        assert row["area_px"] == finding.mask.sum()
        assert row["area_mm2"] == pytest.approx(finding.mask.sum() * 0.02)
        assert row["z_min"] is row["z_max"] is None
        assert (row["bundle_id"], row["settings_id"]) == ("b" * 64, "c" * 64)
    assert rows[3]["area_mm2"] is None


def test_a_finding_with_an_empty_mask_stays(ledger):
    finding = Finding((3, 4, 10, 12), 0.5, 0.25, np.zeros((8, 7), bool))
    ledger.record(Entry.of(info(), RUN, ImageResult((100, 80), (finding,))))
    (row,) = ledger.findings().to_pylist()
    assert (row["area_px"], row["area_mm2"]) == (0, 0.0)
    assert not ledger.mask("1.2.3.1").any()
    assert ledger.images()["n_findings"].to_pylist() == [1]


def test_images_rows(ledger):
    ledger.record(Entry.of(info(1), RUN, result()))
    ledger.record(Entry.of(info(2), RUN, ImageResult((100, 80))))
    ledger.record(Entry.of(info(3), RUN, ImageResult((100, 80), error="read: array 0 cannot be read")))
    ledger.record(Entry(info(4), RUN, "skipped", "presentation-intent: no"))
    file = ImageInfo(None, None, None, None, None, None, None, None, "9" * 64, file_key="9" * 64)
    ledger.record(Entry(file, RUN, "skipped", "not-dicom: the file is not DICOM"))
    rows = ledger.images().to_pylist()
    assert [row["status"] for row in rows] == ["done", "done", "failed", "skipped", "skipped"]
    assert [row["n_findings"] for row in rows] == [3, 0, None, None, None]
    assert [(row["reason"] or "").partition(":")[0] for row in rows] == [
        "",
        "",
        "read",
        "presentation-intent",
        "not-dicom",
    ]
    assert rows[4]["sop_uid"] is None
    assert rows[4]["content_sha256"] == "9" * 64
    assert (rows[0]["rows"], rows[0]["cols"]) == (100, 80)


def test_rows_do_not_depend_on_the_order_of_recording(tmp_path):
    tables = []
    for name, numbers in (("one", (1, 2, 3)), ("two", (3, 1, 2))):
        ledger = Results.create_or_open(tmp_path / name, archive(tmp_path))
        for run in (RUN, OTHER_RUN):
            ledger.start(run, {})
            for number in numbers:
                ledger.record(Entry.of(info(number, study_uid=f"1.{4 - number}"), run, result(number)))
        tables.append((ledger.findings(), ledger.images()))
    assert tables[0] == tables[1]
    assert tables[0][1]["study_uid"].to_pylist() == ["1.1", "1.1", "1.2", "1.2", "1.3", "1.3"]
    assert tables[0][0]["study_uid"].to_pylist() == ["1.1"] * 6 + ["1.2"] * 6 + ["1.3"] * 6


def test_the_notice_goes_with_the_tables(ledger):
    assert ledger.findings().schema.metadata == {b"notice": b"For tests."}
    assert ledger.images().schema.metadata == {b"notice": b"For tests."}
    ledger.start(OTHER_RUN, {"notice": "Other words."})
    assert ledger.notices() == ["For tests.", "Other words."]
    assert ledger.images().schema.metadata == {b"notice": b"For tests.\nOther words."}


def test_every_set_of_versions_a_run_was_made_with_is_kept_once(ledger):
    assert ledger.runs()[0]["versions"] == []
    old, new = {"mammofast": "0.1.0", "numpy": "2.0.0"}, {"numpy": "2.1.0", "mammofast": "0.1.0"}
    for versions in (new, old, new, dict(reversed(new.items()))):
        ledger.add_versions(RUN, versions)
    ledger.start(OTHER_RUN, {})
    assert [run["versions"] for run in open_results(ledger.path).runs()] == [[old, new], []]
    assert len(list(ledger.path.glob("runs/*/*"))) == 2
    assert ledger.notices() == ["For tests."]


def test_the_same_image_gives_the_same_bytes_and_they_are_pinned(ledger, tmp_path):
    found = ImageResult((4, 3), (Finding((0, 1, 3, 3), 1.0, 0.1, np.array([[1, 0, 1], [0, 1, 1]], bool)),))
    image = info(rows=4, cols=3)
    assert Entry.of(image, RUN, found).to_bytes() == Entry.of(image, RUN, found).to_bytes()
    ledger.record(Entry.of(image, RUN, found))
    content = only_file(ledger).read_bytes()
    assert json.loads(content)["result"]["findings"] == [
        {"area_px": 4, "box": [0, 1, 3, 3], "confidence": 0.1, "mask": "AAEBAQEC", "score": 1.0}
    ]
    assert only_file(ledger).name == f"1.2.3.1-{1:064x}"[: len("1.2.3.1-") + 16] + ".json"
    assert only_file(ledger).parent.name == "b" * 16 + "-" + "c" * 16
    assert str(tmp_path) not in content.decode()


def test_recording_again_changes_nothing(ledger):
    ledger.record(Entry.of(info(), RUN, result(0)))
    path, before = only_file(ledger), only_file(ledger).read_bytes()
    before_stat = path.stat()
    assert not ledger.record(Entry.of(info(), RUN, result(1)))
    assert path.read_bytes() == before
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before_stat.st_ino, before_stat.st_mtime_ns)
    assert names_in(path.parent) == [path.name]


@pytest.mark.parametrize("damage", ["empty", "half", "one bit", "checksum", "longer", "other JSON"])
def test_a_damaged_file_does_not_count_and_is_written_anew(ledger, damage):
    ledger.record(Entry.of(info(), RUN, result()))
    path = only_file(ledger)
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    path.write_bytes(
        {
            "empty": b"",
            "half": good[: len(good) // 2],
            "one bit": bytes(flipped),
            "checksum": good.replace(good[-10:-4], b"abcdef"),
            "longer": good + b"\n",
            "other JSON": b"{}",
        }[damage]
    )
    assert not ledger.has(info(), RUN)
    (row,) = ledger.images().to_pylist()
    assert (row["sop_uid"], row["status"]) == ("1.2.3.1", "failed")
    assert row["reason"] == "read: the result is damaged; screen again"
    assert (row["bundle_id"], row["settings_id"]) == (RUN.bundle_id, RUN.settings_id)
    assert ledger.findings().num_rows == 0
    with pytest.raises(ResultsError, match="failed: read: the result is damaged"):
        ledger.mask("1.2.3.1")
    assert ledger.record(Entry.of(info(), RUN, result()))
    assert path.read_bytes() == good
    assert names_in(path.parent) == [path.name]


def test_a_damaged_row_of_a_file_stays_the_row_of_a_file(ledger):
    unread = ImageInfo.of_file(SkippedRecord("skipped", "not-dicom: no", key="5" * 64))
    ledger.record(Entry(unread, RUN, "skipped", "not-dicom: no"))
    only_file(ledger).write_bytes(b"torn")
    ((sop_uid, status),) = [(row["sop_uid"], row["status"]) for row in ledger.images().to_pylist()]
    assert (sop_uid, status) == (None, "failed")


def test_what_has_no_name_of_ours_is_no_result(ledger):
    ledger.record(Entry.of(info(), RUN, result()))
    folder = only_file(ledger).parent
    for name in ("notes.json", "1.2.3-abc.json", "file-1.json", ".hidden.json"):
        (folder / name).write_bytes(b"{}")
    assert ledger.images()["status"].to_pylist() == ["done"]


def test_every_single_flipped_bit_is_noticed():
    content = Entry.of(info(), RUN, result(boxes=((1, 2, 3, 4),))).to_bytes()
    assert is_whole(content)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        assert not is_whole(bytes(changed)), position
    for end in range(len(content)):
        assert not is_whole(content[:end]), end


def test_another_format_is_said_rather_than_guessed(ledger):
    ledger.record(Entry.of(info(), RUN, result()))
    body = json.loads(only_file(ledger).read_bytes())["result"] | {"format": 2}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    content = f'{{"result":{text},"sha256":"{digest}"}}\n'.encode()
    with pytest.raises(ValueError, match="format 2"):
        parse_entry(content)
    only_file(ledger).write_bytes(content)
    with pytest.raises(ResultsError, match="format 2"):
        ledger.images()


def test_scores_that_are_no_numbers_fail_their_image():
    for score, confidence in ((float("nan"), 0.5), (0.5, float("inf"))):
        finding = Finding((0, 0, 1, 1), score, confidence, np.ones((1, 1), bool))
        entry = Entry.of(info(), RUN, ImageResult((100, 80), (*result().findings, finding)))
        assert entry.status == "failed"
        assert entry.reason.startswith("not-finite: ")
        assert entry.findings == ()


def test_a_mask_of_another_size_than_its_box_is_refused():
    finding = Finding((0, 0, 4, 5), 0.5, 0.5, np.ones((4, 5), bool))
    with pytest.raises(ValueError, match="size of the box"):
        Entry.of(info(), RUN, ImageResult((100, 80), (finding,)))


def test_mask_asks_where_there_are_several_results(ledger):
    ledger.record(Entry.of(info(), RUN, result(0)))
    ledger.start(OTHER_RUN, {})
    ledger.record(Entry.of(info(), OTHER_RUN, result(1)))
    with pytest.raises(ResultsError) as caught:
        ledger.mask("1.2.3.1")
    assert "bundle_id " + "b" * 64 in str(caught.value)
    assert "bundle_id " + "d" * 64 in str(caught.value)
    with pytest.raises(ResultsError, match="say which"):
        ledger.mask("1.2.3.1", settings_id="c" * 64)
    for run, seed in ((RUN, 0), (OTHER_RUN, 1)):
        expected = combine_masks(result(seed).findings, (100, 80))
        assert np.array_equal(ledger.mask("1.2.3.1", bundle_id=run.bundle_id), expected)
        assert np.array_equal(ledger.mask("1.2.3.1", run.bundle_id, run.settings_id), expected)


DETECTIONS = np.array(
    [[0, 1.5, -2.25, 30, 40.125, 0.3], [4, 0, 0, 80, 100, np.float32(1 / 3)], [1, -0.0, 1e-38, 3e38, 7, 1]], np.float32
)


def test_detections_come_back_to_the_bit(ledger):
    for number, given in ((1, DETECTIONS), (2, DETECTIONS[::-1]), (3, DETECTIONS[:, ::-1].astype(">f4")[:, ::-1])):
        ledger.record(Entry.of(info(number), RUN, replace(result(), detections=given)))
        got = open_results(ledger.path).detections(f"1.2.3.{number}")
        assert (got.dtype, got.shape) == (np.float32, (3, 6))
        assert got.tobytes() == np.ascontiguousarray(given, np.float32).tobytes()
    ledger.record(Entry.of(info(4), RUN, result()))
    assert ledger.detections("1.2.3.4").shape == (0, 6)
    got[:] = 0  # the caller's own


def test_detections_are_little_endian_in_the_file(ledger):
    ledger.record(Entry.of(info(), RUN, replace(result(), detections=DETECTIONS[:1])))
    stored = json.loads(only_file(ledger).read_bytes())["result"]["detections"]
    assert base64.b64decode(stored) == struct.pack("<6f", *DETECTIONS[0])


def test_detections_are_looked_up_as_masks_are(ledger):
    ledger.start(OTHER_RUN, {})
    for run, n in ((RUN, 1), (OTHER_RUN, 2)):
        ledger.record(Entry.of(info(), run, replace(result(), detections=DETECTIONS[:n])))
    with pytest.raises(ResultsError, match="say which"):
        ledger.detections("1.2.3.1")
    assert [len(ledger.detections("1.2.3.1", run.bundle_id, run.settings_id)) for run in (RUN, OTHER_RUN)] == [1, 2]
    with pytest.raises(ResultsError, match="no result"):
        ledger.detections("1.2.3.1", settings_id="f" * 64)
    ledger.record(Entry.of(info(2), RUN, ImageResult((100, 80), error="read: gone")))
    with pytest.raises(ResultsError, match="failed: read: gone"):
        ledger.detections("1.2.3.2")


@pytest.mark.parametrize("shape", [(6,), (3, 5), (2, 3, 6)])
def test_detections_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="detections"):
        Entry.of(info(), RUN, replace(result(), detections=np.zeros(shape, np.float32)))


def test_mask_says_why_there_is_none(ledger):
    ledger.record(Entry.of(info(), RUN, ImageResult((100, 80), error="read: gone")))
    with pytest.raises(ResultsError, match="failed: read: gone"):
        ledger.mask("1.2.3.1")
    for uid, run in (("1.2.3.99", None), ("1.2.3", None), ("1.2.3.1", "f" * 64)):
        with pytest.raises(ResultsError, match="no result"):
            ledger.mask(uid, bundle_id=run)


def test_mask_sees_what_another_process_recorded_since(ledger):
    reader = open_results(ledger.path)
    ledger.record(Entry.of(info(1), RUN, ImageResult((100, 80))))
    assert reader.mask("1.2.3.1").shape == (100, 80)
    ledger.record(Entry.of(info(2), RUN, ImageResult((100, 80))))
    assert reader.mask("1.2.3.2").shape == (100, 80)


def test_the_results_of_another_archive_are_refused(ledger, tmp_path):
    with pytest.raises(ResultsError, match=r"results of archive a{32}, got archive f{32}"):
        Results.create_or_open(ledger.path, archive(tmp_path, "f" * 32))
    assert Results.create_or_open(ledger.path, archive(tmp_path)).archive_id == "a" * 32


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(ResultsError, match="not empty"):
        Results.create_or_open(tmp_path / "photos", archive(tmp_path))
    assert names_in(tmp_path / "photos") == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no results folder"),
        ("", "not JSON"),
        ("[1]", "JSON list"),
        ('{"format": 7, "archive": {}}', "format 7"),
        ('{"format": 1}', "'archive' is missing"),
    ],
)
def test_what_is_no_results_folder_is_said(tmp_path, content, words):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ResultsError, match=words):
        open_results(tmp_path)


def test_the_archive_is_found_where_it_was_or_beside_the_moved_results(tmp_path):
    home = tmp_path / "night"
    (home / "archive.zarr").mkdir(parents=True)
    Results.create_or_open(home / "results", archive(home))
    assert open_results(home / "results").archive_path == home / "archive.zarr"
    home.rename(tmp_path / "moved")
    assert open_results(tmp_path / "moved" / "results").archive_path == tmp_path / "moved" / "archive.zarr"


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "", ".", "1" * 65, None, "1.2\n"])
def test_a_uid_that_is_none_names_no_file(ledger, uid):
    with pytest.raises(ResultsError, match="sop_uid"):
        ledger.record(Entry.of(info(sop_uid=uid), RUN, result()))


@pytest.mark.parametrize("sha256", ["../" * 20, "", None, "A" * 64, "a" * 63])
def test_a_hash_that_is_none_names_no_file(ledger, sha256):
    with pytest.raises(ResultsError, match="content_sha256"):
        ledger.record(Entry.of(info(content_sha256=sha256), RUN, result()))


def test_files_that_could_not_be_read_have_a_row_of_their_own(ledger):
    """Members of a damaged zip: nothing is known of any, and still they are several."""
    for key in ("5" * 64, "6" * 64, "7" * 64):
        unread = ImageInfo.of_file(SkippedRecord("failed", "read: gone", key=key))
        assert not unread.is_image
        assert ledger.record(Entry(unread, RUN, "failed", "read: gone"))
        assert ledger.has(unread, RUN)
    assert ledger.images()["sop_uid"].to_pylist() == [None] * 3
    assert ledger.images()["content_sha256"].to_pylist() == [None] * 3


@pytest.mark.parametrize("key", ["../" * 20, "", "A" * 64])
def test_a_key_that_is_none_names_no_file(ledger, key):
    unread = ImageInfo.of_file(SkippedRecord("failed", "read: gone", key=key))
    with pytest.raises(ResultsError, match="file_key"):
        ledger.record(Entry(unread, RUN, "failed", "read: gone"))


@pytest.fixture
def spawn(monkeypatch):
    """Start processes that find this module; last on the path, so that they take the installed package, as we do."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])
    return multiprocessing.get_context("spawn")


def _record_many(path, tmp_path, barrier, wins):
    ledger = Results.create_or_open(path, archive(tmp_path))
    barrier.wait()
    wins.put(sum(ledger.record(Entry.of(info(n), RUN, result(n))) for n in range(40)))


def test_two_runs_at_once_record_every_image_once(ledger, tmp_path, spawn):
    barrier, wins = spawn.Barrier(3), spawn.Queue()
    runs = [spawn.Process(target=_record_many, args=(ledger.path, tmp_path, barrier, wins)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert sum(wins.get() for _ in runs) == 40
    assert ledger.images().num_rows == 40
    assert len(list(ledger.path.glob("images/*/.*"))) == 0


def _record_for_ever(path, tmp_path):
    ledger = Results.create_or_open(path, archive(tmp_path))
    for n in range(10**6):
        ledger.record(Entry.of(info(n), RUN, result(n % 7)))


def test_a_kill_at_any_instant_leaves_only_whole_results(ledger, tmp_path, spawn):
    for _ in range(4):
        before = len(list(ledger.entries()))
        writer = spawn.Process(target=_record_for_ever, args=(ledger.path, tmp_path))
        writer.start()
        while len(list(ledger.path.glob("images/*/[!.]*"))) < before + 5:
            assert writer.is_alive()
            time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        names = sorted(ledger.path.glob("images/*/[!.]*"))
        assert len(list(ledger.entries())) == len(names) > before
        for path in names:
            assert parse_entry(path.read_bytes()).status == "done"


def test_what_killed_writers_left_is_swept_away_later(ledger):
    folder = ledger.path / "images" / ("b" * 16 + "-" + "c" * 16)
    for name, age in ((".old.tmp", 7200), (".new.tmp", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    ledger.start(RUN, {})
    assert names_in(folder) == [".new.tmp"]


def test_a_full_disk_is_said_and_leaves_nothing(ledger, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left"):
        ledger.record(Entry.of(info(), RUN, result()))
    monkeypatch.undo()
    assert list(ledger.path.glob("images/*/*")) == []
    assert ledger.record(Entry.of(info(), RUN, result()))


def test_a_result_is_on_disk_before_it_has_its_name(ledger, monkeypatch):
    steps = []
    real = {name: getattr(os, name) for name in ("fsync", "link")}
    monkeypatch.setattr(
        files.os, "fsync", lambda fd: (steps.append(("sync", stat.S_ISDIR(os.fstat(fd).st_mode))), real["fsync"](fd))
    )
    monkeypatch.setattr(files.os, "link", lambda a, b: (steps.append(("link",)), real["link"](a, b)))
    ledger.record(Entry.of(info(), RUN, result()))
    assert steps == [("sync", False), ("link",), ("sync", True)]
