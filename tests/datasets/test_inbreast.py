"""INbreast's layout: file names, OsiriX's property lists, the table."""

import plistlib

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from mammofast.datasets import read_inbreast
from mammofast.errors import DatasetError

SHAPE = (60, 50)
TRIANGLE = [(10.2, 5.4), (40.3, 20.6), (15.7, 44.1)]


def roi(name, points):
    return {"Name": name, "NumberOfPoints": len(points), "Point_px": [f"({x:f}, {y:f})" for x, y in points]}


@pytest.fixture
def inbreast(tmp_path, mammogram, table):
    (tmp_path / "AllXML").mkdir()
    pixels = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE) % 4096
    for name in (
        "22678622_61b13c59bcba149d_MG_L_CC_ANON",
        "22678646_61b13c59bcba149d_MG_R_ML_ANON",
        "1_a_MG_R_CC_ANON",
    ):
        mammogram(f"AllDICOMs/{name}.dcm", pixels)
    rois = [
        roi("Mass", TRIANGLE),
        roi("Espiculated Region ", TRIANGLE),
        roi("Calcification", [(3, 3)]),
        roi("", TRIANGLE),
    ]
    content = {"Images": [{"ImageIndex": 0, "NumberOfROIs": 4, "ROIs": rois}]}
    (tmp_path / "AllXML/22678622.xml").write_bytes(plistlib.dumps(content))
    table(
        "INbreast.csv",
        [
            {"Patient ID": "removed", "ACR": "3 ", "File Name": "22678622", "Bi-Rads": "4a"},
            {"Patient ID": "removed", "ACR": "1", "File Name": "22678646", "Bi-Rads": "1"},
        ],
        delimiter=";",
    )
    return tmp_path


def test_names_say_patient_side_and_view(inbreast):
    data = read_inbreast(inbreast)
    assert [(s.name, s.patient, s.laterality, s.view) for s in data] == [
        ("1", "a", "R", "CC"),
        ("22678622", "61b13c59bcba149d", "L", "CC"),
        ("22678646", "61b13c59bcba149d", "R", "MLO"),
    ]
    assert data.samples[1].attributes == {"birads": "4a", "density": "3"}
    assert data.samples[0].attributes == {}
    assert data.samples[1].read().shape == SHAPE


def test_outlines(inbreast):
    sample = read_inbreast(inbreast).samples[1]
    assert [lesion.kind for lesion in sample.lesions] == ["mass", "spiculated region", "unnamed"]
    assert sample.lesions[0].attributes == {"birads": "4a"}
    # Pixel centres inside, by another library; and the points' own pixels.
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = Outline(TRIANGLE).contains_points(np.stack([x.ravel(), y.ravel()], 1)).reshape(SHAPE)
    for px, py in TRIANGLE:
        inside[round(py), round(px)] = True
    np.testing.assert_array_equal(sample.masses(SHAPE), inside)
    assert 530 < inside.sum() < 560


def test_an_image_without_outlines_is_normal(inbreast):
    sample = read_inbreast(inbreast).samples[2]
    assert sample.lesions == ()
    assert not sample.masses(SHAPE).any()
    assert not sample.class_map(SHAPE).any()


def test_points_outside_the_image(inbreast):
    outside = [roi("Mass", [(-5, -5), (20, -5), (20, 20), (-5, 20)])]
    (inbreast / "AllXML/1.xml").write_bytes(plistlib.dumps({"Images": [{"ROIs": outside}]}))
    expected = np.zeros(SHAPE, bool)
    expected[:21, :21] = True
    np.testing.assert_array_equal(read_inbreast(inbreast).samples[0].masses(SHAPE), expected)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<plist",
        b"<?xml version='1.0'?><plist><dict/></plist>",
        plistlib.dumps({"Images": [{"ROIs": [{"Point_px": ["x"] * 3}]}]}),
        b'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aa">]><plist><string>&a;</string></plist>',
    ],
)
def test_a_broken_list_leaves_its_image_out(inbreast, content):
    (inbreast / "AllXML/22678622.xml").write_bytes(content)
    data = read_inbreast(inbreast)
    assert [sample.name for sample in data] == ["1", "22678646"]
    (gone,) = data.left_out
    assert gone.name.startswith("22678622_")
    assert "its XML is no property list of outlines" in gone.reason


def test_other_files_are_named(inbreast):
    (inbreast / "AllDICOMs/else.dcm").touch()
    assert [item.name for item in read_inbreast(inbreast).left_out] == ["else.dcm"]


def test_another_table_is_refused(inbreast, table):
    table("INbreast.csv", [{"a": 1}])
    with pytest.raises(DatasetError, match="expected 'File Name', 'Bi-Rads' and 'ACR'"):
        read_inbreast(inbreast)


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="INbreast: no image found"):
        read_inbreast(tmp_path)
