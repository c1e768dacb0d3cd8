"""MR objects into volumes: what is there is read as it was written, and what makes no volume says why."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner

from mammofast.archive import ArchiveVolume, ingest, open_archive
from mammofast.archive.verify import verify
from mammofast.cli import main
from mammofast.cli.screen import what_there_is
from mammofast.errors import ArchiveError, BrokenImage
from mammofast.records import VolumeSource
from tests.archive.volumes.series import OBLIQUE, Series, save, uid


def rows(archive):
    return [(record.status, record.reason.partition(":")[0]) for record in open_archive(archive).skipped()]


def only_volume(archive):
    (volume,) = open_archive(archive).volumes()
    return volume


@pytest.fixture
def make(tmp_path):
    """Ingest a series, changed where wanted; return the archive's path."""

    def make(series, change=None, name="a.zarr"):
        series.write(tmp_path / f"in-{name}", change)
        ingest(tmp_path / f"in-{name}", tmp_path / name)
        return tmp_path / name

    return make


def test_slices_lie_by_position_and_phases_by_time(make):
    series = Series.draw(phases=3, slices=5)
    volume = only_volume(make(series))
    assert isinstance(volume, ArchiveVolume)
    assert isinstance(volume, VolumeSource)
    for phase in range(3):
        np.testing.assert_array_equal(volume.read(phase), series.values[phase])
        np.testing.assert_array_equal(volume.values(phase), series.values[phase].astype(np.float32))
        assert volume.frames(phase) == [(uid(1, 9, phase, index), None) for index in range(5)]
    np.testing.assert_array_equal(volume.read(-1, (1, 3)), series.values[2, 1:3])
    record = volume.record
    assert (record.sop_uid, record.series_uid, record.study_uid) == (uid(1, 9, 0, 0), uid(1, 5, 1), uid(1))
    assert record.spacing == (2.5, 0.75, 0.5)  # not Slice Thickness
    assert record.positions == tuple(series.position(index) for index in range(5))
    assert record.times == (0.0, 60.0, 120.0)
    assert next(str(header.SOPInstanceUID) for header in volume.headers()) == record.sop_uid
    assert volume.header.PatientID == "SECRETID"
    assert len(list(volume.headers())) == 15
    for wrong in ((3, None), (0, (0, 6)), (0, (3, 2)), (-4, None)):
        with pytest.raises(ValueError, match=r"phase|slices"):
            volume.read(*wrong)


@pytest.mark.parametrize("orientation", [OBLIQUE, (1.0, 0.0, 0.0, 0.0, 0.0, -1.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)])
def test_slices_rise_along_row_x_column_in_any_direction(make, orientation):
    series = Series.draw(orientation=orientation, slices=6)
    volume = only_volume(make(series))
    np.testing.assert_array_equal(volume.read(1), series.values[1])
    heights = np.array(volume.record.positions) @ series.normal
    np.testing.assert_allclose(np.diff(heights), 2.5, atol=1e-5)
    assert volume.spacing[0] == pytest.approx(2.5, abs=1e-5)


def j2k(frame):
    return imagecodecs.jpeg2k_encode(frame, level=0, codecformat="j2k", reversible=True)


@pytest.mark.parametrize("encode", [None, ("1.2.840.10008.1.2.4.90", j2k)], ids=["native", "JPEG 2000"])
@pytest.mark.parametrize(
    "options",
    [{}, {"orientation": OBLIQUE, "rescale": (-0.5, 100.0)}, {"dtype": "i2"}],
    ids=["plain", "oblique, negative slope", "signed"],
)
def test_an_enhanced_object_is_the_same_volume(tmp_path, make, options, encode):
    if encode and options.get("dtype"):
        pytest.skip("the encoder here takes no signed values")
    series = Series.draw(**options)
    if options.get("dtype"):
        series.values[:] -= 500
    classic = only_volume(make(series))
    save(series.enhanced(encode), tmp_path / "enhanced" / "one.dcm")
    report = ingest(tmp_path / "enhanced", tmp_path / "b.zarr")
    assert (report.added, report.volumes) == (1, 1)
    enhanced = only_volume(tmp_path / "b.zarr")
    assert enhanced.record.content_sha256 == classic.record.content_sha256
    slope, intercept = series.rescale
    for phase in range(3):
        np.testing.assert_array_equal(enhanced.read(phase), series.values[phase])
        expected = (series.values[phase] * np.float64(slope) + intercept).astype(np.float32)
        np.testing.assert_array_equal(enhanced.values(phase), expected)
        np.testing.assert_array_equal(classic.values(phase), expected)
    assert enhanced.record.times == classic.record.times
    header = enhanced.header
    for phase in range(3):
        for index, (sop_uid, number) in enumerate(enhanced.frames(phase)):
            assert sop_uid == header.SOPInstanceUID
            group = header.PerFrameFunctionalGroupsSequence[number - 1]
            assert group.FrameContentSequence[0].TemporalPositionIndex == phase + 1
            place = group.PlanePositionSequence[0].ImagePositionPatient
            assert tuple(place) == pytest.approx(enhanced.record.positions[index])


