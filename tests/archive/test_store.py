import json
import pickle
import re
import shutil

import numpy as np
import pytest
import zarr

from mammofast import ops
from mammofast.archive import ArchiveImage, ImageRecord, ingest, layout, open_archive
from mammofast.archive.ingest import IngestReport
from mammofast.errors import ArchiveError, BrokenImage, Reason
from mammofast.records import GreyPipeline, level_shape


@pytest.fixture(scope="module")
def stored(tmp_path_factory, dicom):
    """An archive of one image of several chunks, whose levels 1 to 3 are stored."""
    folder = tmp_path_factory.mktemp("store")
    pixels = dicom.pixels(2055, 1300, bits=14, seed=5)
    ds = dicom.write(folder / "in" / "a.dcm", pixels, syntax=dicom.lossless["HTJ2K lossless"], bits_stored=14)
    ingest([folder / "in"], folder / "a.zarr")
    (image,) = open_archive(folder / "a.zarr").images()
    return image, pixels, ds


def pooled(pixels, level):
    """Brute force: exact sums over squares, partial ones too, rounded half up."""
    size = 1 << level
    rows, cols = level_shape(pixels.shape, level)
    out = np.empty((rows, cols), pixels.dtype)
    for r in range(rows):
        for c in range(cols):
            square = pixels[r * size : (r + 1) * size, c * size : (c + 1) * size].astype(np.int64)
            out[r, c] = (2 * square.sum() + square.size) // (2 * square.size)
    return out


def test_what_zarr_reads_is_what_we_read(stored):
    image, pixels, _ = stored
    group = zarr.open_group(image.folder, mode="r")
    assert sorted(group.array_keys()) == ["0", "1", "2", "3", "header"]
    np.testing.assert_array_equal(group["0"][:], pixels)
    np.testing.assert_array_equal(image.read(), pixels)
    for level in (1, 2, 3):
        np.testing.assert_array_equal(image.read(level), group[str(level)][:])
    assert group["0"].chunks == (512, 512)
    assert group["0"].shards == (2560, 1536)
    assert dict(group.attrs)["mammofast"] == image.record.as_dict()
    assert group["header"][:].tobytes()[128:132] == b"DICM"


def test_every_level_stored_or_not_is_the_mean(stored):
    image, pixels, _ = stored
    assert image.record.levels == (0, 1, 2, 3)
    for level in (2, 3, 4, 5, 12):
        np.testing.assert_array_equal(image.read(level), pooled(pixels, level))


def test_windows_of_every_level(stored):
    image, _, _ = stored
    rng = np.random.default_rng(0)
    for level in (0, 1, 3, 4, 6):
        whole = image.read(level)
        rows, cols = whole.shape
        for _ in range(25):
            x, y = np.sort(rng.integers(0, cols + 1, 2)), np.sort(rng.integers(0, rows + 1, 2))
            window = (int(x[0]), int(y[0]), int(x[1]), int(y[1]))
            np.testing.assert_array_equal(image.read(level, window), whole[y[0] : y[1], x[0] : x[1]])


def test_empty_windows_are_empty_arrays(stored):
    image, pixels, _ = stored
    for level in (0, 2, 4, 6, 15):
        rows, cols = level_shape(image.shape, level)
        for x_min, y_min, x_max, y_max in (
            (cols, rows, cols, rows), (cols, 0, cols, rows), (0, rows, cols, rows), (0, 0, 0, 0), (0, 0, 0, rows),
        ):  # fmt: skip
            got = image.read(level, (x_min, y_min, x_max, y_max))
            assert (got.shape, got.dtype) == ((y_max - y_min, x_max - x_min), pixels.dtype)


def test_numpy_integers_are_integers(stored):
    image, pixels, _ = stored
    edges = (np.uint16(1), np.int8(2), np.uint16(81), np.int64(129))
    np.testing.assert_array_equal(image.read(np.uint8(0), edges), pixels[2:129, 1:81])
    np.testing.assert_array_equal(image.read(np.int64(4), edges), image.read(4)[2:129, 1:81])


