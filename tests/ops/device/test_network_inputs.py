"""Batches of detection and segmentation inputs, and contrast windows, against a loop over the reference."""

import numpy as np
import pytest

from mammofast.methods.contrast import Contrast, MinMax
from mammofast.ops import device, reference
from mammofast.records import GreyTable
from tests.ops.test_network_inputs import TYPES, random_case, random_pixels, random_table

FLOAT, HALF = np.float32, np.float16


def columns(cases):
    """Images, tables, windows."""
    images, tables, lows, highs = ([case[i] for case in cases] for i in range(4))
    return images, tables, np.array([lows, highs], np.float64).reshape(2, -1).T.copy()


def expected_inputs(images, tables, windows, shapes, fit="stretch"):
    each = [
        reference.detection_inputs(image, table, low, high, shapes, fit)
        for image, table, (low, high) in zip(images, tables, windows, strict=True)
    ]
    return [np.stack([inputs[t] for inputs in each])[:, None] for t in range(len(shapes))]


@pytest.mark.parametrize("dtype", [FLOAT, HALF])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_images_of_all_types_and_shapes_in_one_batch(device_backend, fit, dtype):
    detection_inputs = device_backend(device.detection_inputs)
    rng = np.random.default_rng(0)
    for _ in range(device_backend.cases(200)):
        batch = columns([random_case(rng, rng.choice(TYPES)) for _ in range(rng.integers(1, 12))])
        shapes = [tuple(rng.integers(1, 24, 2).tolist()) for _ in range(rng.integers(0, 8))]
        inputs, status = detection_inputs(*batch, shapes, fit=fit, dtype=dtype)
        assert status.tolist() == [0] * len(batch[0])
        for got, wanted in zip(inputs, expected_inputs(*batch, shapes, fit), strict=True):
            assert got.dtype == dtype
            assert np.array_equal(got, wanted.astype(dtype))


@pytest.mark.parametrize(
    ("source", "shapes"),
    [
        ((150, 1100), [(40, 90), (150, 1100), (75, 550), (149, 1099), (151, 37)]),  # strips, bands, both at once
        ((300, 40), [(7, 80), (301, 13), (299, 41), (1, 1), (900, 40)]),  # bands, most targets larger one way
        ((9, 1501), [(3, 1), (3, 2), (5, 5), (20, 6), (4, 700)]),  # spans wider than half a strip, and just not
        ((150, 20), [(400, 30)]),  # no other target reads a band's last rows
        ((1, 1), [(1, 1), (1, 600), (700, 1)]),
        ((2, 513), [(1, 512), (3, 514), (2, 513)]),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_strips_and_bands_leave_no_seam(device_backend, source, shapes, dtype):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 4000, source).astype(dtype), rng.integers(0, 4000, source).astype(dtype)]
    batch = images, [None, None], np.array([[100.5, 3700.25], [0, 1e6]])
    inputs, status = device_backend(device.detection_inputs)(*batch, shapes, dtype=FLOAT)
    assert not status.any()
    for got, wanted in zip(inputs, expected_inputs(*batch, shapes), strict=True):
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("n", [0, 36, 37, 80])
def test_as_many_images_as_there_are(device_backend, n):
    rng = np.random.default_rng(2)
    batch = columns([random_case(rng, np.uint16) for _ in range(n)])
    shapes = [(3, 4), (5, 2)]
    inputs, status = device_backend(device.detection_inputs)(*batch, shapes, dtype=FLOAT)
    assert status.shape == (n,)
    assert [got.shape for got in inputs] == [(n, 1, 3, 4), (n, 1, 5, 2)]
    if n:
        for got, wanted in zip(inputs, expected_inputs(*batch, shapes), strict=True):
            assert np.array_equal(got, wanted)