@pytest.mark.parametrize("total_is_said", [True, False])
def test_a_divided_object_waits_for_all_its_parts(tmp_path, total_is_said):
    """Each part has whole phases: without the parts' count, what is there would make a volume."""
    series, parts = Series.draw(phases=4), []
    for number in range(1, 4):
        part = series.enhanced()
        groups = part.PerFrameFunctionalGroupsSequence
        phases = [int(group.FrameContentSequence[0].TemporalPositionIndex) for group in groups]
        wanted = [at for at, phase in enumerate(phases) if phase == number or (number, phase) == (3, 4)]
        part.PixelData = np.stack(
            [np.frombuffer(part.PixelData, "u2").reshape(len(phases), -1)[at] for at in wanted]
        ).tobytes()
        part.PerFrameFunctionalGroupsSequence = [groups[at] for at in wanted]
        part.NumberOfFrames = len(wanted)
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = uid(1, 9, 100 + number)
        part.ConcatenationUID, part.InConcatenationNumber = uid(1, 10), number
        if total_is_said:
            part.InConcatenationTotalNumber = 3
        parts.append(tmp_path / f"{number}.dcm")
        save(part, parts[-1])
    archive = tmp_path / "a.zarr"
    # The last part tells how many there are where nothing else does.
    order = parts if total_is_said else [parts[2], parts[0], parts[1]]
    for path in order[:2]:
        assert ingest(path, archive).failed == 1
        assert not list(open_archive(archive).volumes())
    (row,) = open_archive(archive).skipped()
    assert row.reason == "missing-slices: 2 of 3 parts of an object (In-concatenation Total Number)"
    assert ingest(order[2], archive).volumes == 1
    volume = only_volume(archive)
    for phase in range(4):
        np.testing.assert_array_equal(volume.read(phase), series.values[phase])


def test_a_frame_has_its_own_rescale(make):
    series = Series.draw()

    def change(phase, index, ds):
        ds.RescaleSlope, ds.RescaleIntercept = str(1 + phase), str(-10 * index)

    volume = only_volume(make(series, change))
    expected = series.values[2] * 3.0 + np.array([0, -10, -20, -30])[:, None, None]
    np.testing.assert_array_equal(volume.values(2), expected.astype(np.float32))
    np.testing.assert_array_equal(volume.values(2, (1, 3)), expected[1:3].astype(np.float32))


def without(*places):
    return lambda phase, index, ds: (phase, index) not in places


def setting(**attributes):
    def change(phase, index, ds):
        for name, value in attributes.items():
            setattr(ds, name, value)

    return change


def at(places, **attributes):
    return lambda phase, index, ds: setting(**attributes)(phase, index, ds) if (phase, index) in places else None


def at_phase(which, **attributes):
    return lambda phase, index, ds: setting(**attributes)(phase, index, ds) if phase == which else None


def moved(mm, axis=2, first=3):
    def change(phase, index, ds):
        if index >= first:
            place = list(ds.ImagePositionPatient)
            place[axis] += mm
            ds.ImagePositionPatient = place

    return change


def backwards(phase, index, ds):
    ds.TemporalPositionIdentifier = str(3 - phase)


def unnumbered(phase, index, ds):
    del ds.TemporalPositionIdentifier, ds.AcquisitionTime


