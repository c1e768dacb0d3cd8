"""Segmentations and regions of volumes, as other people's programs see them."""

import json

import highdicom as hd
import numpy as np
import pytest
from click.testing import CliRunner
from highdicom.sr import ComprehensiveSR
from pydicom import dcmread

from mammofast.cli import main
from mammofast.records import ImageResult, VolumeResult
from mammofast.report.dicom.export import KINDS, export, study_objects
from tests.report.dicom.conftest import RUN, some_findings
from tests.report.dicom.headers import mammogram
from tests.report.dicom.mr import DIRECTIONS, SHAPE, SPACING, series
from tests.report.dicom.validators import assert_valid
from tests.report.dicom.volumes.conftest import FINDINGS, SUMMARY, breast

KINDS_OF_STACKS = [(direction, enhanced) for direction in DIRECTIONS for enhanced in (False, True)]
PHASE = 2


def written(study, folder, kinds=KINDS):
    """Return a study's objects by kind, read back from files."""
    objects = {kind: [] for kind in kinds}
    for kind, dataset in study_objects(study, kinds):
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        objects.setdefault(kind, []).append((path, dcmread(path)))
    return objects


def expected_segments(region=None):
    """Return by segment its voxels, by the words of the documentation."""
    region = breast() if region is None else region
    found = [region] if region.any() else []
    for finding in FINDINGS:
        box = np.zeros(SHAPE, bool)
        x_min, y_min, x_max, y_max = finding.box
        box[finding.z_min : finding.z_max, y_min:y_max, x_min:x_max] = True
        found.append(box & region if (box & region).any() else box)
    return dict(enumerate(found, 1))


def planes(objects):
    """Return of every source frame: (UID, frame number or None), phase, position, directions, spacing."""
    for ds in objects:
        if "PerFrameFunctionalGroupsSequence" not in ds:
            yield (ds.SOPInstanceUID, None), int(ds.TemporalPositionIdentifier), ds, ds, ds
        else:
            shared = ds.SharedFunctionalGroupsSequence[0]
            for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence, 1):
                yield (
                    (ds.SOPInstanceUID, number),
                    int(group.FrameContentSequence[0].TemporalPositionIndex),
                    group.PlanePositionSequence[0],
                    shared.PlaneOrientationSequence[0],
                    shared.PixelMeasuresSequence[0],
                )


def points(position, orientation, spacing, mask):
    """Return the patient coordinates of a plane's set pixels, by PS3.3 C.7.6.2.1.1's equation, rounded to 1 µm."""
    row, col = np.reshape(np.array(orientation.ImageOrientationPatient, float), (2, 3))
    between_rows, between_cols = map(float, spacing.PixelSpacing)
    y, x = np.nonzero(mask)
    where = np.array(position.ImagePositionPatient, float) + np.outer(x * between_cols, row)
    return {tuple(p) for p in np.round(where + np.outer(y * between_rows, col), 3).tolist()}


def frames(dataset):
    """Unpack a SEG's bits by the rule of PS3.5 8.1.1, without any of highdicom's or our code."""
    rows, cols, n = dataset.Rows, dataset.Columns, int(dataset.NumberOfFrames)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    return bits[: n * rows * cols].reshape(n, rows, cols).astype(bool)