@pytest.mark.parametrize("values", [2**12, 2**12 + 2, 2**12 + 3, 2**16, 2**17])
@pytest.mark.parametrize("dtype", [np.int16, np.uint32])
def test_tables_and_windows_in_shared_memory_and_not(device_backend, values, dtype):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 2**15, (20, 30)).astype(dtype)
    table = GreyTable(5, rng.uniform(0, 100, values).astype(np.float32))
    batch = [pixels, pixels, pixels], [table, None, None], np.array([[10, 90], [7, 6 + values], [7.5, 7.75]])
    inputs, status = device_backend(device.detection_inputs)(*batch, [(20, 30), (6, 50)], dtype=FLOAT)
    assert not status.any()
    for got, wanted in zip(inputs, expected_inputs(*batch, [(20, 30), (6, 50)]), strict=True):
        assert np.array_equal(got, wanted)


WIDE = (4, 900)  # (4, 1) of it is the third kernel's


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", [[(4, 1)], [(2, 300), (9, 1000)]])
def test_a_bad_pixel_is_its_images_fault_alone(device_backend, bad, dtype, shapes):
    images = [np.full(WIDE, 0.25, dtype) for _ in range(5)]
    images[1][0, 0] = images[2][3, 899] = images[4][2, 511] = bad
    windows = np.array([[0, 1]] * 5, np.float64)
    inputs, status = device_backend(device.detection_inputs)(images, [None] * 5, windows, shapes, dtype=FLOAT)
    assert status.tolist() == [0, device.NOT_FINITE, device.NOT_FINITE, 0, device.NOT_FINITE]
    for got in inputs:
        np.testing.assert_allclose(got[[0, 3]], 0.25, rtol=1e-5)


def test_faults_find_their_image_among_other_types(device_backend):
    images = [np.full((3, 3), value, dtype) for value, dtype in zip([1, 1, np.nan, 1, np.inf], "HfdBf", strict=True)]
    windows = np.array([[0, 2]] * 5, np.float64)
    for shape in [(2, 2), (4, 4)]:
        _, status = device_backend(device.detection_inputs)(images, [None] * 5, windows, [shape])
        assert status.tolist() == [0, 0, device.NOT_FINITE, 0, device.NOT_FINITE]


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (np.nan, 1), (0, np.inf), (-np.inf, 0)])
def test_what_is_no_window_is_its_images_fault_alone(device_backend, window):
    images = [np.full((3, 3), 1, np.uint16)] * 3
    windows = np.array([[0, 2], window, [0, 4]], np.float64)
    for shape in [(2, 2), (4, 4)]:
        (got,), status = device_backend(device.detection_inputs)(images, [None] * 3, windows, [shape], dtype=FLOAT)
        assert status.tolist() == [0, device.UNSOUND, 0]
        assert np.allclose(got[0], 0.5)
        assert np.allclose(got[2], 0.25)


def test_a_bad_table_is_its_images_fault_alone(device_backend):
    images = [np.full((3, 3), 1, np.uint16)] * 3
    tables = [GreyTable(0, np.array(values, np.float32)) for values in ([0, 1], [0, 1, np.nan], [0, 1, 2])]
    windows = np.array([[0, 2]] * 3, np.float64)
    (got,), status = device_backend(device.detection_inputs)(images, tables, windows, [(3, 3)], dtype=FLOAT)
    assert status.tolist() == [0, device.NOT_FINITE, 0]
    assert np.array_equal(got[[0, 2]], np.full((2, 1, 3, 3), 0.5))
    _, status = device_backend(device.contrast_windows)(images, tables, None)
    assert status.tolist() == [0, device.NOT_FINITE, 0]


class Slice:
    """Rows and columns of an array on a device."""

    def __init__(self, array, rows, cols):
        self._array = array
        interface = dict(array.__cuda_array_interface__)
        itemsize, width = int(interface["typestr"][2:]), interface["shape"][1]
        start = (rows.start * width + cols.start) * itemsize
        self.__class__ = type("Slice", (Slice,), {"__cuda_array_interface__": property(lambda _: interface)})
        interface["data"] = interface["data"][0] + start, False
        interface["shape"] = rows.stop - rows.start, cols.stop - cols.start
        interface["strides"] = width * itemsize, itemsize


def on_device(backend, array):
    if hasattr(backend, "module"):
        return backend.module.to_device(array)
    return backend.torch.from_numpy(array).cuda()


