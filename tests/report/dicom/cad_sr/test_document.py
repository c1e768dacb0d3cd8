"""The report as a DICOM object: what validators and other readers say of it, and that it is always the same."""

import re
import shutil
import subprocess

import pytest
from pydicom import config

from mammofast.records import ImageResult
from mammofast.report.dicom.cad_sr import cad_sr
from mammofast.report.dicom.identity import study_object_uid
from tests.report.dicom import validators
from tests.report.dicom.conftest import SUMMARY, some_findings
from tests.report.dicom.headers import STYLES, VIEWS, mammogram

POINTS = {**SUMMARY, "operating_points": [0.85, 0.6]}
# What dciodvfy says whatever the report holds: of UTF-8, of itself, and of what the images do not say either.
_ALWAYS = re.compile(
    r"MammographyCADSR|W: .*(ISO_IR 192|template constraints not yet supported)|Warning - Missing .* to build DICOMDIR"
)


def assert_no_complaint(path):
    """dciodvfy: no error, and no warning that a report could do something about."""
    assert validators.dciodvfy(path) == []
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    assert [line for line in (done.stdout + done.stderr).splitlines() if not _ALWAYS.match(line)] == []


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_valid(report, style):
    with config.disable_value_validation():
        assert_no_complaint(report([mammogram(style), mammogram(style, "R", "CC")], 2).path)


@pytest.mark.parametrize(("number", "summary"), [(0, SUMMARY), (1, SUMMARY), (10, POINTS)])
def test_every_view_with_none_one_and_ten_findings_is_valid(report, number, summary):
    sides = "LR" if number < 10 else "R"
    images = [mammogram(laterality=side, view=view) for side in sides for view in VIEWS]
    assert_no_complaint(report(images, number, summary=summary).path)


def failures(record):
    """A breast with a finding and a failure, one that the run has not come to."""
    if record.laterality == "R":
        return None
    return ImageResult((0, 0), error="decode: the pixels are cut off") if record.view == "CC" else found(record, 2)


def all_failed(record):
    return ImageResult((0, 0), error="internal: MemoryError")


def four_views(**attributes):
    return [mammogram(laterality=side, view=view, **attributes) for side in "LR" for view in ("CC", "MLO")]


@pytest.mark.parametrize("outcome", [failures, all_failed])
def test_failures_are_valid(report, outcome):
    assert_no_complaint(report(four_views(), outcome).path)


# PixelMed's validator takes seconds for the smallest report, and many for many findings.
def test_the_templates_hold_for_images_of_all_styles_together(report):
    with config.disable_value_validation():
        uid = mammogram().StudyInstanceUID
        images = [mammogram(style, StudyInstanceUID=uid) for style in STYLES]
        first = str(images[0].SOPInstanceUID)
        written = report(images, lambda record: found(record, int(record.sop_uid == first)))
        assert validators.pixelmed(written.path) == []


def found(record, number):
    shape = (record.rows, record.cols)
    return ImageResult(shape, some_findings(number, shape))


@pytest.mark.parametrize(("outcome", "summary"), [(failures, POINTS), (all_failed, SUMMARY)])
def test_the_templates_hold_whatever_came_of_a_study(report, outcome, summary):
    images = [mammogram(), mammogram(view="CC"), mammogram(laterality="R")]
    assert validators.pixelmed(report(images, outcome, summary=summary).path) == []


def test_the_modules_of_the_document(report):
    written = report(four_views(), failures)
    ds = written.dataset
    assert (ds.SOPClassUID, ds.Modality) == ("1.2.840.10008.5.1.4.1.1.88.50", "SR")
    assert (ds.CompletionFlag, ds.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    assert (ds.ContentDate, ds.ContentTime) == ("20260301", "101612.25")
    assert ds.ContentTemplateSequence[0].TemplateIdentifier == "4000"
    assert ds.StudyInstanceUID == written.study.study_uid
    assert ds.PatientID == "PID 0815"
    referenced = {
        (series.SeriesInstanceUID, item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert referenced == {(h.SeriesInstanceUID, h.SOPClassUID, uid) for uid, h in written.headers.items()}


def test_code_meanings_are_plain_text(report):
    written = report(four_views(), 1, summary=POINTS)
    meanings = re.findall(rb"[^\x20-\x7e]", b"".join(m.encode() for m in all_meanings(written.dataset)))
    assert meanings == []
    assert max(map(len, all_meanings(written.dataset))) <= 64


def all_meanings(ds):
    for element in ds:
        if element.keyword == "CodeMeaning":
            yield element.value
        if element.VR == "SQ":
            for item in element.value:
                yield from all_meanings(item)


def test_the_same_results_give_the_same_bytes(report, night, tmp_path):
    written = report(four_views(), failures)
    (again,) = night.studies()
    cad_sr(again).save_as(tmp_path / "again.dcm", enforce_file_format=True)
    assert (tmp_path / "again.dcm").read_bytes() == written.path.read_bytes()
    assert written.dataset.SOPInstanceUID == study_object_uid(again, "cad-sr")


def test_dcmtk_shows_the_tree(report):
    if shutil.which("dsrdump") is None:
        validators._need("dsrdump (dcmtk)", None)
    written = report([mammogram(), mammogram("modern", "R", "CC")], 1, summary=POINTS)
    tree = subprocess.run(
        ["dsrdump", "+Pc", "+Pn", "+Pu", written.path], capture_output=True, text=True, check=True
    ).stdout
    for line in (
        '<CONTAINER:(111036,DCM,"Mammography CAD Report")=SEPARATE>',
        '<contains CONTAINER:(111028,DCM,"Image Library")=SEPARATE>',
        '<has acq context CODE:(111031,DCM,"Image View")=(399368009,SCT,"medio-lateral oblique")>',
        '=(111242,DCM,"All algorithms succeeded; with findings")>',
        '<inferred from CONTAINER:(111034,DCM,"Individual Impression/Recommendation")=SEPARATE>',
        '<contains CODE:(111059,DCM,"Single Image Finding")=(129793001,SCT,"Mammography breast density")>',
        '<has properties NUM:(111012,DCM,"Certainty of Finding")="90" (%,UCUM,"Percent")>',
        '<has properties SCOORD:(111041,DCM,"Outline")=(POLYLINE,',
        '<contains CODE:(111064,DCM,"Summary of Detections")=(111222,DCM,"Succeeded")>',
        '<contains CODE:(111065,DCM,"Summary of Analyses")=(111225,DCM,"Not Attempted")>',
    ):
        assert line in tree, f"{line} is not in\n{tree}"
    assert set(re.findall(r"<selected from ([\d.]+)>", tree)) == {"1.2.1", "1.2.2"}
