"""Detection and segmentation inputs against the NumPy reference and OpenCV."""

import cv2
import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import reference
from mammofast.records import GreyTable

TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]


def random_pixels(rng, dtype, size):
    shape = rng.integers(1, size, 2)
    if np.dtype(dtype).kind == "f":
        return rng.normal(100, 60, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -200), min(info.max, 300), shape).astype(dtype)


def random_table(rng, dtype):
    if np.dtype(dtype).kind == "f" or rng.random() < 0.3:
        return None
    values = rng.uniform(0, 200, int(rng.integers(1, 300))).astype(np.float32)
    return GreyTable(int(rng.integers(-100, 100)), values)


def random_case(rng, dtype):
    pixels = random_pixels(rng, dtype, 20)
    shapes = [tuple(int(v) for v in rng.integers(1, 24, 2)) for _ in range(rng.integers(0, 8))]
    low = float(rng.uniform(-20, 100))
    high = low + float(rng.choice([1e-3, 1, 77.7, 300, 1e6]))
    return pixels, random_table(rng, dtype), low, high, shapes, str(rng.choice(["stretch", "letterbox"]))


@pytest.mark.parametrize("dtype", TYPES)
def test_detection_inputs_equal_the_reference(backend, dtype):
    detection_inputs = backend(ops.detection_inputs)
    rng = np.random.default_rng(np.dtype(dtype).num)
    for _ in range(backend.cases(1300)):
        case = random_case(rng, dtype)
        got, expected = detection_inputs(*case), reference.detection_inputs(*case)
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == np.float32
            assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_segmentation_inputs_equal_the_reference(backend, dtype):
    segmentation_inputs = backend(ops.segmentation_inputs)
    rng = np.random.default_rng(np.dtype(dtype).num)
    for _ in range(backend.cases(650)):
        n = int(rng.integers(0, 4))
        drawn = [random_case(rng, dtype)[:4] for _ in range(n)]
        columns = [[case[i] for case in drawn] for i in range(4)]
        shape = tuple(int(v) for v in rng.integers(1, 24, 2))
        got = segmentation_inputs(*columns, shape)
        assert got.dtype == np.float32
        assert got.shape == (n, 1, *shape)
        assert np.array_equal(got, reference.segmentation_inputs(*columns, shape))


