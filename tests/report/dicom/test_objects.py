"""Every object, of every view, of every maker's header, as other people's programs see it."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from highdicom.sr import ComprehensiveSR
from pydicom import dcmread
from pydicom.uid import generate_uid

from mammofast.cli import main
from mammofast.records import Finding, ImageResult
from mammofast.report.dicom.contour import contour
from mammofast.report.dicom.export import KINDS, export, study_objects
from mammofast.report.dicom.identity import tracking_uid
from mammofast.screening.entry import Run
from tests.report.dicom.conftest import RUN, SUMMARY, ellipse, some_findings
from tests.report.dicom.headers import STYLES, VIEWS, mammogram
from tests.report.dicom.validators import assert_valid, dciodvfy

MODALITY = {"cad-sr": "SR", "tid1500": "SR", "dicom-seg": "SEG", "gsps": "PR", "picture": "OT"}


def written(study, folder, kinds=KINDS):
    """Return a study's objects by kind, read back from files."""
    objects = {kind: [] for kind in kinds}
    for kind, dataset in study_objects(study, kinds):
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        objects[kind].append((path, dcmread(path)))
    return objects


@pytest.mark.parametrize("style", STYLES)
def test_validators_find_nothing_to_say_whatever_the_header(study, tmp_path, style):
    given = study([mammogram(style, laterality=side, view=view) for side, view in (("L", "CC"), ("R", "MLO"))], 2)
    objects = written(given, tmp_path)
    assert {kind: len(found) for kind, found in objects.items()} == {
        **{"cad-sr": 1, "tid1500": 1},
        **{"dicom-seg": 2, "gsps": 2, "picture": 2},
    }
    for kind, found in objects.items():
        for path, dataset in found:
            assert_valid(path)
            assert dataset.Modality == MODALITY[kind]
            assert str(dataset.PatientName) == str(given.header.PatientName)
            assert dataset.PatientID == (given.header.get("PatientID") or "")
            assert dataset.StudyInstanceUID == given.study_uid
            assert "SECRET" not in str(dataset)


@pytest.mark.parametrize("number", [0, 1, 10])
def test_every_view_with_no_and_one_finding_and_three_with_ten(night, tmp_path, number):
    images = [
        mammogram(laterality="LR"[k % 2], view=view, StudyInstanceUID=generate_uid(entropy_srcs=["one study"]))
        # Of a report with a hundred findings PixelMed's validator takes more memory than there is.
        for k, view in enumerate(list(VIEWS)[: 3 if number == 10 else None])
    ]
    (study,) = night.screen(images, lambda r: ImageResult((96, 80), some_findings(number, (96, 80))))
    objects = written(study, tmp_path)
    per_image = len(images) if number else 0
    assert {kind: len(found) for kind, found in objects.items()} == {
        **{"cad-sr": 1, "tid1500": int(number > 0)},
        **dict.fromkeys(("dicom-seg", "gsps", "picture"), per_image),
    }
    for found in objects.values():
        for path, _ in found[:2]:
            assert_valid(path)
        for path, _ in found[2:]:
            assert dciodvfy(path) == []
    for _, dataset in objects["dicom-seg"]:
        assert dataset.NumberOfFrames == len(dataset.SegmentSequence) == number


def frames(dataset):
    """Unpack a SEG's bits by the rule of PS3.5 8.1.1, without any of highdicom's or our code."""
    rows, cols, n = dataset.Rows, dataset.Columns, int(dataset.NumberOfFrames)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    return bits[: n * rows * cols].reshape(n, rows, cols).astype(bool)


@pytest.mark.parametrize(
    "shape, orientation, spacing",
    [
        ((97, 81), ["A", "R"], [0.07, 0.07]),
        ((61, 103), ["P", "FL"], [0.07, 0.07]),
        ((97, 81), ["A", "F"], [0.05, 0.1]),
        ((50, 77), ["P", "F"], [0.1, 0.05]),
        ((97, 80), [], [0.07, 0.07]),
    ],
    ids=["portrait", "landscape", "A F, not square", "P F, not square", "no orientation"],
)
def test_masks_land_where_they_belong(night, tmp_path, shape, orientation, spacing):
    rng = np.random.default_rng(3)
    findings = (
        Finding((0, 0, 7, 9), 1.0, 0.9, ellipse(9, 7)),
        Finding((shape[1] - 13, shape[0] - 11, shape[1], shape[0]), 0.5, 0.8, rng.random((11, 13)) < 0.5),
        Finding((3, 4, 30, 20), 0.4, 0.7, rng.random((16, 27)) < 0.3),
        Finding((30, 30, 40, 40), 0.3, 0.6, np.zeros((10, 10), bool)),
    )
    pixels = rng.integers(1, 4000, shape)
    image = mammogram(pixels=pixels, PatientOrientation=orientation, ImagerPixelSpacing=spacing, PixelSpacing=spacing)
    (study,) = night.screen([image], lambda r: ImageResult(shape, findings))
    objects = written(study, tmp_path)
    ((path, seg),) = objects["dicom-seg"]
    assert_valid(path)
    expected = []
    for finding in findings[:3]:
        canvas = np.zeros(shape, bool)
        x_min, y_min, x_max, y_max = finding.box
        canvas[y_min:y_max, x_min:x_max] = finding.mask
        expected.append(canvas)
    assert np.array_equal(frames(seg), np.array(expected))
    assert np.array_equal(seg.pixel_array.reshape(3, *shape).astype(bool), np.array(expected)), "pydicom's own reading"
    assert list(seg.PatientOrientation or []) == orientation
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == spacing
    for number, frame in enumerate(seg.PerFrameFunctionalGroupsSequence, start=1):
        assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID
    ((_, state),) = objects["gsps"]
    drawn = [object_ for item in state.GraphicAnnotationSequence for object_ in item.GraphicObjectSequence]
    for finding, object_ in zip(findings, drawn, strict=True):
        assert np.array_equal(np.reshape(object_.GraphicData, (-1, 2)), contour(finding))
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [shape[1], shape[0]]
    assert list(area.PresentationPixelSpacing) == spacing


