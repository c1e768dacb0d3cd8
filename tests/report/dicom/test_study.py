"""What writers are told of a study, and the names that follow from it."""

import hashlib
import re
from dataclasses import replace

import pytest

from mammofast import open_archive
from mammofast.archive import ingest
from mammofast.errors import ResultsError
from mammofast.records import ImageResult
from mammofast.report.dicom import identity
from mammofast.report.dicom.study import choose_run, studies
from mammofast.screening.entry import Run
from tests.report.dicom.conftest import RUN, SUMMARY, Night, some_findings
from tests.report.dicom.headers import mammogram

OTHER = Run("d" * 64, "c" * 64)


def four_views(seed=0):
    return [mammogram(laterality=side, view=view, seed=seed) for side in "LR" for view in ("CC", "MLO")]


def found(number):
    return lambda record: ImageResult((record.rows, record.cols), some_findings(number, (record.rows, record.cols)))


def test_every_image_has_its_outcome_its_header_and_its_findings(night):
    def outcome(record):
        return {
            ("L", "CC"): ImageResult((96, 80), some_findings(2, (96, 80))),
            ("L", "MLO"): ImageResult((96, 80)),
            ("R", "CC"): ImageResult((0, 0), error="decode: the pixels are cut off"),
        }.get((record.laterality, record.view))

    (study,) = night.screen(four_views(), outcome)
    by_view = {(image.info.laterality, image.info.view): image for image in study.images}
    assert {view: (image.status, image.reason, len(image.findings)) for view, image in by_view.items()} == {
        ("L", "CC"): ("done", None, 2),
        ("L", "MLO"): ("done", None, 0),
        ("R", "CC"): ("failed", "decode: the pixels are cut off", 0),
        ("R", "MLO"): ("pending", None, 0),
    }
    assert [image.sop_uid for image in study.images] == sorted(image.sop_uid for image in study.images)
    assert all(image.header.SOPInstanceUID == image.sop_uid for image in study.images)
    assert study.with_findings == (by_view["L", "CC"],)
    assert by_view["L", "CC"].findings == some_findings(2, (96, 80))
    assert (study.algorithm.run, study.algorithm.name, study.algorithm.notice) == (RUN, "demo", "Not for diagnosis.")


def test_studies_come_in_order_and_only_those_that_were_screened(night):
    images = [image for seed in range(3) for image in four_views(seed)]
    unscreened = images[0].StudyInstanceUID
    given = night.screen(images, lambda r: None if r.study_uid == unscreened else found(1)(r))
    assert [s.study_uid for s in given] == sorted({str(i.StudyInstanceUID) for i in images} - {str(unscreened)})