def as_grey(pixels, low, high):
    return np.clip((pixels.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


SCALES = [(320, 160), (512, 256), (640, 320), (832, 416), (960, 480)]


def test_shrinking_equals_cv2_area(backend):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4096, (1024, 832)).astype(np.uint16)
    table = GreyTable(0, np.arange(4096, dtype=np.float32))
    inputs = backend(ops.detection_inputs)(pixels, table, 100, 4000, SCALES)
    for scaled, shape in zip(inputs, SCALES, strict=True):
        area = cv2.resize(as_grey(pixels, 100, 4000), shape[::-1], interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(scaled, area, rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", [(5, 7), (31, 17), (1, 1), (64, 40)])
def test_random_sizes_equal_cv2_axis_by_axis(backend, source):
    detection_inputs = backend(ops.detection_inputs)
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, source).astype(np.uint8)
    for _ in range(backend.cases(60)):
        rows, cols = rng.integers(1, 80, 2).tolist()
        (scaled,) = detection_inputs(pixels, None, 10, 240, [(rows, cols)])
        by_row = cv2.INTER_AREA if rows < source[0] else cv2.INTER_LINEAR
        by_col = cv2.INTER_AREA if cols < source[1] else cv2.INTER_LINEAR
        wanted = cv2.resize(as_grey(pixels, 10, 240), (source[1], rows), interpolation=by_row)
        wanted = cv2.resize(wanted, (cols, rows), interpolation=by_col)
        np.testing.assert_allclose(scaled, wanted, rtol=0, atol=3e-6)


def test_equal_size_copies(backend):
    pixels = np.arange(12, dtype=np.int16).reshape(3, 4)
    (same,) = backend(ops.detection_inputs)(pixels, None, 0, 16, [(3, 4)])
    assert same.tolist() == (pixels / 16).tolist()


def test_area_weights_cover_exactly(backend):
    (scaled,) = backend(ops.detection_inputs)(np.array([[0, 6, 12]], np.uint8), None, 0, 12, [(1, 2)])
    np.testing.assert_allclose(scaled, [[1 / 6, 5 / 6]], rtol=2e-7)  # (2/3) 0 + (1/3) (1/2) and (1/3) (1/2) + (2/3) 1


@pytest.mark.parametrize("first", [-(2**31), -5, 0, 7, 2**32 - 1])
@pytest.mark.parametrize("dtype", TYPES[:6])
def test_table_index_is_clipped_at_both_ends(backend, first, dtype):
    info = np.iinfo(dtype)
    pixels = np.array([[info.min, info.max, 0, 5, 9]], dtype)
    case = pixels, GreyTable(first, np.linspace(0, 1, 9, dtype=np.float32)), 0, 1, [pixels.shape]
    assert backend(ops.detection_inputs)(*case)[0].tolist() == reference.detection_inputs(*case)[0].tolist()


def equalized_by_cv2(window, low, high, shape):
    """The usual way; only for shapes where every resampled value is exact in float32."""
    grey = cv2.resize(as_grey(window, low, high), shape[::-1], interpolation=cv2.INTER_AREA)
    return cv2.equalizeHist(np.floor(255 * grey.astype(np.float64) + 0.5).astype(np.uint8))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_equalization_equals_cv2(backend, factor):
    segmentation_inputs = backend(ops.segmentation_inputs)
    rng = np.random.default_rng(4)
    for turn in range(backend.cases(200)):
        rows, cols = rng.integers(1, 64, 2).tolist()
        levels = int(rng.choice([1, 2, 3, 30, 256]))
        window = (rng.integers(0, levels, (rows * factor, cols * factor)) + rng.integers(0, 257 - levels)).astype(
            np.uint8
        )
        (got,) = segmentation_inputs([window], [None], [0], [256], (rows, cols))
        wanted = equalized_by_cv2(window, 0, 256, (rows, cols))
        assert np.array_equal(np.rint(got[0] * 255).astype(np.uint8), wanted), turn
        assert np.array_equal(got[0], wanted.astype(np.float32) / np.float32(255))


def test_a_window_of_one_level_stays_what_it_is(backend):
    for value in (0, 3, 255):
        (got,) = backend(ops.segmentation_inputs)([np.full((5, 5), value, np.uint8)], [None], [0], [255], (4, 4))
        assert (got == np.float32(value) / np.float32(255)).all()


def test_windows_of_a_batch_do_not_mix(backend):
    rng = np.random.default_rng(5)
    windows = [rng.integers(0, 255, (9, 9)).astype(np.uint8), rng.normal(0, 1, (30, 4))]
    batch = backend(ops.segmentation_inputs)(windows, [None, None], [0, -1], [255, 1], (8, 8))
    for i, window in enumerate(windows):
        alone = ops.segmentation_inputs([window], [None], [[0, -1][i]], [[255, 1][i]], (8, 8))
        assert np.array_equal(batch[i : i + 1], alone)


def test_views_are_welcome():
    whole = np.arange(600, dtype=np.uint16).reshape(20, 30)
    for view in (whole[3:, 4:], whole[::-1], whole[::2, ::3], whole.T, whole.astype(">u2")):
        (got,) = ops.detection_inputs(view, None, 0, 600, [(7, 9)])
        (wanted,) = ops.detection_inputs(np.ascontiguousarray(view).astype(np.uint16), None, 0, 600, [(7, 9)])
        assert np.array_equal(got, wanted)


PIXELS, TABLE = np.zeros((4, 4), np.uint8), GreyTable(0, np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PIXELS.astype(np.int64), None, 0, 1), "got int64"),
        ((PIXELS[0], None, 0, 1), r"got uint8 of shape \(4,\), expected a 2-D array"),
        ((PIXELS[:0], None, 0, 1), r"got shape \(0, 4\), expected at least one pixel"),
        ((PIXELS, [0.0], 0, 1), "table: got list, expected a GreyTable or None"),
        (
            (PIXELS.astype(np.float32), TABLE, 0, 1),
            "table: got a GreyTable, expected None",
        ),
        ((PIXELS, GreyTable(0, np.zeros(3)), 0, 1), "table.values: got float64"),
        ((PIXELS, GreyTable(0, np.zeros(0, np.float32)), 0, 1), "table.values: got no values"),
        ((PIXELS, GreyTable(0, np.full(3, np.nan, np.float32)), 0, 1), "table: got NaN or Inf"),
        ((PIXELS, GreyTable(0, np.full(3, np.inf, np.float32)), 0, 1), "table: got NaN or Inf"),
        ((PIXELS, GreyTable(0.5, TABLE.values), 0, 1), "table.first: got 0.5"),
        ((PIXELS, None, 1, 1), "high: got 1, expected more than low, 1"),
        ((PIXELS, None, np.nan, 1), "low: got nan"),
        ((PIXELS, None, 0, np.inf), "high: got inf"),
        ((np.full((4, 4), np.nan), None, 0, 1), "got NaN or Inf, expected finite values"),
        ((np.full((4, 4), -np.inf, np.float32), None, 0, 1), "got NaN or Inf"),
    ],
)
def test_bad_arguments(backend, arguments, message):
    name = "" if message.startswith(("table", "low", "high")) else "pixels: "
    with pytest.raises(ValueError, match=name + message):
        backend(ops.detection_inputs)(*arguments, [(4, 4)])
    with pytest.raises(ValueError, match=name.replace("pixels", "windows") + message):
        backend(ops.segmentation_inputs)(*[[argument] for argument in arguments], (4, 4))