def of_other_rows(phase, index, ds):
    if phase == 2:
        ds.Rows, ds.PixelData = 5, ds.PixelData[: len(ds.PixelData) // 2]


def blank(phase, index, ds):
    ds.PixelData = bytes(len(ds.PixelData))


WRONG = {
    "a slice of a phase": (without((1, 2)), "failed", "missing-slices"),
    "the last slice of a phase": (without((0, 4)), "failed", "missing-slices"),
    "a slice of all phases": (without((0, 2), (1, 2), (2, 2)), "failed", "missing-slices"),
    "all slices but one": (lambda p, i, ds: i == 0, "failed", "missing-slices"),
    "a phase": (lambda p, i, ds: p != 1, "failed", "missing-phases"),
    "two phases": (lambda p, i, ds: p == 0, "skipped", "one-phase"),
    "images that were announced": (setting(ImagesInAcquisition="20"), "failed", "missing-slices"),
    "one at another's place": (at([(1, 2)], ImagePositionPatient=[-20, -30, 15]), "failed", "duplicate-slices"),
    "one of another phase": (at([(1, 2)], TemporalPositionIdentifier="1"), "failed", "duplicate-slices"),
    "nothing that tells phases apart": (unnumbered, "failed", "duplicate-slices"),
    "numbers against the times": (backwards, "failed", "phase-order"),
    "uneven steps": (moved(0.7), "failed", "uneven-slices"),
    "slices moved sideways": (moved(0.7, axis=0), "skipped", "mixed-geometry"),
    "another direction": (at([(2, 1)], ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "skipped", "mixed-orientation"),
    "a phase of other rows": (of_other_rows, "skipped", "mixed-geometry"),
    "a phase of other pixels": (at_phase(1, PixelSpacing=[0.7, 0.7]), "skipped", "mixed-geometry"),
    "two patients": (at_phase(2, PatientID="OTHER"), "skipped", "conflicting-uid"),
    "two frames of reference": (at_phase(2, FrameOfReferenceUID="1.2.3"), "skipped", "mixed-geometry"),
    "nothing to see": (blank, "failed", "constant-pixels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_volume_says_why(make, name):
    change, status, reason = WRONG[name]
    archive = make(Series.draw(slices=5), change)
    assert rows(archive) == [(status, reason)]
    assert not list(open_archive(archive).volumes())
    (record,) = open_archive(archive).skipped()
    assert (record.study_uid, record.series_uid) == (uid(1), uid(1, 5, 1))
    assert "SECRET" not in record.reason
    assert "OTHER" not in record.reason


def test_the_page_names_all_reasons_of_a_series():
    page = (Path(__file__).parents[3] / "docs" / "reading.md").read_text()
    table = page.partition("| Reason of a series |\n")[2].partition("\n\n")[0]
    said = {code: status for status, code in re.findall(r"(skipped|failed) \| `([a-z-]+)` \|$", table, re.MULTILINE)}
    given = {reason: status for _, status, reason in WRONG.values() if reason != "constant-pixels"}
    assert said == given | {"not-dce": "skipped"}


NO_DCE = {
    "a localizer": setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "a subtraction": setting(ImageType=["DERIVED", "SECONDARY", "SUBTRACTION"]),
    "a subtraction called original": setting(ImageType=["ORIGINAL", "PRIMARY", "M", "SUB"]),
    "a projection": setting(ImageType=["DERIVED", "PRIMARY", "PROJECTION IMAGE"]),
    "something derived": setting(ImageType=["DERIVED", "PRIMARY", "OTHER"]),
    "no image type": setting(ImageType=None),
    "diffusion": setting(DiffusionBValue=800.0),
    "a knee": setting(BodyPartExamined="KNEE"),
}


@pytest.mark.parametrize("name", NO_DCE)
def test_what_is_no_dynamic_series_is_skipped_file_by_file(tmp_path, make, name):
    series = Series.draw(slices=3)
    other = Series.draw(slices=1, phases=2, seed=9, study=1)
    for phase, index, ds in other.classic():
        ds.SOPInstanceUID, ds.SeriesInstanceUID = uid(1, 99, phase, index), uid(1, 6)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        NO_DCE[name](phase, index, ds)
        save(ds, tmp_path / "in-a.zarr" / f"other{phase}.dcm")
    archive = make(series)
    assert rows(archive) == [("skipped", "not-dce")] * 2
    np.testing.assert_array_equal(only_volume(archive).read(1), series.values[1])


def test_water_images_of_dixon_are_a_dynamic_series(make):
    archive = make(Series.draw(), setting(ImageType=["DERIVED", "PRIMARY", "DIXON", "WATER"]))
    assert only_volume(archive).phases == 3


@pytest.mark.parametrize("key", ["AcquisitionNumber", "TriggerTime", "AcquisitionTime", "AcquisitionDateTime"])
def test_phases_are_told_apart_by_what_there_is(make, key):
    series = Series.draw()

    def change(phase, index, ds):
        time = ds.AcquisitionTime
        del ds.TemporalPositionIdentifier, ds.AcquisitionTime
        value = {
            "AcquisitionNumber": str(phase + 4),
            "TriggerTime": str(1000 * phase),
            "AcquisitionTime": time,
            "AcquisitionDateTime": f"20260101{time}+0100",
        }[key]
        setattr(ds, key, value)

    volume = only_volume(make(series, change))
    for phase in range(3):
        np.testing.assert_array_equal(volume.read(phase), series.values[phase])
    expected = {"AcquisitionNumber": (None,) * 3, "TriggerTime": (0.0, 1.0, 2.0)}
    assert volume.times == expected.get(key, (0.0, 60.0, 120.0))


def test_times_to_the_minute_are_minutes(make):
    volume = only_volume(
        make(Series.draw(), lambda p, i, ds: setattr(ds, "AcquisitionTime", ["0958", "10", "1003"][p]))
    )
    assert volume.times == (0.0, 120.0, 300.0)


class TestSeveralSeries:
    def test_a_series_for_each_phase(self, make):
        series = Series.draw(series_per_phase=True)

        def change(phase, index, ds):
            # Numbered against time; the times count.
            ds.SeriesInstanceUID = uid(1, 5, 9 - phase)

        volume = only_volume(make(series, change))
        for phase in range(3):
            np.testing.assert_array_equal(volume.read(phase), series.values[phase])
        assert volume.record.series_uids == (uid(1, 5, 9), uid(1, 5, 8), uid(1, 5, 7))

    def test_a_baseline_before_a_series_of_the_others(self, make):
        series = Series.draw(phases=4)

        def change(phase, index, ds):
            ds.SeriesInstanceUID = uid(1, 5, 1 if phase else 2)
            ds.TemporalPositionIdentifier = str(phase or 1)
            ds.NumberOfTemporalPositions = "3" if phase else "1"

        volume = only_volume(make(series, change))
        for phase in range(4):
            np.testing.assert_array_equal(volume.read(phase), series.values[phase])

    @pytest.mark.parametrize(
        "attributes",
        [
            {"RepetitionTime": "3000"},
            {"FrameOfReferenceUID": "1.2.3"},
            {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        ],
    )
    def test_other_series_of_the_study_are_no_phases(self, make, attributes):
        archive = make(
            Series.draw(phases=3, series_per_phase=True),
            lambda p, i, ds: setting(**attributes)(p, i, ds) if p == 1 else None,
        )
        volume = only_volume(archive)
        assert volume.phases == 2
        assert volume.record.series_uids == (uid(1, 5, 1), uid(1, 5, 3))
        assert rows(archive)[0][1] in ("one-phase", "uneven-slices", "mixed-geometry", "missing-slices")

    def test_one_at_the_same_time_is_another_reconstruction_and_stands_alone(self, tmp_path, make):
        series, again = Series.draw(), Series.draw(seed=5)
        for phase, index, ds in again.classic():
            ds.SOPInstanceUID, ds.SeriesInstanceUID = uid(1, 99, phase, index), uid(1, 6)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            save(ds, tmp_path / "in-a.zarr" / f"again{phase}-{index}.dcm")
        archive = make(series)
        found = {volume.record.series_uid: volume.read(2) for volume in open_archive(archive).volumes()}
        np.testing.assert_array_equal(found[uid(1, 5, 1)], series.values[2])
        np.testing.assert_array_equal(found[uid(1, 6)], again.values[2])


class TestDamage:
    def test_a_phase_is_read_without_the_others(self, make):
        series = Series.draw()
        volume = only_volume(make(series))
        (volume.folder / "0" / "c" / "1" / "0" / "0" / "0").unlink()
        np.testing.assert_array_equal(volume.read(2), series.values[2])
        with pytest.raises(BrokenImage, match="read: array 0"):
            volume.read(1)
        (problem,) = verify(open_archive(volume.folder.parents[2]))
        assert problem.sop_uid == volume.record.sop_uid

    def test_every_flipped_byte_of_the_pixels_is_found(self, make):
        archive = make(Series.draw(phases=2, slices=2, rows=6, cols=6))
        shard = only_volume(archive).folder / "0" / "c" / "0" / "0" / "0" / "0"
        whole = shard.read_bytes()
        for place in range(len(whole)):
            shard.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            assert list(verify(open_archive(archive))), place
        shard.write_bytes(whole)
        assert not list(verify(open_archive(archive)))

    @pytest.mark.parametrize("name", ["zarr.json", "frames", "headers", "header"])
    def test_other_damage_is_told(self, make, name):
        archive = make(Series.draw())
        volume = only_volume(archive)
        path = volume.folder / name
        path = path if path.is_file() else path / "c" / "0"
        path.write_bytes(path.read_bytes()[:-9])
        assert list(verify(open_archive(archive)))
        if name == "zarr.json":
            assert rows(archive) == [("failed", "read")]
            assert not list(open_archive(archive).volumes())

    def test_volumes_of_several_patients_in_one_study_are_told(self, tmp_path, make):
        for phase, index, ds in Series.draw(seed=5).classic():
            ds.SOPInstanceUID, ds.SeriesInstanceUID = uid(1, 99, phase, index), uid(1, 6)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.FrameOfReferenceUID, ds.PatientID = uid(1, 70), "SECRETOTHER"
            save(ds, tmp_path / "in-a.zarr" / f"other{phase}-{index}.dcm")
        archive = open_archive(make(Series.draw()))
        assert len(list(archive.volumes())) == 2
        (problem,) = verify(archive)
        assert "Patient ID" in problem.detail
        assert "SECRET" not in repr(problem)

    def test_a_volume_that_is_not_there(self, make):
        archive = open_archive(make(Series.draw()))
        assert archive.volume(uid(1), uid(1, 9, 0, 0)).phases == 3
        with pytest.raises(ArchiveError, match="no volume"):
            archive.volume(uid(1), uid(1, 9, 0, 1))


def test_the_content_s_hash_is_the_documented_one(make):
    series = Series.draw(rescale=(2.0, -1.0))
    record = only_volume(make(series)).record
    phases, slices, n_rows, cols = series.values.shape
    line = f"mammofast-volume-1 uint16 {phases} {slices} {n_rows} {cols} 16 MONOCHROME2\n"
    places = [series.position(index) for index in range(slices)]
    geometry = json.dumps([[[2.0, -1.0]], [2.5, 0.75, 0.5], series.orientation, places], separators=(",", ":"))
    expected = hashlib.sha256(line.encode() + f"{geometry}\n".encode() + series.values.astype("<u2").tobytes())
    assert record.content_sha256 == expected.hexdigest()


def test_commands_know_volumes(tmp_path, make):
    archive = make(Series.draw())

    def run(*words):
        result = CliRunner().invoke(main, [*map(str, words)])
        assert result.exit_code == 0, result.output
        return result.stdout

    info = json.loads(run("archive", "info", archive, "--json"))
    assert (info["studies"], info["images"], info["volumes"]) == (1, 0, 1)
    assert info["volume_sizes"] == {"3 x 4 x 10 x 12": 1}
    assert uid(1, 9, 0, 0) in run("archive", "list", archive)
    assert json.loads(run("archive", "list", archive, "--json"))[0]["phases"] == 3
    assert json.loads(run("archive", "verify", archive, "--json"))["volumes"] == 1
    assert what_there_is(archive) == ("volumes", 1)
    (archive / "images" / uid(1) / uid(1, 1)).mkdir(parents=True)
    assert what_there_is(archive) == ("images and volumes", 2)
    shutil.rmtree(archive / "images" / uid(1))
    Series.draw(study=2).write(tmp_path / "gap", without((0, 0)))
    result = CliRunner().invoke(main, ["ingest", str(tmp_path / "gap"), str(archive)])
    assert result.exit_code == 3
    assert "11 files: 0 added, 0 known, 0 skipped, 11 failed" in result.stdout
    assert "missing-slices: phase 1 of 3 has 3 of 4 slices" in run("archive", "list", archive, "--skipped")
