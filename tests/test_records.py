import numpy as np
import pytest

from mammofast.records import Finding, GreyTable, ImageResult, level_shape, tight_box


def finding(box, mask, score=1.0):
    return Finding(box=box, score=score, confidence=0.5, mask=np.array(mask, bool))


def test_masks_of_overlapping_findings_are_merged():
    first = finding((1, 0, 3, 2), [[1, 0], [1, 1]])
    second = finding((2, 1, 4, 3), [[0, 1], [1, 0]])
    result = ImageResult(shape=(3, 5), findings=(first, second))
    expected = [[0, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]
    np.testing.assert_array_equal(result.mask, np.array(expected, bool))
    assert result.mask.dtype == bool
    assert (first.area_px, second.area_px) == (3, 2)


def test_no_findings_give_an_empty_mask():
    assert not ImageResult(shape=(4, 2)).mask.any()
    assert ImageResult(shape=(4, 2)).mask.shape == (4, 2)


def test_findings_are_equal_where_box_numbers_and_mask_are():
    one = finding((0, 0, 2, 1), [[1, 0]])
    assert one == finding((0, 0, 2, 1), [[1, 0]])
    assert one != finding((0, 0, 2, 1), [[0, 1]])
    assert one != finding((0, 0, 2, 1), [[1, 0]], score=0.9)
    assert one != "finding"
    with pytest.raises(TypeError):
        hash(one)


def test_grey_table_clips_at_its_ends():
    table = GreyTable(first=-2, values=np.array([10, 20, 30], np.float32))
    stored = np.array([[-9, -2], [-1, 700]], np.int16)
    np.testing.assert_array_equal(table.apply(stored), np.array([[10, 10], [20, 30]], np.float32))


@pytest.mark.parametrize(
    ("shape", "level", "expected"), [((7, 8), 0, (7, 8)), ((7, 8), 1, (4, 4)), ((7, 9), 3, (1, 2))]
)
def test_level_shape_rounds_up(shape, level, expected):
    assert level_shape(shape, level) == expected


def test_tight_box_of_nothing_is_empty():
    assert tight_box(np.zeros((3, 4), bool), 7, 9) == (7, 9, 7, 9)
    assert tight_box(np.zeros((0, 4), bool)) == (0, 0, 0, 0)
    assert tight_box(np.array([[False, False], [False, True]]), 10, 20) == (11, 21, 12, 22)