LETTERBOXES = [
    ((4, 2), (6, 6), (0, 1, 6, 3)),  # the odd column of padding to the right
    ((2, 4), (6, 6), (1, 0, 3, 6)),
    ((4, 3), (2, 9), (0, 3, 2, 2)),  # 1.5 columns are 2
    ((1, 1000), (7, 7), (3, 0, 1, 7)),
    ((3, 3), (6, 6), (0, 0, 6, 6)),
]


@pytest.mark.parametrize(("source", "shape", "place"), LETTERBOXES)
def test_a_letterbox_keeps_the_aspect(backend, source, shape, place):
    assert ops.placement(source, shape) == place
    (boxed,) = backend(ops.detection_inputs)(np.full(source, 9, np.uint8), None, 0, 10, [shape], "letterbox")
    top, left, rows, cols = place
    inside = np.zeros(shape, bool)
    inside[top : top + rows, left : left + cols] = True
    assert (boxed[~inside] == 0.5).all()
    np.testing.assert_allclose(boxed[inside], 0.9, rtol=1e-5)


def test_a_letterbox_is_where_placement_says():
    rng = np.random.default_rng(9)
    for _ in range(300):
        source, shape = (tuple(rng.integers(1, 40, 2).tolist()) for _ in range(2))
        pixels = rng.integers(0, 200, source).astype(np.uint8)
        (boxed,) = ops.detection_inputs(pixels, None, 0, 200, [shape], "letterbox")
        top, left, rows, cols = ops.placement(source, shape)
        (alone,) = ops.detection_inputs(pixels, None, 0, 200, [(rows, cols)])
        assert np.array_equal(boxed[top : top + rows, left : left + cols], alone)


@pytest.mark.parametrize("fit", ["crop", None, 1])
def test_bad_fits(backend, fit):
    with pytest.raises(ValueError, match=r"fit: got .*, expected 'stretch' or 'letterbox'"):
        backend(ops.detection_inputs)(PIXELS, None, 0, 1, [(4, 4)], fit)


@pytest.mark.parametrize("shape", [(0, 4), (4,), (4, 4.0), 4, None])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"shapes.*: got .* expected"):
        ops.detection_inputs(PIXELS, None, 0, 1, [(4, 4), shape])
    with pytest.raises(ValueError, match=r"shape.*: got .* expected"):
        ops.segmentation_inputs([PIXELS], [None], [0], [1], shape)


@pytest.mark.parametrize("name", ["tables", "lows", "highs"])
def test_lists_of_other_lengths(name):
    columns = {"tables": [None], "lows": [0], "highs": [1]}
    columns[name] = []
    with pytest.raises(ValueError, match=f"{name}: got 0 items, expected one for each of 1 windows"):
        ops.segmentation_inputs([PIXELS], **columns)