def test_segments_that_overlap_say_so(night, tmp_path):
    one = Finding((10, 10, 20, 20), 1.0, 0.9, np.ones((10, 10), bool))
    for k, (box, overlap) in enumerate([((20, 10, 30, 20), "NO"), ((19, 10, 29, 20), "YES")]):
        run = Run(RUN.bundle_id, f"{k}" * 64)
        result = ImageResult((96, 80), (one, Finding(box, 1.0, 0.9, one.mask)))
        if k:
            night.record(lambda r, result=result: result, run)
        else:
            night.screen([mammogram()], lambda r, result=result: result, run)
        (study,) = night.studies(run)
        ((_, seg),) = written(study, tmp_path, ["dicom-seg"])["dicom-seg"]
        assert seg.SegmentsOverlap == overlap


def test_the_same_finding_has_one_name_everywhere(study, tmp_path):
    given = study([mammogram(laterality=side) for side in "LR"], 3)
    objects = written(given, tmp_path)
    names = [tracking_uid(image, number) for image in given.images for number in (1, 2, 3)]
    assert [s.TrackingUID for _, seg in objects["dicom-seg"] for s in seg.SegmentSequence] == names
    marks = [
        o for _, state in objects["gsps"] for a in state.GraphicAnnotationSequence for o in a.GraphicObjectSequence
    ]
    assert [mark.TrackingUID for mark in marks] == names
    ((_, dataset),) = objects["tid1500"]
    report = ComprehensiveSR.from_dataset(dataset)
    groups = report.content.get_planar_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == names
    findings = [(image, finding) for image in given.images for finding in image.findings]
    for group, (image, finding) in zip(groups, findings, strict=True):
        assert np.array_equal(group.roi.value, contour(finding))
        (source,) = [item for item in group.roi.ContentSequence if item.ValueType == "IMAGE"]
        assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.sop_uid
        values = {m.name.meaning: m.value for m in group.get_measurements()}
        assert values["Area"] == pytest.approx(finding.area_px * 0.07**2)
        assert values["Certainty of Finding"] == pytest.approx(finding.confidence)
        assert values["Score relative to the image's strongest"] == pytest.approx(finding.score)


