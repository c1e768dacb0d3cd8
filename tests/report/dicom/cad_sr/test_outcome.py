"""What the report says of what was done: no findings must never look like, or hide, what was not looked at."""

import pytest

from mammofast.records import ImageResult
from tests.report.dicom.conftest import SUMMARY, some_findings
from tests.report.dicom.headers import mammogram

ALL_WITHOUT, ALL_WITH, SOME_WITHOUT, SOME_WITH, NONE = "111241", "111242", "111243", "111244", "111245"
SUCCEEDED, PARTLY, FAILED, NOT_ATTEMPTED = "111222", "111223", "111224", "111225"
PENDING = None
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
OTHER_REPORT = "1.2.840.10008.5.1.4.1.1.88.33"


def of(**outcomes):
    """An outcome by side and view: a number of findings, a reason, or None where the run did not come to it."""

    def outcome(record):
        what = outcomes[f"{record.laterality}_{record.view}"]
        if what is PENDING:
            return None
        shape = (record.rows, record.cols)
        return (
            ImageResult(shape, error=what) if isinstance(what, str) else ImageResult(shape, some_findings(what, shape))
        )

    return outcome


def four_views(**attributes):
    return [mammogram(laterality=side, view=view, **attributes) for side in "LR" for view in ("CC", "MLO")]