@pytest.mark.parametrize("dtype", [FLOAT, HALF])
def test_crops_are_windows_of_device_images(device_backend, dtype):
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 4000, (60, 70)).astype(np.uint16), rng.normal(100, 50, (40, 90)).astype(np.float32)]
    tables = [GreyTable(100, np.linspace(300, 0, 3000, dtype=np.float32)), None]
    windows = np.array([[20.0, 250.0], [0.0, 200.0]])
    boxes = [(0, 0, 0, 70, 60), (0, 5, 7, 6, 8), (1, 0, 0, 40, 33), (0, 69, 59, 70, 60), (1, 50, 3, 90, 40)]
    boxes += [(0, 3, 0, 70, 2)] * 40  # more than a launch has room for
    held = [on_device(device_backend, image) for image in images]
    crops = [Slice(held[i], slice(y0, y1), slice(x0, x1)) for i, x0, y0, x1, y1 in boxes]
    of = [i for i, *_ in boxes]
    got, status = device_backend(device.segmentation_inputs)(
        crops, [tables[i] for i in of], windows, of, (32, 24), dtype=dtype
    )
    wanted = reference.segmentation_inputs(
        [images[i][y0:y1, x0:x1] for i, x0, y0, x1, y1 in boxes],
        [tables[i] for i in of], windows[of, 0], windows[of, 1], (32, 24),
    )  # fmt: skip
    assert not status.any()
    assert got.dtype == dtype
    assert np.array_equal(got, wanted.astype(dtype))
    del held


def test_a_detector_reads_slices_too(device_backend):
    image = np.arange(600, dtype=np.int16).reshape(20, 30)
    view = Slice(on_device(device_backend, image), slice(3, 17), slice(4, 29))
    (got,), _ = device_backend(device.detection_inputs)([view], [None], np.array([[0.0, 600.0]]), [(7, 9)], dtype=FLOAT)
    assert np.array_equal(got[0, 0], reference.detection_inputs(image[3:17, 4:29], None, 0, 600, [(7, 9)])[0])


def test_constant_crops_and_bad_ones(device_backend):
    crops = [np.full((5, 4), value, np.float32) for value in (0, 3, 255, np.nan, 260, -2)]
    got, status = device_backend(device.segmentation_inputs)(
        crops, [None] * 6, np.array([[0.0, 255.0]]), [0] * 6, (6, 7), dtype=FLOAT
    )
    assert status.tolist() == [0, 0, 0, device.NOT_FINITE, 0, 0]
    for crop, level in ((0, 0), (1, 3), (2, 255), (4, 255), (5, 0)):
        assert (got[crop] == np.float32(level) / np.float32(255)).all()


@pytest.mark.parametrize("rule", [None, (0, 100), (1, 99.5), (0.1, 0.2), (50, 50.001), (99.99, 100)])
def test_contrast_windows_equal_the_methods(device_backend, rule):
    contrast = MinMax() if rule is None else Contrast(*rule)
    rng = np.random.default_rng(6)
    for dtype in TYPES[:4]:
        images = [random_pixels(rng, dtype, 30) for _ in range(device_backend.cases(500))]
        images += [np.zeros((3, 4), dtype), np.full((150, 2), 77, dtype), np.array([[5, 6]], dtype)]
        images += [np.repeat(random_pixels(rng, dtype, 9), 40, axis=0)]
        tables = [random_table(rng, dtype) for _ in images]
        tables[0] = GreyTable(-3, np.array([3, -0.0, 1, 0.0, -2, 3, 1e-30], np.float32))
        windows, status = device_backend(device.contrast_windows)(images, tables, rule)
        assert windows.dtype == np.float64
        assert not status.any()
        wanted = [contrast.window(image, table) for image, table in zip(images, tables, strict=True)]
        assert windows.tolist() == [list(window) for window in wanted]


def test_minus_zero_is_zero(device_backend):
    table = GreyTable(0, np.array([-0.0, 0.0, 5], np.float32))
    windows, _ = device_backend(device.contrast_windows)([np.array([[0, 1, 1, 2]], np.uint8)], [table], (1, 99))
    assert windows.tolist() == [[5, 6]]


