"""Truth out of data sets' own layouts, by SOP Instance UID."""

import csv
import json
import plistlib

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread

from mammofast.cli import main
from mammofast.cli.evaluate import evaluate_command
from mammofast.datasets import Split, folds, read_phantoms, write_splits
from mammofast.errors import DatasetError, ResultsError
from mammofast.evaluation import open_truth, read_truth
from mammofast.evaluation.truth import LAYOUTS
from mammofast.phantom.studies import write_studies

SHAPE = (60, 50)


def test_phantoms_are_their_pictures(tmp_path):
    write_studies(tmp_path, 1, 3)
    by_data_set, by_png = open_truth(tmp_path, "phantoms"), open_truth(tmp_path / "truth")
    for path in (tmp_path / "dicom").rglob("*.dcm"):
        header = dcmread(path, stop_before_pixels=True)
        uid, shape = header.SOPInstanceUID, (header.Rows, header.Columns)
        assert uid in by_data_set
        assert uid in by_png
        expected = read_truth(tmp_path / "truth" / f"{uid}.png")
        for shape_known in (shape, None):
            np.testing.assert_array_equal(by_data_set.labels(uid, shape_known), expected)
            np.testing.assert_array_equal(by_png.labels(uid, shape_known), expected)
        with pytest.raises(ResultsError, match="the image is"):
            by_data_set.labels(uid, (3, 4))
    assert "1.2.3" not in by_data_set
    assert "1.2.3" not in by_png


def test_a_data_sets_masses(tmp_path, dicom):
    """INbreast: outlines by the file's number, asked for by UID; what is no mass is no truth."""
    for folder in ("AllDICOMs", "AllXML"):
        (tmp_path / folder).mkdir()
    uids = []
    for number in (1, 2):
        dataset = dicom.dataset(np.full(SHAPE, 7, np.uint16))
        uids.append(dataset.SOPInstanceUID)
        dataset.save_as(tmp_path / f"AllDICOMs/{number}_ab_MG_L_CC_ANON.dcm", enforce_file_format=True)
    square = ["(10.0, 20.0)", "(30.0, 20.0)", "(30.0, 45.0)", "(10.0, 45.0)"]
    rois = [{"Name": name, "Point_px": square} for name in ("Mass", "Distortion")]
    (tmp_path / "AllXML/2.xml").write_bytes(plistlib.dumps({"Images": [{"ROIs": rois}]}))
    truth = open_truth(tmp_path, "inbreast")
    expected = np.zeros(SHAPE, np.uint8)
    expected[20:46, 10:31] = 1
    assert not truth.labels(uids[0], SHAPE).any()
    np.testing.assert_array_equal(truth.labels(uids[1], None), expected)
    # One that is cut off is not known; the others are.
    path = next(tmp_path.glob("AllDICOMs/1_*.dcm"))
    path.write_bytes(path.read_bytes()[:100])
    truth = open_truth(tmp_path, "inbreast")
    assert [uid in truth for uid in uids] == [False, True]


def test_a_splits_test_side(tmp_path, dicom):
    """Only its images are known."""
    for folder in ("dicom", "truth"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        header = dicom.dataset(StudyInstanceUID=f"1.2.{number // 2}")
        header.save_as(tmp_path / f"dicom/{number}.dcm", enforce_file_format=True)
        picture = imagecodecs.png_encode(np.zeros((header.Rows, header.Columns), np.uint8))
        (tmp_path / f"truth/{header.SOPInstanceUID}.png").write_bytes(picture)
    data = read_phantoms(tmp_path)
    splits = folds(data, 2)
    write_splits(tmp_path / "s.json", data, splits)
    truth = open_truth(tmp_path, "phantoms", f"{tmp_path}/s.json#2")
    assert {sample.name for sample in data if sample.name in truth} == set(splits[1].test) != set()
    known = truth.known(splits[1].test[0])
    assert known.patient
    assert known.image == {"laterality": "L", "view": "MLO"}
    with pytest.raises(DatasetError, match="pictures name no patients"):
        open_truth(tmp_path / "truth", split=f"{tmp_path}/s.json#1")


def test_what_trains_is_outside_the_split_and_not_without_truth(tmp_path, dicom, record, ledger):
    """Of five images one tests, one is no data set's; the data set says nothing of where the others are."""
    (tmp_path / "dicom").mkdir()
    for number in range(1, 6):
        record(number, [], [], study=number)
        if number < 5:
            header = dicom.dataset(StudyInstanceUID=f"1.{number}", SOPInstanceUID=f"1.2.{number}")
            header.save_as(tmp_path / f"dicom/{number}.dcm", enforce_file_format=True)
    data = read_phantoms(tmp_path)
    write_splits(tmp_path / "s.json", data, [Split(("1.2.1", "1.2.2"), ("1.2.3",)), Split(("1.2.1",), ())])
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path), "--layout", "phantoms"]
    done = CliRunner().invoke(main, [*words, "--split", f"{tmp_path}/s.json#1", "--json", str(tmp_path / "m.json")])
    assert done.exit_code == 0, done.output
    assert (
        "1 image of 1 study, 0 masses, 0 findings; images that failed: 0, without truth: 1, outside the split: 3\n"
        in done.stdout
    )
    counts = json.loads((tmp_path / "m.json").read_text())
    assert (counts["n_images"], counts["n_without_truth"], counts["n_outside_split"]) == (1, 1, 3)
    whole = CliRunner().invoke(main, words)
    assert "4 images of 4 studies, 0 masses, 0 findings; images that failed: 0, without truth: 1\n" in whole.stdout
    nothing = CliRunner().invoke(main, [*words, "--split", f"{tmp_path}/s.json#2"])
    assert nothing.exit_code == 1
    assert "none of the 4 screened images with truth tests in this split" in nothing.stderr


def test_layouts(tmp_path):
    with pytest.raises(DatasetError, match="INbreast: no image found"):
        open_truth(tmp_path, "inbreast")
    with pytest.raises(ValueError, match="layout: got 'cityscapes', expected one of png, "):
        open_truth(tmp_path, "cityscapes")
    (option,) = (parameter for parameter in evaluate_command.params if parameter.name == "layout")
    assert tuple(option.type.choices) == LAYOUTS


def test_from_the_shell(tmp_path, ledger):
    """An error of the data set's is said as one line."""
    with (tmp_path / "finding_annotations.csv").open("w") as file:
        csv.writer(file).writerow(["a"])
    words = ["evaluate", str(ledger.path), "--truth", str(tmp_path), "--layout", "vindr-mammo"]
    ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 1
    assert "finding_annotations.csv: has no columns" in ended.output
