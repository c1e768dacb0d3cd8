"""Components against the NumPy reference and scikit-image."""

import numpy as np
import pytest
from skimage.measure import label, regionprops

from mammofast import ops
from mammofast.ops import reference


def random_mask(rng, extent=16):
    rows, cols = rng.integers(1, extent, 2)
    mask = rng.random((rows, cols)) < rng.choice([0.05, 0.3, 0.5, 0.7, 0.95])
    if rng.random() < 0.3:  # larger pieces
        mask = np.kron(mask, np.ones(rng.integers(1, 4, 2), dtype=bool))
    return mask


def spiral(side):
    """One long winding run: every second ring is joined to the next at one place only."""
    mask = np.zeros((side, side), dtype=bool)
    for k in range(0, side // 2, 2):
        mask[k, k : side - k] = mask[side - 1 - k, k : side - k] = True
        mask[k : side - k, k] = mask[k : side - k, side - 1 - k] = True
        mask[k + 1, k] = False
        mask[k + 2, k : k + 2] = True
    return mask


def comb(teeth):
    """Teeth that meet in the last row only: each is a component until then."""
    mask = np.zeros((9, 2 * teeth), dtype=bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


def nested(side):
    """Rings in rings, none of which touch."""
    y, x = np.mgrid[:side, :side]
    return np.minimum.reduce([y, x, side - 1 - y, side - 1 - x]) % 2 == 0


def staircase(side):
    """Pixels joined at corners only, both ways."""
    return np.eye(side, dtype=bool) | np.eye(side, dtype=bool)[::-1]


SHAPES = {
    "spiral": spiral(67),
    "comb": comb(130),
    "comb upside down": comb(130)[::-1],
    "nested": nested(130),
    "staircase": staircase(129),
    "chess board": np.indices((40, 129)).sum(axis=0) % 2 == 0,
    "columns": np.indices((5, 200))[1] % 2 == 0,
    "rows": np.indices((200, 5))[0] % 2 == 0,
    "all": np.ones((3, 128), dtype=bool),
    "corners": np.pad(np.ones((1, 1), dtype=bool), ((0, 99), (0, 99)))
    | np.pad(np.ones((1, 1), dtype=bool), ((99, 0), (99, 0))),
}


def assert_equal(got, expected):
    for name, have, want in zip(got._fields, got, expected, strict=True):
        assert have.dtype == want.dtype, name
        assert have.shape == want.shape, name
        assert np.array_equal(have, want), name


def by_skimage(mask):
    labels = label(mask, connectivity=2)
    found = regionprops(labels)
    boxes = [(p.bbox[1], p.bbox[0], p.bbox[3], p.bbox[2]) for p in found]
    return ops.LabelledMask(
        labels.astype(np.int32),
        np.array(boxes, dtype=np.int32).reshape(-1, 4),
        np.array([p.area for p in found], dtype=np.int64),
    )


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(backend, seed):
    label_mask = backend(ops.label_mask)
    rng = np.random.default_rng(seed)
    for _ in range(backend.cases(500)):
        mask = random_mask(rng)
        assert_equal(label_mask(mask), reference.label_mask(mask))


def test_equals_skimage(backend):
    label_mask = backend(ops.label_mask)
    rng = np.random.default_rng(9)
    for _ in range(backend.cases(300)):
        mask = random_mask(rng, 100)
        assert_equal(label_mask(mask), by_skimage(mask))


@pytest.mark.parametrize("name", SHAPES)
def test_hard_shapes(backend, name):
    assert_equal(backend(ops.label_mask)(SHAPES[name]), by_skimage(SHAPES[name]))


@pytest.mark.parametrize("cols", [1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129])
def test_widths_around_a_word(backend, cols):
    label_mask = backend(ops.label_mask)
    rng = np.random.default_rng(cols)
    for _ in range(backend.cases(20)):
        mask = rng.random((6, cols)) < 0.6
        mask[2] = rng.random() < 0.5
        assert_equal(label_mask(mask), by_skimage(mask))


def test_numbers_follow_the_first_pixels_not_the_boxes(backend):
    mask = np.array([[0, 1, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=bool)  # the second one reaches further left
    found = backend(ops.label_mask)(mask)
    assert found.labels.tolist() == [[0, 1, 0, 2], [0, 0, 0, 2], [2, 2, 2, 2]]
    assert found.boxes.tolist() == [[1, 0, 2, 1], [0, 0, 4, 3]]
    assert found.areas.tolist() == [1, 6]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (4, 70)])
def test_nothing_set(backend, shape):
    found = backend(ops.label_mask)(np.zeros(shape, dtype=bool))
    assert found.labels.shape == shape
    assert not found.labels.any()
    assert found.boxes.shape == (0, 4)
    assert found.areas.shape == (0,)


def test_views_are_welcome():
    rng = np.random.default_rng(1)
    mask = rng.random((60, 150)) < 0.4
    for view in (mask[::-1], mask[5:50:3, 7:140], mask[:, ::-1], mask[::2, ::3], mask.T, mask[:, 3:4]):
        assert_equal(ops.label_mask(view), by_skimage(view.copy()))
    odd = (mask * rng.integers(1, 256, mask.shape)).astype(np.uint8).view(bool)  # true by any byte that is not 0
    assert_equal(ops.label_mask(odd), by_skimage(mask))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((2, 2), np.uint8), r"mask: got uint8 of shape \(2, 2\), expected bool of shape \(rows, cols\)"),
        (np.zeros(4, bool), r"mask: got bool of shape \(4,\)"),
        (np.zeros((1, 2, 2), bool), r"mask: got bool of shape \(1, 2, 2\)"),
        ([[True]], "mask: got list"),
        (np.broadcast_to(np.zeros(1, bool), (1, 2**31)), r"mask: got shape \(1, 2147483648\), expected at most"),
    ],
)
def test_bad_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        ops.label_mask(mask)