def test_contrast_windows_of_a_whole_image(device_backend):
    rng = np.random.default_rng(7)
    image = np.zeros((300, 200), np.uint16)
    image[40:250, :120] = rng.normal(30000, 9000, (210, 120)).clip(1, 65535).astype(np.uint16)
    windows, _ = device_backend(device.contrast_windows)([image, image[:70]], [None, None], (2, 98))
    assert windows.tolist() == [list(Contrast(2, 98).window(part, None)) for part in (image, image[:70])]


IMAGE = np.ones((4, 4), np.uint8)
WINDOW = np.array([[0.0, 1.0]])
TABLE = GreyTable(0, np.zeros(2, FLOAT))


def test_results_are_written_where_asked(device_backend):
    run = device_backend(device.detection_inputs)
    outs = np.zeros((1, 1, 2, 2), HALF), np.full((1, 1, 3, 3), 9, HALF), np.full(1, 9, np.int32)
    inputs, status = run([IMAGE], [None], WINDOW, [(2, 2), (3, 3)], out=outs)
    assert all((got == 1).all() for got in inputs)
    assert status.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [IMAGE.astype(np.int64)]}, r"images: got int64 of shape \(4, 4\), expected a 2-D array of one of"),
        ({"images": [IMAGE[0]]}, r"images: got uint8 of shape \(4,\)"),
        ({"images": [IMAGE[:0]]}, r"images: got shape \(0, 4\), expected at least one pixel"),
        ({"tables": []}, "tables: got 0 items, expected one for each of 1 images"),
        ({"tables": [3]}, "table: got int"),
        (
            {"images": [IMAGE.astype(FLOAT)], "tables": [GreyTable(0, WINDOW[0].astype(FLOAT))]},
            "table: got a GreyTable",
        ),
        ({"windows": WINDOW[:, :1]}, r"windows: got float64 of shape \(1, 1\), expected float64 of shape \(1, 2\)"),
        ({"windows": WINDOW.astype(FLOAT)}, "windows: got float32"),
        ({"shapes": [(0, 3)]}, "shapes rows: got 0"),
        ({"dtype": np.float64}, "dtype: got float64, expected float16 or float32"),
        ({"fit": "crop"}, "fit: got 'crop'"),
        ({"out": (np.zeros((1, 1, 3, 3), FLOAT), np.zeros(1, np.int32))}, r"out\[0\]: got float32"),
        ({"out": (np.zeros(1, np.int32),)}, "out: got tuple, expected None or 2 arrays"),
    ],
)
def test_bad_arguments(device_backend, change, message):
    good = {"images": [IMAGE], "tables": [None], "windows": WINDOW, "shapes": [(3, 3)]}
    with pytest.raises(ValueError, match=message):
        device_backend(device.detection_inputs)(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_of": [1]}, "image_of: got 1, expected the index of one of 1 windows"),
        ({"image_of": [-1]}, "image_of: got -1"),
        ({"image_of": []}, "image_of: got 0 items, expected one for each of 1 crops"),
        ({"shape": (3, 0)}, "shape cols: got 0"),
        ({"crops": [IMAGE.astype(bool)]}, "crops: got bool"),
    ],
)
def test_bad_crops(device_backend, change, message):
    good = {"crops": [IMAGE], "tables": [None], "windows": WINDOW, "image_of": [0]}
    with pytest.raises(ValueError, match=message):
        device_backend(device.segmentation_inputs)(**(good | change))


@pytest.mark.parametrize(
    ("image", "rule", "message"),
    [
        (IMAGE.astype(np.uint32), None, "images: got .*, expected integers of at most 16 bits"),
        (IMAGE, (5, 5), "percentiles: got .*, expected low < high"),
        (IMAGE, (-1, 5), r"percentiles\[0\]: got -1"),
    ],
)
def test_bad_contrasts(device_backend, image, rule, message):
    with pytest.raises(ValueError, match=message):
        device_backend(device.contrast_windows)([image], [None], rule)
