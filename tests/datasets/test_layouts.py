"""VinDr-Mammo, Cityscapes, plain folders and phantoms."""

import json

import numpy as np
import pytest

from mammofast.datasets import READERS, read_cityscapes, read_folder, read_phantoms, read_vindr
from mammofast.datasets.cityscapes import CLASSES
from mammofast.errors import DatasetError
from mammofast.phantom.studies import write_studies

SHAPE = (40, 30)


def vindr_row(image, categories, box=("", "", "", ""), split="training", birads="BI-RADS 4"):
    return {
        "study_id": "s1", "series_id": "x", "image_id": image, "laterality": "R", "view_position": "MLO", "height": 40,
        "width": 30, "breast_birads": "BI-RADS 4", "breast_density": "DENSITY C", "finding_categories": categories,
        "finding_birads": birads, **dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)), "split": split,
    }  # fmt: skip


@pytest.fixture
def vindr(tmp_path, mammogram, table):
    for name in ("a", "b", "c"):
        mammogram(f"images/s1/{name}.dicom", np.full(SHAPE, 9, np.uint16))
    table(
        "finding_annotations.csv",
        [
            vindr_row("a", "['Mass']", (2.4, 3.6, 10.5, 20.2)),
            vindr_row("a", "['Suspicious Calcification', 'Mass']", (-3, 30, 50, 60)),
            vindr_row("b", "['No Finding']", split="test", birads=""),
            vindr_row("c", "__import__('os')", (1, 1, 2, 2)),
            vindr_row("d", "['No Finding']"),
        ],
    )
    return tmp_path


def test_vindr(vindr):
    a, b = read_vindr(vindr)
    assert (a.name, a.patient, a.laterality, a.view, a.split) == ("a", "s1", "R", "MLO", "train")
    assert [lesion.kind for lesion in a.lesions] == ["mass", "suspicious calcification", "mass"]
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:20, 2:10] = 1
    expected[30:40, :] = 2
    np.testing.assert_array_equal(a.masses(SHAPE), expected)
    assert a.lesions[0].attributes == {"birads": "BI-RADS 4"}
    assert (b.split, b.lesions) == ("test", ())
    assert [(item.name, item.reason) for item in read_vindr(vindr).left_out] == [
        ("c", "a row of finding_annotations.csv cannot be read (ValueError)"),
        ("d", "the image is missing"),
    ]


def test_another_table_is_not_vindrs(vindr, table):
    table("finding_annotations.csv", [{"study_id": 1}])
    with pytest.raises(DatasetError, match=r"has no columns.*'breast_birads'"):
        read_vindr(vindr)


def test_cityscapes(tmp_path, png):
    labels = np.array([[0, 7, 8], [33, 31, 255]], np.uint8)
    for split, city in (("train", "aachen"), ("val", "ulm")):
        png(f"leftImg8bit/{split}/{city}/{city}_000000_000019_leftImg8bit.png", np.zeros((2, 3, 3), np.uint8))
    png("gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png", labels)
    data = read_cityscapes(tmp_path)
    (sample,) = data
    assert (sample.name, sample.patient, sample.split) == ("aachen_000000_000019", "aachen", "train")
    assert sample.read().shape == (2, 3, 3)
    np.testing.assert_array_equal(sample.class_map((2, 3)), [[255, 0, 1], [18, 16, 255]])
    assert len(CLASSES) == 19
    assert [item.name for item in data.left_out] == ["ulm_000000_000019"]
    with pytest.raises(DatasetError, match=r"got labels of \(2, 3\), the image is \(2, 4\)"):
        sample.class_map((2, 4))


def test_folder(tmp_path, png, table):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:9, 4:7] = 200
    for name in ("one", "two", "three"):
        png(f"images/{name}.png", np.zeros(SHAPE, np.uint16))
    png("masks/one.png", mask)
    png("masks/two.png", np.zeros((80, 60, 3), np.uint8))
    data = read_folder(tmp_path)
    assert [(s.name, s.patient) for s in data] == [("one", "one"), ("two", "two")]
    np.testing.assert_array_equal(data.samples[0].class_map(SHAPE), mask > 0)
    assert not data.samples[1].masses(SHAPE).any()
    assert [item.reason for item in data.left_out] == ["the folder masks has no .png of its name"]
    png("masks/one.png", np.zeros((80, 61), np.uint8))
    with pytest.raises(DatasetError, match=r"got a mask of \(80, 61\), the image is \(40, 30\)") as error:
        read_folder(tmp_path).samples[0].masses(SHAPE)
    assert error.value.of == "one.png"
    table("patients.csv", [{"image": "one.png", "patient": "p"}])
    data = read_folder(tmp_path)
    assert [(s.name, s.patient) for s in data] == [("one", "p")]
    assert [item.name for item in data.left_out] == ["three.png", "two.png"]
    table("patients.csv", [{"image": "one.png"}])
    with pytest.raises(DatasetError, match="expected image and patient"):
        read_folder(tmp_path)


def test_files_that_are_no_pictures(tmp_path, png):
    png("images/one.png", np.zeros(SHAPE, np.uint8))
    png("masks/one.png", np.zeros(SHAPE, np.uint8))
    (sample,) = read_folder(tmp_path)
    for name in ("images/one.png", "masks/one.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(DatasetError, match=r"^an image or mask cannot be read \(ValueError\), expected DICOM, PNG"):
        sample.read()
    with pytest.raises(DatasetError, match=r"^an image or mask cannot be read \(ValueError\), expected DICOM, PNG"):
        sample.masses(SHAPE)


def test_phantoms(tmp_path):
    write_studies(tmp_path, 1, 3)
    data = read_phantoms(tmp_path)
    assert len(data) == 4
    assert len({sample.patient for sample in data}) == 1
    for sample in data:
        pixels = sample.read()
        truth = sample.masses(pixels.shape)
        np.testing.assert_array_equal(sample.class_map(pixels.shape), truth > 0)
        for k, lesion in enumerate(sample.lesions, start=1):
            np.testing.assert_array_equal(lesion.region.mask(pixels.shape), truth == k)
            assert lesion.attributes["subtlety"] in ("subtle", "plain")
    masses = json.loads((tmp_path / "truth" / "masses.json").read_text())
    said = [
        (s.name, k, x.attributes["shape"], x.attributes["margin"]) for s in data for k, x in enumerate(s.lesions, 1)
    ]
    assert sorted(said) == sorted((m["sop_uid"], m["mass"], m["shape"], m["margin"]) for m in masses) != []
    with pytest.raises(DatasetError, match="the image is"):
        next(x for s in data for x in s.lesions).region.mask((3, 4))
    (tmp_path / "truth" / f"{data.samples[0].name}.png").unlink()
    assert len(read_phantoms(tmp_path).left_out) == 1
    (tmp_path / "truth" / "masses.json").unlink()
    assert not any(sample.lesions for sample in read_phantoms(tmp_path))


@pytest.mark.parametrize("name", READERS)
def test_an_empty_folder_is_no_data_set(tmp_path, name):
    with pytest.raises(DatasetError):
        READERS[name](tmp_path)


def test_why_no_image_can_be_used(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"none of its 1 images can be used; the first: the folder masks has no"):
        READERS["folder"](tmp_path)
