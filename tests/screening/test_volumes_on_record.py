"""Volumes in the ledger and in its tables."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mammofast import open_results
from mammofast.errors import ResultsError
from mammofast.records import Finding, ImageResult, VolumeFinding, VolumeResult
from mammofast.screening import Results
from mammofast.screening.entry import Entry, ImageInfo, Run, parse_entry
from mammofast.screening.stored_finding import StoredFinding

RUN = Run("b" * 64, "c" * 64)
SHAPE = (5, 12, 9)
FINDINGS = (VolumeFinding((1, 2, 5, 7), 1, 4, 0.75, 0.75), VolumeFinding((0, 0, 9, 12), 0, 5, 0.5, 0.5))
# Rows to the back and the feet, columns to the head and the back.
ORIENTATION = (0.0, 0.8, -0.6, 0.0, 0.6, 0.8)
POSITIONS = tuple((7.0 + 2.0 * z, -3.0, 11.0) for z in range(5))
VOLUME = ImageInfo(
    *("1.2", "1.2.9", "1.2.3.1", None, None, 12, 9, (0.5, 0.25), "1" * 64),
    slices=5,
    slice_spacing=2.0,
    orientation=ORIENTATION,
    positions=POSITIONS,
)
IMAGE = ImageInfo("1.2", "1.2.9", "1.2.3.2", "L", "CC", 12, 9, (0.1, 0.1), "2" * 64)


@pytest.fixture
def ledger(tmp_path):
    archive = SimpleNamespace(archive_id="a" * 32, path=tmp_path / "archive.zarr")
    results = Results.create_or_open(tmp_path / "results", archive)
    results.start(RUN, {"name": "test"})
    return results


def region(seed=0):
    return np.random.default_rng(seed).random(SHAPE) < 0.6


def test_what_is_recorded_comes_back(ledger):
    ledger.record(Entry.of(VOLUME, RUN, VolumeResult(SHAPE, FINDINGS, region=region())))
    (entry,) = open_results(ledger.path).entries()
    assert entry.image == VOLUME
    assert entry.image.is_volume
    assert tuple(stored.volume_finding() for stored in entry.findings) == FINDINGS
    assert np.array_equal(entry.region_mask(), region())
    opened = open_results(ledger.path)
    assert np.array_equal(opened.region("1.2.3.1"), region())
    assert opened.spacing("1.2.3.1") == (2.0, 0.5, 0.25)
    expected = np.zeros(SHAPE, bool)
    for z, y, x in np.argwhere(region()):
        expected[z, y, x] = any(
            f.z_min <= z < f.z_max and f.box[1] <= y < f.box[3] and f.box[0] <= x < f.box[2] for f in FINDINGS
        )
    assert np.array_equal(opened.mask("1.2.3.1"), expected)


def test_rows_of_volumes_and_images_stand_in_the_same_tables(ledger):
    ledger.record(Entry.of(VOLUME, RUN, VolumeResult(SHAPE, FINDINGS, region=region())))
    one = Finding((1, 1, 3, 3), 1.0, 0.5, np.ones((2, 2), bool))
    ledger.record(Entry.of(IMAGE, RUN, ImageResult((12, 9), (one,))))
    first, second, of_image = ledger.findings().to_pylist()
    assert (first["x_min"], first["y_min"], first["x_max"], first["y_max"]) == FINDINGS[0].box
    assert [(row["z_min"], row["z_max"]) for row in (first, second, of_image)] == [(1, 4), (0, 5), (None, None)]
    assert [(row["area_px"], row["area_mm2"]) for row in (first, second)] == [(None, None)] * 2
    assert (of_image["area_px"], of_image["area_mm2"]) == (4, pytest.approx(0.04))
    assert (first["score"], first["confidence"]) == (0.75, 0.75)
    rows = ledger.images().to_pylist()
    assert [(row["rows"], row["cols"], row["n_findings"], row["status"]) for row in rows] == [
        (12, 9, 2, "done"),
        (12, 9, 1, "done"),
    ]
    assert [row["slices"] for row in rows] == [5, None]
    counted = [(row["slice_first"], row["slice_last"]) for row in (first, second, of_image)]
    assert counted == [(2, 4), (1, 5), (None, None)]


def test_sides_and_centres_are_those_of_the_voxels_in_the_patient(ledger):
    """A box's centre is the mean of where its voxels' centres are, its sides are what its outer voxels reach."""
    ledger.record(Entry.of(VOLUME, RUN, VolumeResult(SHAPE, FINDINGS, region=region())))
    along_row, along_column = np.reshape(ORIENTATION, (2, 3))
    for row, finding in zip(ledger.findings().to_pylist(), FINDINGS, strict=True):
        x_min, y_min, x_max, y_max = finding.box
        voxels = np.array(
            [
                np.array(POSITIONS[z]) + x * 0.25 * along_row + y * 0.5 * along_column
                for z in range(finding.z_min, finding.z_max)
                for y in range(y_min, y_max)
                for x in range(x_min, x_max)
            ]
        )
        center = [row[f"center_{axis}_mm"] for axis in "xyz"]
        np.testing.assert_allclose(center, voxels.mean(axis=0))
        sides = [np.ptp(voxels @ along) for along in (along_row, along_column, np.cross(along_row, along_column))]
        expected = [side + step for side, step in zip(sides, (0.25, 0.5, 2.0), strict=True)]
        np.testing.assert_allclose([row["width_mm"], row["length_mm"], row["depth_mm"]], expected)


def test_what_is_not_known_in_mm_is_null(ledger):
    """As in results that were written before positions were kept in them."""
    old = replace(VOLUME, orientation=None, positions=None)
    ledger.record(Entry.of(old, RUN, VolumeResult(SHAPE, FINDINGS[:1], region=region())))
    ledger.record(
        Entry.of(
            replace(VOLUME, sop_uid="1.2.3.9", slice_spacing=None),
            RUN,
            VolumeResult(SHAPE, FINDINGS[:1], region=region()),
        )
    )
    ledger.record(Entry.of(IMAGE, RUN, ImageResult((12, 9), (Finding((1, 1, 3, 3), 1.0, 0.5, np.ones((2, 2), bool)),))))
    in_mm = [[row[name] for name in ("width_mm", "center_x_mm")] for row in ledger.findings().to_pylist()]
    assert in_mm == [[1.0, None], [None, None], [None, None]]


def test_an_image_s_bytes_have_nothing_of_volumes():
    content = Entry.of(IMAGE, RUN, ImageResult((12, 9))).to_bytes()
    assert not any(word in content for word in (b"slice", b"region", b'"z"', b"position", b"orientation"))
    entry = parse_entry(content)
    assert (entry.image.slices, entry.region_mask(), entry.image.is_volume) == (None, None, False)


def test_the_same_volume_gives_the_same_bytes():
    result = VolumeResult(SHAPE, FINDINGS, region=region())
    content = Entry.of(VOLUME, RUN, result).to_bytes()
    assert Entry.of(VOLUME, RUN, result).to_bytes() == content
    assert parse_entry(content).to_bytes() == content
    assert Entry.of(VOLUME, RUN, replace(result, region=region(1))).to_bytes() != content


@pytest.mark.parametrize("slices", [0, 3])
def test_an_empty_region_and_no_findings(ledger, slices):
    shape = (slices, 12, 9)
    result = VolumeResult(shape, (), region=np.zeros(shape, bool))
    ledger.record(Entry.of(replace(VOLUME, slices=slices), RUN, result))
    assert open_results(ledger.path).mask("1.2.3.1").shape == shape
    assert not open_results(ledger.path).region("1.2.3.1").any()
    assert ledger.images().to_pylist()[0]["n_findings"] == 0


def test_a_region_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"region: got shape \(4, 12, 9\), expected the volume's \(5, 12, 9\)"):
        Entry.of(VOLUME, RUN, VolumeResult(SHAPE, (), region=np.zeros((4, 12, 9), bool)))


def test_a_failed_volume_and_an_image_have_no_region(ledger):
    ledger.record(Entry.of(VOLUME, RUN, VolumeResult(SHAPE, error="read: gone")))
    ledger.record(Entry.of(IMAGE, RUN, ImageResult((12, 9))))
    opened = open_results(ledger.path)
    assert opened.images().to_pylist()[0]["reason"] == "read: gone"
    with pytest.raises(ResultsError, match="was not screened, it is failed: read: gone"):
        opened.region("1.2.3.1")
    with pytest.raises(ResultsError, match="is an image, expected a volume"):
        opened.region("1.2.3.2")
    assert opened.spacing("1.2.3.2") is None


def test_scores_that_are_no_numbers_fail_the_volume():
    bad = replace(FINDINGS[0], score=float("nan"))
    entry = Entry.of(VOLUME, RUN, VolumeResult(SHAPE, (bad,), region=region()))
    assert (entry.status, entry.reason) == ("failed", "not-finite: a finding's score is NaN or infinity")


def test_a_finding_knows_what_it_is_of():
    of_image = StoredFinding.of(Finding((1, 1, 3, 3), 1.0, 0.5, np.ones((2, 2), bool)))
    with pytest.raises(ValueError, match="z: got none"):
        of_image.volume_finding()
    with pytest.raises(ValueError, match="runs do not add up"):
        StoredFinding.of(FINDINGS[0]).finding()


def test_what_the_archive_says_of_a_volume_is_taken_over():
    record = SimpleNamespace(
        study_uid="1.2", series_uid="1.2.9", sop_uid="1.2.3.1", laterality=None, view=None, rows=12, cols=9,
        pixel_spacing=(0.5, 0.25), content_sha256="1" * 64, slices=5, spacing=(2.0, 0.5, 0.25),
        image_orientation=ORIENTATION, positions=POSITIONS,
    )  # fmt: skip
    assert ImageInfo.of(record) == VOLUME


def test_a_damaged_result_does_not_hide_that_results_are_of_volumes(ledger):
    from mammofast.cli.evaluate_volumes import of_volumes

    for info in (replace(VOLUME, sop_uid="1.2.3.0"), VOLUME):
        ledger.record(Entry.of(info, RUN, VolumeResult(SHAPE, FINDINGS, region=region())))
    assert of_volumes(ledger.path, None, None)
    first = min((ledger.path / "images").glob("*/1.2.3.0-*.json"))
    first.write_bytes(first.read_bytes()[:-9])
    assert of_volumes(ledger.path, None, None)
    assert not of_volumes(ledger.path, "d" * 64, None)
