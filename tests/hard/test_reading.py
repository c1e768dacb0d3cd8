"""What screening reads of an archive: of the native pixels, nothing but the chunks that candidates touch."""

import shutil

import numpy as np
import pytest

from mammofast import open_archive, open_bundle, open_results
from mammofast.archive.layout import CHUNK
from mammofast.errors import BrokenImage, Reason
from tests.hard.shell import contents, mammofast

SHAPE = (2300, 1700)
GRID = (5, 4)
# Inside one chunk, on a corner of four, in a corner of the image; and an image of nothing.
CENTRES = [[(256, 770)], [(1024, 1024), (1600, 2200)], [(110, 150)], []]


@pytest.fixture(scope="module")
def large(tmp_path_factory, images):
    """An archive of four images of 5 x 4 chunks each."""
    folder = tmp_path_factory.mktemp("large")
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    for number, centres in enumerate(CENTRES):
        rng = np.random.default_rng(number)
        pixels = rng.integers(200, 900, SHAPE)
        for x_centre, y_centre in centres:
            inside = ((x - x_centre) / 100) ** 2 + ((y - y_centre) / 140) ** 2 <= 1
            pixels[inside] = 3900 + rng.integers(0, 100, int(inside.sum()))
        images.write_dicom(folder / "dicom" / f"{number}.dcm", pixels.astype(np.uint16), "1.2.1", f"1.2.1.{number}")
    assert mammofast("ingest", folder / "dicom", folder / "archive.zarr").returncode == 0
    return folder / "archive.zarr"


def chunks(boxes):
    """Return which chunks of the native image some boxes touch."""
    touched = np.zeros(GRID, bool)
    for x_min, y_min, x_max, y_max in boxes:
        touched[y_min // CHUNK : -(-y_max // CHUNK), x_min // CHUNK : -(-x_max // CHUNK)] = True
    return touched


def wipe(image, which):
    """Overwrite chunks of the native image, which their checksums tell; the shard's index stays as it is."""
    path = image.folder / "0" / "c" / "0" / "0"
    shard = bytearray(path.read_bytes())
    index = np.frombuffer(bytes(shard[-(16 * which.size + 4) : -4]), "<u8").reshape(*GRID, 2)
    for start, size in index[which]:
        assert start != 2**64 - 1, "every chunk of these images is written"
        shard[int(start) : int(start + size)] = bytes(int(size))
    path.write_bytes(shard)


def screened(archive, results, bundle):
    done = mammofast("screen", archive, results, "--bundle", bundle, "--workers", 1)
    opened = open_results(results)
    boxes = {row["sop_uid"]: [] for row in opened.images().to_pylist()}
    for row in opened.findings().to_pylist():
        boxes[row["sop_uid"]].append(tuple(row[name] for name in ("x_min", "y_min", "x_max", "y_max")))
    return done, boxes, {row["sop_uid"]: row["reason"] for row in opened.images().to_pylist()}


def test_no_native_chunk_is_read_that_no_candidate_touches(tmp_path, large, bundle):
    done, boxes, _ = screened(large, tmp_path / "whole", bundle)
    assert done.returncode == 0, done.stderr
    # This bundle's candidates are its findings' boxes: no margin, boxes as fused.
    touched = {sop_uid: chunks(found) for sop_uid, found in boxes.items()}
    counts = [int(touched[f"1.2.1.{number}"].sum()) for number in range(len(CENTRES))]
    assert counts[3] == 0 < counts[0] < counts[1] < touched["1.2.1.1"].size
    assert counts[2] > 0

    untouched = shutil.copytree(large, tmp_path / "untouched.zarr")
    for image in open_archive(untouched).images():
        wipe(image, ~touched[image.record.sop_uid])
    done, _, reasons = screened(untouched, tmp_path / "again", bundle)
    assert done.returncode == 0, reasons
    assert contents(tmp_path / "again" / "images") == contents(tmp_path / "whole" / "images")


def test_each_chunk_that_a_candidate_touches_is_read(tmp_path, large, bundle):
    """The other way round, without which the test before could be wiping the wrong places."""
    with open_bundle(bundle) as screener:
        found = screener.screen(open_archive(large).image("1.2.1", "1.2.1.1")).findings
        for number, place in enumerate(np.argwhere(chunks(finding.box for finding in found))):
            image = open_archive(shutil.copytree(large, tmp_path / f"{number}.zarr")).image("1.2.1", "1.2.1.1")
            one = np.zeros(GRID, bool)
            one[tuple(place)] = True
            wipe(image, one)
            with pytest.raises(BrokenImage) as caught:
                screener.screen(image)
            assert caught.value.reason == Reason.READ