def test_the_report_s_evidence_names_images_and_objects(study, tmp_path):
    given = study([mammogram(laterality=side) for side in "LR"], 1)
    objects = written(given, tmp_path)
    ((_, report),) = objects["tid1500"]
    (of_study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {
        (str(series.SeriesInstanceUID), str(item.ReferencedSOPInstanceUID), str(item.ReferencedSOPClassUID))
        for series in of_study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    others = [d for kind in ("dicom-seg", "gsps", "picture") for _, d in objects[kind]]
    others += [image.header for image in given.images]
    assert named == {(str(d.SeriesInstanceUID), str(d.SOPInstanceUID), str(d.SOPClassUID)) for d in others}
    assert of_study.StudyInstanceUID == given.study_uid
    for kind in ("dicom-seg", "gsps"):
        for (_, dataset), image in zip(objects[kind], given.images, strict=True):
            (series,) = dataset.ReferencedSeriesSequence
            assert series.SeriesInstanceUID == image.header.SeriesInstanceUID
    for (_, dataset), image in zip(objects["picture"], given.images, strict=True):
        assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == image.sop_uid
    alone = dict(study_objects(given, ["tid1500"]))["tid1500"]
    assert alone.SOPInstanceUID != report.SOPInstanceUID, "it names fewer objects, so it is another one"


def test_each_kind_is_one_series_and_series_differ(study, tmp_path):
    given = study([mammogram(laterality=side, view=v) for side in "LR" for v in ("CC", "MLO")], 1)
    objects = written(given, tmp_path)
    series = {kind: {(d.SeriesInstanceUID, d.SeriesNumber) for _, d in found} for kind, found in objects.items()}
    assert all(len(one) == 1 for one in series.values())
    assert len({one.pop() for one in series.values()}) == len(KINDS)


def digests(folder):
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.dcm")}


def test_the_same_results_give_the_same_bytes_in_another_process(study, night, tmp_path, elsewhere):
    study([mammogram(style, laterality=side) for style, side in (("modern", "L"), ("for processing", "R"))][:1], 2)
    options = [arg for kind in KINDS for arg in ("--to", kind)]
    for out in ("one", "two"):
        command = [
            sys.executable,
            "-m",
            "mammofast",
            "report",
            night.folder / "results",
            *options,
            "--out",
            tmp_path / out,
        ]
        subprocess.run(command, **elsewhere, check=True, capture_output=True)
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert one == two
    assert len(one) == 5
    night.record(lambda r: ImageResult((96, 80), some_findings(2, (96, 80))), Run("d" * 64, RUN.settings_id), SUMMARY)
    export(night.folder / "results", tmp_path / "three", KINDS, bundle_id="d")
    assert {p.name for p in digests(tmp_path / "three")}.isdisjoint({p.name for p in one})


def test_the_command_says_what_it_wrote_and_a_rerun_changes_nothing(study, night, tmp_path):
    study([mammogram()], 1)
    out = tmp_path / "out"
    command = ["report", str(night.folder / "results"), "--to", "dicom-seg", "--to", "csv", "--out", str(out), "--json"]
    first = json.loads(CliRunner().invoke(main, command).stdout)
    assert (first["studies"], first["objects"], first["unchanged"]) == (1, {"dicom-seg": 1}, 0)
    assert [path.split(".")[-1] for path in first["written"]] == ["csv", "csv", "txt", "dcm"]
    assert first["notices"] == ["Not for diagnosis."]
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.dcm")}
    again = json.loads(CliRunner().invoke(main, command).stdout)
    assert again["unchanged"] == 1
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.dcm")} == before
    (path,) = before
    path.write_bytes(path.read_bytes()[:-2])
    assert json.loads(CliRunner().invoke(main, command).stdout)["unchanged"] == 0
    assert dciodvfy(path) == []
    said = CliRunner().invoke(main, command[:-1])
    assert said.stdout.splitlines()[-1] == f"{out}: 1 dicom-seg of 1 study; 1 were there already"
    assert "Not for diagnosis." in said.stderr


def test_the_command_asks_which_run(study, night, tmp_path):
    study([mammogram()], 1)
    night.record(lambda r: ImageResult((96, 80)), Run("d" * 64, "c" * 64))
    forms = ("--to", "html", "--to", "csv", "--to", "cad-sr")
    command = ["report", str(night.folder / "results"), *forms, "--out", str(tmp_path / "out")]
    asked = CliRunner().invoke(main, command)
    assert asked.exit_code == 1
    assert "2 runs have these ids, say which" in asked.stderr
    gone = CliRunner().invoke(main, [*command, "--bundle-id", "dd", "--archive", str(tmp_path / "gone")])
    assert gone.exit_code == 1
    assert "say with --archive where it is now" in gone.stderr
    assert not (tmp_path / "out").exists(), "nothing is written before all is known"
    assert CliRunner().invoke(main, [*command, "--bundle-id", "dd"]).exit_code == 0


def test_de_identified_objects_are_valid_name_each_other_and_nobody(study, night, tmp_path):
    pytest.importorskip("dicomanonymizer")
    study([mammogram()], 2)
    options = [arg for kind in KINDS for arg in ("--to", kind)]
    command = ["report", str(night.folder / "results"), *options, "--out", str(tmp_path / "out"), "--deidentify"]
    assert CliRunner().invoke(main, command).exit_code == 0
    objects = [dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert len(objects) == 5
    for path in (tmp_path / "out").rglob("*.dcm"):
        assert_valid(path)
    for element in (element for dataset in objects for element in dataset.iterall()):
        # Chance may put these digits into a UID or among pixels.
        assert element.VR in ("UI", "OB", "OW") or "0815" not in str(element.value)
    assert len({d.StudyInstanceUID for d in objects}) == 1
    (report,) = [d for d in objects if d.Modality == "SR" and "88.33" in d.SOPClassUID]
    named = {
        item.ReferencedSOPInstanceUID
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert {d.SOPInstanceUID for d in objects if d.Modality != "SR"} < named


@pytest.mark.parametrize("said, withheld", [("YES", 1), ("NO", 0), (None, 1)])
def test_a_picture_of_what_may_bear_a_name_is_not_called_de_identified(study, night, tmp_path, said, withheld):
    pytest.importorskip("dicomanonymizer")
    study([mammogram(BurnedInAnnotation=said)], 1)
    from mammofast.report.dicom.deidentify import Deidentifier

    done = export(night.folder / "results", tmp_path / "out", ["picture", "gsps"], deidentify=Deidentifier(b"k" * 32))
    assert (done.withheld, done.objects["picture"], done.objects["gsps"]) == (withheld, 1 - withheld, 1)
