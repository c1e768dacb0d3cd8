"""CBIS-DDSM's layout and its known faults."""

import numpy as np
import pytest

from mammofast.datasets import read_cbis_ddsm
from mammofast.errors import DatasetError

SHAPE = (64, 48)


def row(place, number=1, kind="mass", patient="P_00001", side="LEFT", view="CC", **changes):
    words = "breast_density" if kind == "mass" else "breast density"
    shape = (
        {"mass shape": "OVAL", "mass margins": "CIRCUMSCRIBED"}
        if kind == "mass"
        else {"calc type": "ROUND", "calc distribution": "N/A"}
    )
    return {
        "patient_id": patient, words: 3, "left or right breast": side, "image view": view, "abnormality id": number,
        "abnormality type": kind, **shape, "assessment": 4, "pathology": "BENIGN", "subtlety": 5,
        "image file path": f"{place}/1.3.6/1.3.6.1/000000.dcm",
        "cropped image file path": f"{place}_{number}/1.3.6/1.3.6.1/000001.dcm\n",
        "ROI mask file path": f"{place}_{number}/1.3.6/1.3.6.1/000000.dcm\n",
    } | changes  # fmt: skip


@pytest.fixture
def cbis(tmp_path, mammogram, table):
    """Two images; the first one with two masses, one of them cropped and masked the wrong way round."""
    rng = np.random.default_rng(0)
    full = rng.integers(0, 4096, SHAPE, dtype=np.uint16)
    masks = np.zeros((3, *SHAPE), np.uint8)
    masks[0, 10:20, 5:25] = masks[1, 30:40, 30:45] = masks[2, 50:60, 8:20] = 255
    mammogram("CBIS-DDSM/Mass-Training_P_00001_LEFT_CC/08-07-2016-DDSM/1.0-full/1-1.dcm", full)
    folder = "CBIS-DDSM/Mass-Training_P_00001_LEFT_CC_{}/08-07-2016-DDSM/1.0-x/1-{}.dcm"
    mammogram(folder.format(1, 1), full[10:20, 5:25], SeriesDescription="cropped images")
    mammogram(folder.format(1, 2), masks[0], bits_stored=8, SeriesDescription="ROI mask images")
    mammogram(folder.format(2, 1), masks[1], bits_stored=8)  # nothing says which is which
    mammogram(folder.format(2, 2), full[30:40, 30:45])
    mammogram("CBIS-DDSM/Calc-Test_P_00002_RIGHT_MLO/1/2/1-1.dcm", full)
    mammogram("CBIS-DDSM/Calc-Test_P_00002_RIGHT_MLO_1/1/2/1-1.dcm", masks[2], bits_stored=8)
    first, second = row("Mass-Training_P_00001_LEFT_CC"), row("Mass-Training_P_00001_LEFT_CC", 2)
    table("mass_case_description_train_set.csv", [first, second, first])
    table(
        "calc_case_description_test_set.csv",
        [row("Calc-Test_P_00002_RIGHT_MLO", kind="calcification", patient="P_00002", side="RIGHT", view="MLO")],
    )
    return tmp_path, masks, full


def test_rows_add_up_to_images(cbis):
    folder, masks, full = cbis
    data = read_cbis_ddsm(folder)
    assert data.left_out == ()
    one, two = data
    assert (one.name, one.patient, one.laterality, one.view, one.split) == (
        "P_00001_L_CC",
        "P_00001",
        "L",
        "CC",
        "train",
    )
    assert (two.name, two.split) == ("P_00002_R_MLO", "test")
    np.testing.assert_array_equal(one.read(), full)
    np.testing.assert_array_equal(one.masses(SHAPE), (masks[0] > 0) + 2 * (masks[1] > 0))
    # A calcification is no mass.
    assert [lesion.kind for lesion in two.lesions] == ["calcification"]
    assert not two.masses(SHAPE).any()
    np.testing.assert_array_equal(two.lesions[0].region.mask(SHAPE), masks[2] > 0)
    assert one.lesions[0].attributes == {
        "shape": "OVAL", "margin": "CIRCUMSCRIBED", "birads": "4", "subtlety": "5", "pathology": "BENIGN",
    }  # fmt: skip
    assert two.lesions[0].attributes["type"] == "ROUND"
    assert one.attributes == {"density": "3"}


def test_a_mask_of_another_size_is_stretched(cbis, mammogram):
    folder, masks, _ = cbis
    mammogram(
        "CBIS-DDSM/Calc-Test_P_00002_RIGHT_MLO_1/1/2/1-1.dcm",
        np.kron(masks[2], np.ones((2, 2), np.uint8)),
        bits_stored=8,
    )
    np.testing.assert_array_equal(read_cbis_ddsm(folder).samples[1].lesions[0].region.mask(SHAPE), masks[2] > 0)