@pytest.mark.parametrize("direction, enhanced", KINDS_OF_STACKS)
def test_every_voxel_is_where_it_was_found(volume_study, tmp_path, direction, enhanced):
    study, objects = volume_study(direction, enhanced)
    found = written(study, tmp_path)
    assert {kind: len(of) for kind, of in found.items()} == {
        **{"dicom-seg": 1, "tid1500": 1},
        **{"cad-sr": 0, "gsps": 0, "picture": 0},
    }
    for path, _ in (*found["dicom-seg"], *found["tid1500"]):
        assert_valid(path)
    ((_, seg),) = found["dicom-seg"]
    # The sources, in the order that the contract of volumes gives slices: rising along row x column.
    (normal,) = {
        tuple(np.cross(*np.reshape(np.array(p[3].ImageOrientationPatient, float), (2, 3)))) for p in planes(objects)
    }
    height = lambda p: float(np.dot(np.array(p[2].ImagePositionPatient, float), normal))  # noqa: E731
    stack = sorted((p for p in planes(objects) if p[1] == PHASE + 1), key=height)
    assert len(stack) == SHAPE[0]
    shared = seg.SharedFunctionalGroupsSequence[0]
    there = {number: set() for number in expected_segments()}
    slices = {number: [] for number in expected_segments()}
    for mask, group in zip(frames(seg), seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = group.PlanePositionSequence[0], shared.PlaneOrientationSequence[0], shared.PixelMeasuresSequence[0]
        assert mask.any(), "a frame without a pixel"
        there[number] |= points(*place, mask)
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        (z,) = [
            z
            for z, plane in enumerate(stack)
            if plane[0] == (source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"))
        ]
        slices[number].append(z)
        assert place[0].ImagePositionPatient == stack[z][2].ImagePositionPatient
        assert source.SpatialLocationsPreserved == "YES"
    for number, voxels in expected_segments().items():
        expected = set().union(*(points(*plane[2:], mask) for plane, mask in zip(stack, voxels, strict=True)))
        assert len(expected) == voxels.sum()
        assert there[number] == expected
        assert sorted(slices[number]) == np.flatnonzero(voxels.any(axis=(1, 2))).tolist()
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == pytest.approx(SPACING[0])
    assert seg.FrameOfReferenceUID == objects[0].FrameOfReferenceUID
    assert seg.SegmentsOverlap == "YES"
    # And as highdicom reads it.
    again = hd.seg.Segmentation.from_dataset(seg)
    for number, voxels in expected_segments().items():
        array = again.get_volume(segment_numbers=[number], combine_segments=False).array
        assert array.sum() == voxels.sum()


@pytest.mark.parametrize("enhanced", [False, True])
def test_objects_name_exactly_the_phase_s_instances(volume_study, tmp_path, enhanced):
    study, objects = volume_study("oblique", enhanced)
    found = written(study, tmp_path)
    ((_, seg),), ((_, report),) = found["dicom-seg"], found["tid1500"]
    instances = {plane[0][0] for plane in planes(objects) if plane[1] == PHASE + 1}
    assert len(instances) == (1 if enhanced else SHAPE[0])
    (series_item,) = seg.ReferencedSeriesSequence
    assert series_item.SeriesInstanceUID == objects[0].SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in series_item.ReferencedInstanceSequence} == instances
    assert {item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence} == instances
    (of_study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {
        (series_item.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for series_item in of_study.ReferencedSeriesSequence
        for item in series_item.ReferencedSOPSequence
    }
    assert named == {(objects[0].SeriesInstanceUID, uid) for uid in instances} | {
        (seg.SeriesInstanceUID, seg.SOPInstanceUID)
    }
    assert all(str(d.PatientName) == str(objects[0].PatientName) for d in (seg, report))
    assert all(d.StudyInstanceUID == objects[0].StudyInstanceUID for d in (seg, report))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_report_s_regions_are_the_segments_and_their_measures(volume_study, tmp_path, direction):
    study, objects = volume_study(direction)
    found = written(study, tmp_path)
    ((_, seg),), ((_, dataset),) = found["dicom-seg"], found["tid1500"]
    groups = ComprehensiveSR.from_dataset(dataset).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(seg.SegmentSequence) == 1 + len(FINDINGS)
    row, col = np.array(DIRECTIONS[direction], float)
    normal = np.cross(row, col)
    origin = min(
        (np.array(p[2].ImagePositionPatient, float) for p in planes(objects)), key=lambda at: float(at @ normal)
    )
    for number, (group, segment) in enumerate(zip(groups, seg.SegmentSequence, strict=True), 1):
        assert group.tracking_uid == segment.TrackingUID
        assert group.tracking_identifier == segment.TrackingID
        assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert list(group.referenced_segment.referenced_segment_numbers) == [number]
        values = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
        voxels = expected_segments()[number]
        assert values.pop("Volume") == (pytest.approx(voxels.sum() * np.prod(SPACING) / 1000), "mL")
        if number == 1:
            assert (group.finding_type.meaning, values) == ("Breast", {})
            continue
        finding = FINDINGS[number - 2]
        x_min, y_min, x_max, y_max = finding.box
        assert values.pop("Width") == (pytest.approx((x_max - x_min) * SPACING[2]), "mm")
        assert values.pop("Length") == (pytest.approx((y_max - y_min) * SPACING[1]), "mm")
        assert values.pop("Depth") == (pytest.approx((finding.z_max - finding.z_min) * SPACING[0]), "mm")
        # The mean of the centres of all its voxels.
        z, y, x = (
            np.arange(*edges).mean() for edges in ((finding.z_min, finding.z_max), (y_min, y_max), (x_min, x_max))
        )
        centre = origin + x * SPACING[2] * row + y * SPACING[1] * col + z * SPACING[0] * normal
        for axis, coordinate in zip("XYZ", centre, strict=True):
            assert values.pop(f"{axis} of the box's center") == (pytest.approx(coordinate, abs=1e-6), "mm")
        assert values.pop("Certainty of Finding") == (finding.confidence, "1")
        assert values.pop("Score of the detector") == (finding.score, "1")
        assert not values


def test_what_segments_are_called(volume_study, tmp_path):
    study, _ = volume_study()
    ((_, seg),) = written(study, tmp_path, ["dicom-seg"])["dicom-seg"]
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Breast region", "Mass MR 1", "Mass MR 2", "Mass MR 3"]
    kinds = [
        (s.SegmentedPropertyCategoryCodeSequence[0], s.SegmentedPropertyTypeCodeSequence[0])
        for s in seg.SegmentSequence
    ]
    assert [tuple(c.CodeValue for c in kind) for kind in kinds] == [("123037004", "76752008")] + [
        ("49755003", "4147007")
    ] * 3
    assert seg.SegmentationType == "BINARY"
    assert {s.SegmentAlgorithmType for s in seg.SegmentSequence} == {"AUTOMATIC"}


@pytest.mark.parametrize(
    "findings, region, n_segments, overlap",
    [
        (FINDINGS[:1], np.zeros(SHAPE, bool), 1, "NO"),
        ((), None, 1, "NO"),
        (FINDINGS[1:2], None, 2, "NO"),
        (FINDINGS[::2], np.zeros(SHAPE, bool), 2, "YES"),
    ],
    ids=["no region", "no candidate", "a candidate outside", "two candidates overlap"],
)
def test_what_is_empty_is_left_out(volume_study, tmp_path, findings, region, n_segments, overlap):
    study, _ = volume_study(findings=findings, region=region)
    found = written(study, tmp_path, ["tid1500"])
    ((path, seg),), ((report_path, _),) = found["dicom-seg"], found["tid1500"]
    assert_valid(path)
    assert_valid(report_path)
    assert (len(seg.SegmentSequence), seg.SegmentsOverlap) == (n_segments, overlap)
    voxels = [v for v in [breast() if region is None else region] if v.any()]
    assert frames(seg).sum() == sum(v.sum() for v in voxels) + sum(
        ((f.z_max - f.z_min) * (f.box[2] - f.box[0]) * (f.box[3] - f.box[1])) for f in findings if region is not None
    ) + (4 * 2 if findings == FINDINGS[1:2] else 0)


def test_of_a_volume_without_breast_and_candidates_there_is_no_object(volume_study, tmp_path):
    study, _ = volume_study(findings=(), region=np.zeros(SHAPE, bool))
    assert not any(written(study, tmp_path).values())


@pytest.mark.parametrize("error", ["read: gone", None])
def test_a_volume_that_failed_or_is_pending_has_no_object_and_others_have(night, tmp_path, error):
    good, bad = series(seed=0), series(seed=1)
    for each in bad:
        each.StudyInstanceUID, each.FrameOfReferenceUID = good[0].StudyInstanceUID, good[0].FrameOfReferenceUID

    def outcome(record):
        if record.series_uid == good[0].SeriesInstanceUID:
            return VolumeResult(SHAPE, FINDINGS, region=breast())
        return error and VolumeResult(SHAPE, error=error)

    (study,) = night.screen([*good, *bad], outcome, RUN, SUMMARY)
    assert len(study.volumes) == 2
    assert {kind: len(of) for kind, of in written(study, tmp_path).items() if of} == {"dicom-seg": 1, "tid1500": 1}


def test_a_study_of_mammograms_and_a_volume_has_one_report_and_all_objects(night, tmp_path):

    objects = series()
    image = mammogram(StudyInstanceUID=objects[0].StudyInstanceUID)

    def outcome(record):
        if hasattr(record, "slices"):
            return VolumeResult(SHAPE, FINDINGS, region=breast())
        return ImageResult((96, 80), some_findings(2, (96, 80)))

    (study,) = night.screen([*objects, image], outcome, RUN, SUMMARY)
    found = written(study, tmp_path)
    counts = {"cad-sr": 1, "tid1500": 1, "dicom-seg": 2, "gsps": 1, "picture": 1}
    assert {kind: len(of) for kind, of in found.items()} == counts
    for of in found.values():
        for path, _ in of:
            assert_valid(path)
    ((_, report),) = found["tid1500"]
    content = ComprehensiveSR.from_dataset(report).content
    assert len(content.get_planar_roi_measurement_groups()) == 2
    assert len(content.get_volumetric_roi_measurement_groups()) == 1 + len(FINDINGS)
    one, other = (dataset for _, dataset in found["dicom-seg"])
    assert one.SeriesInstanceUID != other.SeriesInstanceUID, "a series has one frame of reference"


def test_phases_in_series_of_their_own(night, tmp_path):
    objects = series()
    for each in objects:
        each.SeriesInstanceUID = f"{each.SeriesInstanceUID[:50]}.{each.TemporalPositionIdentifier}"
        each.TemporalPositionIdentifier = "1"
    (study,) = night.screen(objects, lambda r: VolumeResult(SHAPE, FINDINGS, region=breast()), RUN, SUMMARY)
    ((path, seg),) = written(study, tmp_path, ["dicom-seg"])["dicom-seg"]
    assert_valid(path)
    (series_item,) = seg.ReferencedSeriesSequence
    assert series_item.SeriesInstanceUID.endswith(f".{PHASE + 1}")
    assert len(series_item.ReferencedInstanceSequence) == SHAPE[0]


def test_the_same_results_give_the_same_bytes(volume_study, night, tmp_path):
    volume_study("sagittal", enhanced=True)
    for out in ("one", "two"):
        export(night.folder / "results", tmp_path / out, KINDS)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / out).rglob("*.dcm")} for out in ("one", "two"))
    assert one == two
    assert len(one) == 2
    again = export(night.folder / "results", tmp_path / "one", KINDS)
    assert (again.written, len(again.unchanged)) == ([], 2)