def lists(written):
    """Return the sides and views of the images under Successful and under Failed Detections."""
    root = written.dataset
    views = {uid: f"{h.ImageLaterality}_{h.ViewPosition}" for uid, h in written.headers.items()}
    found = {}
    for name, code in (("searched", "111063"), ("failed", "111025")):
        found[name] = sorted(
            views[root.ContentSequence[1].ContentSequence[item.ReferencedContentItemIdentifier[2] - 1]
                  .ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
            for container in written.items(code)
            for item in container.ContentSequence[0].ContentSequence
            if "ReferencedContentItemIdentifier" in item
        )  # fmt: skip
    return found["searched"], found["failed"]


@pytest.mark.parametrize(
    ("outcomes", "summary", "detections", "searched", "failed"),
    [
        ({}, ALL_WITHOUT, SUCCEEDED, "L_CC L_MLO R_CC R_MLO", ""),
        ({"L_CC": 2}, ALL_WITH, SUCCEEDED, "L_CC L_MLO R_CC R_MLO", ""),
        ({"L_CC": "decode: cut off"}, SOME_WITHOUT, PARTLY, "L_MLO R_CC R_MLO", "L_CC"),
        ({"L_CC": "decode: cut off", "R_CC": 1}, SOME_WITH, PARTLY, "L_MLO R_CC R_MLO", "L_CC"),
        ({"L_CC": PENDING}, SOME_WITHOUT, PARTLY, "L_MLO R_CC R_MLO", "L_CC"),
        (dict.fromkeys(["L_CC", "L_MLO", "R_CC", "R_MLO"], "worker: died"), NONE, FAILED, "", "L_CC L_MLO R_CC R_MLO"),
        (
            {"L_CC": "decode: cut off", "L_MLO": PENDING, "R_CC": PENDING, "R_MLO": PENDING},
            NONE,
            FAILED,
            "",
            "L_CC L_MLO R_CC R_MLO",
        ),
    ],
)
def test_what_came_of_four_views(report, outcomes, summary, detections, searched, failed):
    everything = {"L_CC": 0, "L_MLO": 0, "R_CC": 0, "R_MLO": 0} | outcomes
    written = report(four_views(), of(**everything))
    assert written.value("111017") == summary
    assert written.value("111064") == detections
    assert written.value("111065") == NOT_ATTEMPTED
    assert lists(written) == (searched.split(), failed.split())
    assert written.dataset.CompletionFlag == ("PARTIAL" if PENDING in outcomes.values() else "COMPLETE")
    assert len(list(written.items("111059"))) == sum(n for n in outcomes.values() if isinstance(n, int))
    assert written.errors() == []


def test_only_one_breast(report):
    written = report([mammogram(view=view) for view in ("CC", "MLO")], of(L_CC=1, L_MLO=1))
    assert (written.value("111017"), written.value("111064")) == (ALL_WITH, SUCCEEDED)
    assert written.description[0] == "2 of 2 images searched for masses, 2 marks."


def skip(night, images, outcome, is_skipped):
    """Screen images, but put those on record as skipped that the bundle does not read."""
    from mammofast.screening.entry import Entry, ImageInfo
    from tests.report.dicom.conftest import RUN

    night.screen(images, lambda record: None if is_skipped(record) else outcome(record))
    for image in night.archive.images():
        if is_skipped(image.record):
            reason = "presentation-intent: the image's presentation intent is FOR PROCESSING"
            night.results.record(Entry(ImageInfo.of(image.record), RUN, "skipped", reason))
    (study,) = night.studies()
    return study


def written_from(study, tmp_path):
    from tests.report.dicom.cad_sr.conftest import Report

    return Report(study, tmp_path / "report.dcm")


def test_a_copy_that_is_not_read_is_no_gap_and_is_told(night, tmp_path):
    shown = mammogram()
    raw = mammogram("for processing", StudyInstanceUID=shown.StudyInstanceUID)
    is_raw = lambda record: record.presentation_intent == "FOR PROCESSING"  # noqa: E731
    study = skip(night, [shown, raw], of(L_MLO=0), is_raw)
    written = written_from(study, tmp_path)
    assert (written.value("111017"), written.value("111064")) == (ALL_WITHOUT, SUCCEEDED)
    (number,) = [n for n, image in enumerate(study.images, 1) if image.sop_uid == raw.SOPInstanceUID]
    assert written.description == [
        "1 of 2 images searched for masses, 0 marks.",
        f"No result for image {number} (L MLO): skipped, presentation-intent: the image's presentation intent is "
        "FOR PROCESSING.",
        "Not for diagnosis.",
    ]
    assert written.errors() == []


def test_a_view_that_no_other_image_shows_is_a_gap(night, tmp_path):
    study = skip(night, four_views(), of(L_CC=0, L_MLO=0, R_CC=0, R_MLO=0), lambda record: record.view == "CC")
    written = written_from(study, tmp_path)
    assert (written.value("111017"), written.value("111064")) == (SOME_WITHOUT, PARTLY)
    assert lists(written) == (["L_MLO", "R_MLO"], ["L_CC", "R_CC"])
    assert written.errors() == []


def test_where_nothing_was_to_be_read_nothing_was_attempted(night, tmp_path):
    written = written_from(skip(night, four_views(), of(), lambda record: True), tmp_path)
    assert (written.value("111017"), written.value("111064")) == (NONE, NOT_ATTEMPTED)
    assert lists(written) == ([], [])
    assert len(written.dataset.ContentSequence[1].ContentSequence) == 4
    assert written.errors() == []


def test_of_two_images_of_no_known_view_neither_stands_for_the_other(night, tmp_path):
    shown = mammogram("empty", ViewCodeSequence=[])
    raw = mammogram("for processing", ViewPosition="", ViewCodeSequence=[], StudyInstanceUID=shown.StudyInstanceUID)
    is_raw = lambda record: record.presentation_intent == "FOR PROCESSING"  # noqa: E731
    study = skip(night, [shown, raw], of(L_None=0), is_raw)
    assert [(image.info.laterality, image.info.view) for image in study.images] == [("L", None)] * 2
    written = written_from(study, tmp_path)
    assert (written.value("111017"), written.value("111064")) == (SOME_WITHOUT, PARTLY)
    assert written.errors() == []


def test_files_that_never_became_images_are_told_and_other_reports_are_not(report):
    shown = mammogram()
    images = [
        shown,
        mammogram(view="CC", SOPClassUID=TOMOSYNTHESIS),
        mammogram(laterality="R", SOPClassUID=OTHER_REPORT),
    ]
    written = report(images, of(L_MLO=0))
    assert (written.value("111017"), written.value("111064")) == (SOME_WITHOUT, PARTLY)
    assert written.description == [
        "1 of 2 images searched for masses, 0 marks.",
        "No result for 1 file (L CC): skipped, tomosynthesis: a tomosynthesis object.",
        "Not for diagnosis.",
    ]
    (series,) = written.items("112002")
    assert images[1].SeriesInstanceUID == series.UID
    assert written.errors() == []


def test_a_damaged_file_of_a_view_that_another_image_shows_has_failed_all_the_same(report):
    broken = mammogram(seed=1, BitsStored=0)
    images = [mammogram(StudyInstanceUID=broken.StudyInstanceUID), broken]
    written = report(images, of(L_MLO=1))
    assert (written.value("111017"), written.value("111064")) == (SOME_WITH, PARTLY)
    assert "failed, bad-header:" in written.description[1]
    assert written.errors() == []


def test_words_hold_no_uid_that_could_tell_who_it_is(report):
    written = report(four_views(), of(L_CC="read: 1.2.826.0.1.3680043.8.498.5 of class 1.2.840.10008.1.2.1 is cut off",
                                      L_MLO=0, R_CC=0, R_MLO=0))  # fmt: skip
    (line,) = [line for line in written.description if "L CC" in line]
    assert line.endswith("failed, read: (a UID) of class 1.2.840.10008.1.2.1 is cut off.")


def test_a_bundle_that_says_nothing_has_no_notice(report):
    assert len(report([mammogram()], of(L_MLO=0), summary={**SUMMARY, "notice": ""}).description) == 1


def test_the_algorithm_is_identified_with_all_that_results_follow_from(report):
    written = report([mammogram()], of(L_MLO=2))
    (detection,) = written.items("111022")
    texts = [item.TextValue for item in detection.ContentSequence if item.get("ValueType") == "TEXT"]
    assert texts == ["demo", f"{'b' * 16}-{'c' * 16}", "method two_stage", f"bundle_id {'b' * 64}",
                     f"settings_id {'c' * 64}"]  # fmt: skip
    assert [item.TextValue for item in written.items("111001")] == ["demo"] * 4


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], [0, 0, 0, 0]),
        ([0.9], [0, 1, 1, 1]),
        ([0.9, 0.8], [0, 1, 2, 2]),
        ([0.95, 0.8], [1, 1, 2, 2]),
    ],
)
def test_operating_points_follow_from_the_confidence(report, points, expected):
    written = report([mammogram()], 4, summary={**SUMMARY, "operating_points": points})
    findings = list(written.items("111059"))
    assert [round(f.confidence, 4) for f in written.study.images[0].findings] == [0.9, 0.8375, 0.775, 0.7125]
    assert [point_of(finding) for finding in findings] == expected
    assert [point_of(container) > 0 for container in written.items("111034")] == [point > 0 for point in expected]
    (last,), (first,) = written.items("111072"), written.items("111092")
    assert (number(last), number(first)) == (len(points), 0)
    assert written.errors() == []


def point_of(item):
    (intent,) = [child for child in item.ContentSequence if name(child) == "111056"]
    if intent.ConceptCodeSequence[0].CodeValue == "111150":
        assert "ContentSequence" not in intent
        return 0
    return number(intent.ContentSequence[0]) if "ContentSequence" in intent else 1


def name(item):
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else None


def number(item):
    return float(item.MeasuredValueSequence[0].NumericValue)


@pytest.mark.parametrize(("confidence", "expected"), [(0.12345678, "12.35"), (1.0, "100"), (1.7, "100")])
def test_certainty_is_the_confidence_in_percent_at_most_all_of_it(report, confidence, expected):
    def outcome(record):
        (finding,) = some_findings(1, (96, 80))
        from dataclasses import replace

        return ImageResult((96, 80), (replace(finding, confidence=confidence),))

    (item,) = report([mammogram()], outcome).items("111012")
    assert str(item.MeasuredValueSequence[0].NumericValue) == expected