@pytest.mark.parametrize("window", [(0.0, 0, 5, 5), (0, 0, 5, 5.0), (0, 0, 5), (0, 0, 5, 5, 5), "0055", 5])
def test_windows_that_are_not_four_integers_are_refused(stored, window):
    for level in (0, 5):
        with pytest.raises(ValueError, match="window"):
            stored[0].read(level, window)


@pytest.mark.parametrize(
    "window", [(-1, 0, 5, 5), (0, 0, 1301, 5), (0, -3, 5, 5), (0, 0, 5, 2056), (9, 0, 5, 5), (0, 9, 5, 5)]
)
def test_windows_outside_are_refused(stored, window):
    with pytest.raises(ValueError, match="window"):
        stored[0].read(0, window)


@pytest.mark.parametrize("level", [-1, 16, 10**9, 1.0, 0.5, "1", None, float("nan")])
def test_levels_that_are_none_are_refused(stored, level):
    for window in (None, (0, 0, 0, 0), (0, 0, 1, 1)):
        with pytest.raises(ValueError, match="level"):
            stored[0].read(level, window)


def test_only_the_chunks_a_window_touches_are_read(stored, tmp_path):
    """Every other chunk of the shard is overwritten; the window's still comes out, with its checksum."""
    image, pixels, _ = stored
    shard = (image.folder / "0" / "c" / "0" / "0").read_bytes()
    index = np.frombuffer(shard[-(5 * 3 * 16 + 4) : -4], "<u8").reshape(5, 3, 2)
    damaged = bytearray(shard)
    for r in range(5):
        for c in range(3):
            start, size = (int(v) for v in index[r, c])
            if (r, c) != (1, 1) and start != 2**64 - 1:
                damaged[start : start + size] = bytes(size)
    copy = tmp_path / "0"
    (copy / "c" / "0").mkdir(parents=True)
    (copy / "zarr.json").write_bytes((image.folder / "0" / "zarr.json").read_bytes())
    (copy / "c" / "0" / "0").write_bytes(damaged)
    np.testing.assert_array_equal(layout.read(copy, (512, 512, 1024, 1024)), pixels[512:1024, 512:1024])
    with pytest.raises(ValueError):
        layout.read(copy, (500, 512, 1024, 1024))


def copied(image, archive):
    copy = ArchiveImage(archive, image.record)
    shutil.copytree(image.folder, copy.folder)
    return copy