def test_the_command_says_what_a_volume_has_none_of(volume_study, night, tmp_path):
    volume_study()
    options = [arg for kind in KINDS for arg in ("--to", kind)]
    command = ["report", str(night.folder / "results"), *options, "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(main, command)
    assert said.exit_code == 0
    assert (
        "cad-sr, gsps, picture: of mammograms only; of a volume --to dicom-seg and --to tid1500 can be written (1 here)"
        in said.stderr
    )
    assert "1 dicom-seg, 1 tid1500 of 1 study" in said.stdout
    told = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert (told["volumes"], told["not_of_volumes"]) == (1, ["cad-sr", "gsps", "picture"])
    alone = CliRunner().invoke(main, [*command[:2], "--to", "dicom-seg", "--out", str(tmp_path / "other")])
    assert "mammograms only" not in alone.stderr


def test_de_identified_objects_are_valid_and_name_nobody(volume_study, night, tmp_path):
    pytest.importorskip("dicomanonymizer")
    volume_study("oblique")
    command = ["report", str(night.folder / "results"), "--to", "tid1500", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(main, [*command, "--deidentify"]).exit_code == 0
    paths = list((tmp_path / "out").rglob("*.dcm"))
    seg, report = sorted((dcmread(path) for path in paths), key=lambda d: d.Modality)
    for path in paths:
        assert_valid(path)
    for element in (element for dataset in (seg, report) for element in dataset.iterall()):
        assert element.VR in ("UI", "OB", "OW") or not any(
            s in str(element.value) for s in ("0815", "Müller", "Référent")
        )
    groups = ComprehensiveSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    assert {group.referenced_segment.referenced_sop_instance_uid for group in groups} == {seg.SOPInstanceUID}
    assert [g.tracking_uid for g in groups] == [s.TrackingUID for s in seg.SegmentSequence]
    place = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert len(place) == 3, "where it is, is kept"


def test_mr_series_that_make_no_volume_are_not_said_of_the_study_s_mammograms(night, tmp_path):
    image = mammogram()
    one_phase = [ds for ds in series() if ds.TemporalPositionIdentifier == 1]
    localizer = series(seed=5)[:1]
    localizer[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for each in (*one_phase, *localizer):
        each.StudyInstanceUID = image.StudyInstanceUID
    (study,) = night.screen([image, *one_phase, *localizer], lambda r: ImageResult((96, 80)))
    assert {skipped.reason.partition(":")[0] for skipped in night.archive.skipped()} == {"one-phase", "not-dce"}
    assert (study.volumes, study.left_out) == ((), ())
    assert written(study, tmp_path, ["cad-sr"])["cad-sr"][0][1].CompletionFlag == "COMPLETE"