def test_a_file_of_the_study_that_is_no_image_is_told_with_its_reason(night):
    tomosynthesis = mammogram(laterality="R", view="MLO", SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.3")
    (study,) = night.screen([mammogram(), tomosynthesis], found(0))
    (left_out,) = study.left_out
    assert left_out.status == "skipped"
    assert left_out.reason.startswith("tomosynthesis:")
    assert len(study.images) == 1


def test_an_image_whose_result_a_disk_has_damaged_is_failed_as_in_the_tables(night):
    (before,) = night.screen(four_views(), found(1))
    damaged, other = sorted(night.results.path.glob("images/*/*.json"))[:2]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    (study,) = night.studies()
    rows = {row["sop_uid"]: (row["status"], row["reason"]) for row in night.results.images().to_pylist()}
    assert {image.sop_uid: (image.status, image.reason) for image in study.images} == rows
    assert [image.status for image in study.images].count("failed") == 1
    assert study.identity != before.identity
    other.write_bytes(other.read_bytes().replace(b'"format":1', b'"format":7'))
    assert [image.status for image in next(iter(night.studies())).images].count("failed") == 2
    # Whole, and of another version.
    body = other.read_bytes()[len(b'{"result":') : -len(b',"sha256":""}\n') - 64]
    other.write_bytes(b'{"result":' + body + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n')
    with pytest.raises(ResultsError, match="another version"):
        list(night.studies())


def test_an_image_without_its_header_is_left_out_as_failed(night):
    night.screen(four_views(), found(1))
    image = next(night.archive.images())
    (image.folder / "header" / "zarr.json").write_text("{")
    (study,) = night.studies()
    (left_out,) = study.left_out
    assert (left_out.image.sop_uid, left_out.status) == (image.record.sop_uid, "failed")
    assert left_out.reason.startswith("read:")
    assert len(study.images) == 3


def test_which_run_is_asked_for_where_there_are_several(night):
    night.screen([mammogram()], found(1))
    assert choose_run(night.results) == RUN
    night.record(found(3), OTHER, SUMMARY)
    with pytest.raises(ResultsError, match=f"2 runs have these ids.*{RUN.bundle_id}.*{OTHER.bundle_id}"):
        next(studies(night.results, night.archive))
    assert choose_run(night.results, bundle_id="dd") == OTHER
    assert [len(image.findings) for study in night.studies(OTHER) for image in study.images] == [3]
    with pytest.raises(ResultsError, match="0 runs have these ids"):
        choose_run(night.results, bundle_id="e")
    with pytest.raises(ResultsError, match="no run of bundle_id eeee"):
        next(studies(night.results, night.archive, Run("e" * 64, "c" * 64)))


def test_results_of_another_archive_are_refused(night, tmp_path):
    night.screen([mammogram()], found(1))
    ingest([tmp_path / "dicom"], tmp_path / "other.zarr", workers=1)
    with pytest.raises(ResultsError, match="the results are of archive"):
        next(studies(night.results, open_archive(tmp_path / "other.zarr")))


def uids(study):
    return [
        *(identity.study_object_uid(study, kind) for kind in ("cad-sr", "tid1500")),
        *(identity.image_object_uid(image, kind) for image in study.images for kind in ("dicom-seg", "gsps")),
        *(identity.tracking_uid(image, number) for image in study.images for number in (1, 2)),
    ]


def test_uids_are_legal_distinct_and_the_same_every_time(night):
    (study,) = night.screen(four_views(), found(2))
    given = [*uids(study), *(identity.series_uid(study, kind) for kind in ("cad-sr", "tid1500", "dicom-seg"))]
    assert len(set(given)) == len(given) == 2 + 8 + 8 + 3
    assert all(re.fullmatch(r"2\.25\.[1-9]\d*", uid) and len(uid) <= 64 for uid in given)
    (again,) = night.studies()
    assert uids(again) == uids(study)


def test_other_results_have_other_uids(night):
    (study,) = night.screen(four_views(), found(2))
    night.record(found(2), OTHER, SUMMARY)
    night.record(found(3), Run("b" * 64, "e" * 64), SUMMARY)
    (other,), (settings,) = night.studies(OTHER), night.studies(Run("b" * 64, "e" * 64))
    for another in (other, settings):
        assert not {*uids(another), identity.series_uid(another, "gsps")} & {
            *uids(study),
            identity.series_uid(study, "gsps"),
        }


def test_one_more_outcome_changes_the_study_s_objects_and_no_other_image_s(night):
    (before,) = night.screen(four_views(), lambda r: None if r.view == "CC" else found(1)(r))
    night.record(found(1))
    (after,) = night.studies()
    assert identity.study_object_uid(before, "cad-sr") != identity.study_object_uid(after, "cad-sr")
    assert identity.series_uid(before, "cad-sr") == identity.series_uid(after, "cad-sr")
    for old, new in zip(before.images, after.images, strict=True):
        same = identity.image_object_uid(old, "gsps") == identity.image_object_uid(new, "gsps")
        assert same == (old.info.view == "MLO")


def test_a_changed_header_changes_the_uids(tmp_path):
    given = []
    for name in ("DOE^JANE", "DOE^JOAN"):
        (tmp_path / name).mkdir()
        (study,) = Night(tmp_path / name).screen([mammogram(PatientName=name)], found(1))
        given.append(set(uids(study)))
    assert not given[0] & given[1]


@pytest.mark.parametrize(
    "attributes, expected",
    [
        ({}, ("20260301", "101612.25")),
        ({"AcquisitionDate": "", "ContentTime": "09"}, ("20260301", "09")),
        ({"AcquisitionTime": "10:16"}, ("20260301", "000000")),
        (
            {"AcquisitionDate": "20260230", "ContentDate": "2026.01.01", "SeriesDate": "20251231"},
            ("20251231", "101500.1"),
        ),
        ({"AcquisitionDate": "", "ContentDate": "", "SeriesDate": "", "StudyDate": ""}, ("19000101", "000000")),
    ],
)
def test_an_object_bears_the_moment_of_its_images(attributes, expected):
    assert identity.moment([mammogram(**attributes)]) == expected


def test_the_latest_of_several_moments_counts():
    earlier, later = mammogram(AcquisitionTime="101559"), mammogram(AcquisitionTime="1016")
    assert identity.moment([earlier, later]) == identity.moment([later, earlier]) == ("20260301", "1016")


def test_findings_are_told_apart_by_side_view_and_number(night):
    (study,) = night.screen([mammogram()], found(2))
    assert identity.tracking_id(study.images[0], 2) == "L MLO 2"
    (plain,) = [replace(study.images[0], info=replace(study.images[0].info, laterality=None, view=None))]
    assert identity.tracking_id(plain, 1) == "1"