def test_flipped_bits_are_never_pixels(stored, tmp_path):
    """Wherever one bit of a shard flips, what is in that chunk is refused, and so is all where it is the index."""
    image, pixels, _ = stored
    copy = copied(image, tmp_path)
    rng = np.random.default_rng(8)
    for level in (0, 3):
        path = copy.folder / str(level) / "c" / "0" / "0"
        sound = path.read_bytes()
        for at in rng.integers(0, len(sound), 150):
            damaged = bytearray(sound)
            damaged[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(BrokenImage) as caught:
                copy.read(level)
            assert caught.value.reason == Reason.READ
        path.write_bytes(sound)
    # The same of windows: the flipped chunk's are refused, the others' are what they were.
    path = copy.folder / "0" / "c" / "0" / "0"
    damaged = bytearray(path.read_bytes())
    index = np.frombuffer(damaged[-(5 * 3 * 16 + 4) : -4], "<u8").reshape(5, 3, 2)
    damaged[int(index[1, 1].sum()) - 20] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(BrokenImage):
        copy.read(0, (1000, 1000, 1030, 1030))
    np.testing.assert_array_equal(copy.read(0, (0, 0, 512, 2055)), pixels[:, :512])


@pytest.mark.parametrize("name", ["0", "1", "3", "header"])
def test_a_lost_shard_is_not_background(stored, tmp_path, name):
    copy = copied(stored[0], tmp_path)
    shard = next(path for path in (copy.folder / name / "c").rglob("*") if path.is_file())
    for damage in (shard.unlink, lambda: shard.write_bytes(b""), lambda: shutil.rmtree(copy.folder / name / "c")):
        damage()
        with pytest.raises(BrokenImage) as caught:
            copy.header if name == "header" else copy.read(int(name), (0, 0, 9, 9))
        assert caught.value.reason == Reason.READ
    if name == "0":
        with pytest.raises(BrokenImage):
            copy.read(4)


def test_levels_of_nothing_but_background_have_their_shard(tmp_path, dicom):
    pixels = np.full((600, 500), 7, np.uint16)
    pixels[300, 200] = 8
    dicom.write(tmp_path / "in" / "a", pixels)
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    (image,) = open_archive(tmp_path / "a.zarr").images()
    assert image.record.levels == (0, 1)
    assert (image.read(1) == 7).all()
    assert (zarr.open_array(image.folder / "1", mode="r")[:] == 7).all()
    (image.folder / "1" / "c" / "0" / "0").unlink()
    with pytest.raises(BrokenImage):
        image.read(1)


@pytest.mark.parametrize("was, now", [("2055", "2054"), ('"uint16"', '"int16"'), ('"fill_value":0', '"fill_value":16')])
def test_an_array_that_says_otherwise_than_the_record_is_damaged(stored, tmp_path, was, now):
    copy = copied(stored[0], tmp_path)
    text = (copy.folder / "0" / "zarr.json").read_text()
    assert was in text
    (copy.folder / "0" / "zarr.json").write_text(text.replace(was, now))
    for level in (0, 5):
        with pytest.raises(BrokenImage) as caught:
            copy.read(level)
        assert caught.value.reason == Reason.READ


def test_chunks_of_nothing_but_background_are_unwritten(stored):
    image, pixels, _ = stored
    assert image.record.background == 0
    shard = (image.folder / "0" / "c" / "0" / "0").read_bytes()
    index = np.frombuffer(shard[-(5 * 3 * 16 + 4) : -4], "<u8").reshape(5, 3, 2)
    for r in range(5):
        for c in range(3):
            empty = not pixels[512 * r : 512 * (r + 1), 512 * c : 512 * (c + 1)].any()
            assert (index[r, c, 0] == 2**64 - 1) == empty
    assert (index[..., 0] == 2**64 - 1).sum() >= 4


@pytest.mark.parametrize(
    "photometric, signed, background", [("MONOCHROME1", False, 4095), ("MONOCHROME2", True, -2048)]
)
def test_background_of_inverted_and_signed_images(tmp_path, dicom, photometric, signed, background):
    pixels = dicom.pixels(700, 1200, signed=signed)
    if photometric == "MONOCHROME1":
        pixels = 4095 - pixels
    dicom.write(tmp_path / "in" / "a", pixels, PhotometricInterpretation=photometric)
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    (image,) = open_archive(tmp_path / "a.zarr").images()
    assert image.record.background == background
    assert image.record.dtype == pixels.dtype.name
    array = zarr.open_array(image.folder / "0", mode="r")
    assert array.fill_value == background
    np.testing.assert_array_equal(array[:], pixels)
    np.testing.assert_array_equal(image.read(), pixels)
    np.testing.assert_array_equal(image.read(1), pooled(pixels, 1))


@pytest.mark.parametrize("shape, levels", [
    ((4096, 3328), (1, 2, 3)), ((3328, 4096), (1, 2, 3)), ((2048, 100), (1, 2)), ((2049, 100), (1, 2, 3)),
    ((512, 512), ()), ((513, 1), (1,)), ((1, 1), ()), ((9000, 9000), (3, 4, 5)),
])  # fmt: skip
def test_which_levels_are_stored(shape, levels):
    assert layout.coarse_levels(*shape) == levels


def test_record_header_and_grey_table(stored):
    image, _, ds = stored
    assert image.header.PatientName == "SECRET^NAME"
    assert image.header.SOPInstanceUID == ds.SOPInstanceUID == image.record.sop_uid
    assert "PixelData" not in image.header
    assert image.shape == (2055, 1300)
    assert image.pixel_spacing == (0.07, 0.08)
    table = image.grey_table(GreyPipeline())
    assert (table.first, len(table.values)) == (0, 1 << 14)
    again = pickle.loads(pickle.dumps(image))
    assert again == image
    assert ImageRecord.from_dict(json.loads(json.dumps(image.record.as_dict()))) == image.record


def test_content_hash_is_what_its_docstring_says():
    import hashlib

    pixels = np.arange(6, dtype=np.int16).reshape(2, 3) - 3
    line = b"mammofast-content-1 int16 2 3 12 MONOCHROME1\n"
    expected = hashlib.sha256(line + pixels.astype("<i2").tobytes()).hexdigest()
    assert layout.content_sha256(pixels, 12, "MONOCHROME1") == expected
    assert layout.content_sha256(pixels.astype(">i2"), 12, "MONOCHROME1") == expected
    assert layout.content_sha256(np.asfortranarray(pixels), 12, "MONOCHROME1") == expected
    others = [(pixels.reshape(3, 2), 12, "MONOCHROME1"), (pixels, 13, "MONOCHROME1"), (pixels, 12, "MONOCHROME2"),
              (pixels.view(np.uint16), 12, "MONOCHROME1"), (pixels + np.int16(1), 12, "MONOCHROME1")]  # fmt: skip
    assert len({expected, *(layout.content_sha256(*other) for other in others)}) == 6


def test_archives_that_are_none(tmp_path):
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(ArchiveError, match="no archive"):
            open_archive(path)
    zarr.create_group(tmp_path / "other")
    with pytest.raises(ArchiveError):
        open_archive(tmp_path / "other")
    layout.write_group(tmp_path / "new", {"format": 2, "archive_id": "a"})
    with pytest.raises(ArchiveError, match="format 2"):
        open_archive(tmp_path / "new")
    (tmp_path / "new" / "zarr.json").write_text("{")
    with pytest.raises(ArchiveError, match="damaged"):
        open_archive(tmp_path / "new")


def test_asking_for_an_image_that_is_not_there(stored):
    archive = open_archive(stored[0].folder.parents[2])
    record = stored[0].record
    assert archive.image(record.study_uid, record.sop_uid) == stored[0]
    with pytest.raises(ArchiveError, match=r"no image 1\.2"):
        archive.image(record.study_uid, "1.2")


def test_unreadable_pixels_are_this_images_error(stored, tmp_path):
    image = ArchiveImage(tmp_path, stored[0].record)
    with pytest.raises(BrokenImage) as caught:
        image.read()
    assert caught.value.reason == Reason.READ
    assert str(tmp_path) not in str(caught.value)


def test_pool_is_what_the_levels_promise(dicom):
    pixels = dicom.pixels(37, 53, signed=True)
    for level, got in zip((1, 2, 5), ops.pool(pixels, (1, 2, 5)), strict=True):
        np.testing.assert_array_equal(got, pooled(pixels, level))


@pytest.fixture
def three(tmp_path, dicom):
    """An archive of three images and two files that are none, and where it came from."""
    for number in range(3):
        dicom.write(tmp_path / "in" / str(number), dicom.pixels(seed=number))
    dicom.write(tmp_path / "in" / "tomo", SOPClassUID=dicom.tomosynthesis)
    (tmp_path / "in" / "note").write_text("no DICOM")
    ingest(tmp_path / "in", tmp_path / "a.zarr")
    return tmp_path / "a.zarr", tmp_path / "in"


DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "no text": lambda _: "\udcff",
    "a list": lambda _: "[]",
    "no attribute": lambda text: text.replace('"mammofast"', '"mammofasu"'),
    "no field": lambda text: text.replace('"sop_uid"', '"sop_vid"'),
    "a number of text": lambda text: re.sub(r'"rows": \d+', '"rows": "x"', text),
    "text of a number": lambda text: re.sub(r'"(photometric|status)": "\w+"', r'"\1": 5', text),
    "another image": lambda text: re.sub(r'"sop_uid": "[\d.]+"', '"sop_uid": "1.2.3"', text),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_one_images(three, damage):
    path, source = three
    archive = open_archive(path)
    lost, *others = archive.images()
    record = lost.folder / "zarr.json"
    sound = record.read_bytes()
    record.write_bytes(DAMAGE[damage](sound.decode()).encode("utf-8", "surrogateescape"))
    assert list(archive.images()) == others
    assert len(archive.studies()) == 2
    found = [skipped for skipped in archive.skipped() if skipped.sop_uid == lost.record.sop_uid]
    (failed,) = found
    assert (failed.status, failed.study_uid) == ("failed", lost.record.study_uid)
    assert failed.reason.startswith("read: ")
    assert len(failed.key) == 64
    assert len({skipped.key for skipped in archive.skipped()}) == 3
    # What the damaged record stands for is left alone: it may be the only copy.
    before = record.read_bytes()
    for _ in range(2):
        assert ingest(source, path) == IngestReport(known=2, skipped=2, failed=1)
        assert record.read_bytes() == before
        assert len(list(archive.skipped())) == 3
    shutil.rmtree(lost.folder)
    assert ingest(source, path) == IngestReport(added=1, known=2, skipped=2)
    assert record.read_bytes() == sound
    assert len(list(archive.skipped())) == 2


def test_a_record_that_is_gone_is_damage_and_a_folder_that_is_gone_is_not(three, monkeypatch):
    archive = open_archive(three[0])
    lost, gone, kept = archive.images()
    (lost.folder / "zarr.json").unlink()
    read_group = layout.read_group

    def removed_meanwhile(folder):
        if folder == gone.folder:
            shutil.rmtree(folder, ignore_errors=True)
        return read_group(folder)

    monkeypatch.setattr(layout, "read_group", removed_meanwhile)
    assert list(archive.images()) == [kept]
    assert [r.sop_uid for r in archive.skipped() if r.status == "failed"] == [lost.record.sop_uid]


@pytest.mark.parametrize("damage", ["cut", "empty", "a list", "no attribute", "no field", "text of a number"])
def test_a_damaged_record_of_a_file_not_kept_is_one_files(three, damage):
    path, source = three
    archive = open_archive(path)
    whole = list(archive.skipped())
    record = path / "skipped" / whole[0].key / "zarr.json"
    sound = record.read_bytes()
    record.write_text(DAMAGE[damage](sound.decode()))
    damaged, other = archive.skipped()
    assert other == whole[1]
    assert (damaged.status, damaged.key) == ("failed", whole[0].key)
    assert damaged.reason.startswith("read: ")
    assert ingest(source, path) == IngestReport(known=3, skipped=2)  # which reads the file again
    assert record.read_bytes() == sound


def test_records_of_files_may_be_removed_while_they_are_read(three):
    archive = open_archive(three[0])
    records = archive.skipped()
    next(records)
    shutil.rmtree(three[0] / "skipped")
    assert list(records) == []


def test_folders_of_other_software_are_passed_over(three):
    path, source = three
    before = list(open_archive(path).skipped())
    for folder in ("images", "skipped", next((path / "images").glob("1.*")).relative_to(path)):
        (path / folder / "@eaDir").mkdir()
    assert list(open_archive(path).skipped()) == before
    assert ingest(source, path) == IngestReport(known=3, skipped=2)