def test_an_image_with_anothers_mask_is_left_out_whole(cbis, mammogram):
    folder, masks, _ = cbis
    mammogram(
        "CBIS-DDSM/Mass-Training_P_00001_LEFT_CC_1/08-07-2016-DDSM/1.0-x/1-2.dcm",
        masks[0][:50],
        bits_stored=8,
        SeriesDescription="ROI mask images",
    )
    data = read_cbis_ddsm(folder)
    assert [sample.name for sample in data] == ["P_00002_R_MLO"]
    (gone,) = data.left_out
    assert gone.name == "P_00001_L_CC"
    assert gone.reason.endswith("got a mask of (50, 48), the image is (64, 48): another's?")


def test_two_masks_in_a_folder_are_not_guessed_at(cbis, mammogram):
    folder, masks, _ = cbis
    mammogram("CBIS-DDSM/Calc-Test_P_00002_RIGHT_MLO_1/1/2/1-2.dcm", masks[1], bits_stored=8)
    assert "got 2 masks among 2 objects" in read_cbis_ddsm(folder).left_out[0].reason


def test_a_dull_crop_is_no_mask(cbis, mammogram):
    """Of two values as a mask, but none of them is black."""
    folder, masks, _ = cbis
    crop = "CBIS-DDSM/Mass-Training_P_00001_LEFT_CC_2/08-07-2016-DDSM/1.0-x/1-2.dcm"
    mammogram(crop, np.where(masks[1][30:40, 30:45], 900, 901).astype(np.uint16))
    data = read_cbis_ddsm(folder)
    assert data.left_out == ()
    np.testing.assert_array_equal(data.samples[0].lesions[1].region.mask(SHAPE), masks[1] > 0)


@pytest.mark.parametrize("gone, words", [("CC", "the image is missing"), ("CC_2", "mass 2: the mask is missing")])
def test_missing_files(cbis, gone, words):
    folder, _, _ = cbis
    for path in (folder / f"CBIS-DDSM/Mass-Training_P_00001_LEFT_{gone}").rglob("*.dcm"):
        path.unlink()
    (item,) = read_cbis_ddsm(folder).left_out
    assert item.reason == words


@pytest.mark.parametrize("place", ["CC/08-07-2016-DDSM/1.0-full/1-1", "CC_1/08-07-2016-DDSM/1.0-x/1-2"])
def test_a_cut_off_file_leaves_its_image_out(cbis, place):
    """At every byte of what says what it is and how large; cut off within the pixels, that is for who reads them."""
    folder, _, _ = cbis
    path = folder / f"CBIS-DDSM/Mass-Training_P_00001_LEFT_{place}.dcm"
    whole = path.read_bytes()
    rows = whole.index(b"\x28\x00\x10\x00US")
    for size in (0, 100, 132, 140, *range(rows - 12, rows + 10)):
        path.write_bytes(whole[:size])
        data = read_cbis_ddsm(folder)
        assert [sample.name for sample in data] == ["P_00002_R_MLO"]
        assert [item.name for item in data.left_out] == ["P_00001_L_CC"]
        assert "P_0" not in data.left_out[0].reason


def test_a_training_image_does_not_test(cbis, table):
    folder, _, _ = cbis
    again = row("Mass-Training_P_00001_LEFT_CC", number=7, kind="calcification")
    table("calc_case_description_test_set.csv", [again])
    data = read_cbis_ddsm(folder)
    assert [(sample.name, sample.split, len(sample.lesions)) for sample in data] == [("P_00001_L_CC", "train", 2)]
    assert [(item.name, item.reason) for item in data.left_out] == [
        ("P_00001_L_CC_7", "its image is a training image: not for tests")
    ]


def test_masses_and_calcifications_of_one_image_are_one_sample(cbis, table, mammogram):
    folder, masks, full = cbis
    mammogram("CBIS-DDSM/Calc-Training_P_00001_LEFT_CC/1/2/1-1.dcm", full)
    mammogram("CBIS-DDSM/Calc-Training_P_00001_LEFT_CC_1/1/2/1-1.dcm", masks[2], bits_stored=8)
    table("calc_case_description_train_set.csv", [row("Calc-Training_P_00001_LEFT_CC", kind="calcification")])
    one, _ = read_cbis_ddsm(folder)
    assert [lesion.kind for lesion in one.lesions] == ["calcification", "mass", "mass"] or [
        lesion.kind for lesion in one.lesions
    ] == ["mass", "mass", "calcification"]


def test_other_folders_and_tables_are_refused(tmp_path, table):
    with pytest.raises(DatasetError, match="found none of mass_case"):
        read_cbis_ddsm(tmp_path)
    table("mass_case_description_test_set.csv", [{"patient_id": 1}])
    with pytest.raises(DatasetError, match="has not the columns known"):
        read_cbis_ddsm(tmp_path)
