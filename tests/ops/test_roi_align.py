"""RoI Align against the NumPy reference and ONNX Runtime."""

from functools import cache

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from mammofast import ops
from mammofast.ops import reference

# Sums of float32 products in different orders, of features up to 1 in size.
TOLERANCE = 1e-6
SCALES = [1 / 16, 1 / 8, 0.3, 1.0, 2.0]


@cache
def onnx_roi_align(rows, cols, scale, sampling_ratio):
    """ONNX Runtime's RoiAlign, as a function of features, boxes and batch_index."""
    names = {"features": (TensorProto.FLOAT, 4), "boxes": (TensorProto.FLOAT, 2), "index": (TensorProto.INT64, 1)}
    node = helper.make_node(
        "RoiAlign",
        list(names),
        ["aligned"],
        output_height=rows,
        output_width=cols,
        spatial_scale=scale,
        sampling_ratio=sampling_ratio,
        coordinate_transformation_mode="half_pixel",
        mode="avg",
    )
    graph = helper.make_graph(
        [node],
        "roi_align",
        [helper.make_tensor_value_info(name, kind, [None] * rank) for name, (kind, rank) in names.items()],
        [helper.make_tensor_value_info("aligned", TensorProto.FLOAT, [None] * 4)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


def random_features(rng, extent=20):
    n, channels = int(rng.integers(1, 4)), int(rng.choice([1, 3, 16, 17, 33]))
    return rng.uniform(-1, 1, (n, channels, *rng.integers(1, extent, 2))).astype(np.float32)


def random_boxes(rng, k, shape, scale, adaptive):
    """Boxes in, across, around and off the map of ``shape``, small and large, on and off its grid."""
    extent = np.array(shape[::-1]) / scale
    half = rng.uniform(0, 1, (k, 2)) * extent * rng.choice([0, 0.01, 0.3, 1, 3, 30], (k, 2))
    centres = rng.uniform(-0.1, 1.1, (k, 2)) * extent
    if not adaptive:  # where ONNX Runtime would look at every pixel of a huge box
        half *= rng.choice([1] * 9 + [1e3, 1e12, 1e30], (k, 1))
        centres *= rng.choice([1] * 9 + [-30, 1e12], (k, 1))
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    on_grid = rng.random(k) < 0.4  # samples hit pixel centres, and the places from where they count no more
    boxes[on_grid] = np.round(boxes[on_grid] * scale * 2) / 2 / scale
    return boxes.astype(np.float32)


def random_case(rng, k):
    features = random_features(rng)
    size = tuple(int(v) for v in rng.choice([1, 2, 3, 7], 2))
    scale, ratio = float(rng.choice(SCALES)), int(rng.integers(0, 4))
    boxes = random_boxes(rng, k, features.shape[2:], scale, ratio == 0)
    return features, boxes, rng.integers(0, len(features), k), size, scale, ratio


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(backend, seed):
    rng = np.random.default_rng(seed)
    roi_align = backend(ops.roi_align)
    for _ in range(backend.cases(12)):
        case = random_case(rng, int(rng.integers(0, 6)))
        aligned = roi_align(*case)
        assert aligned.dtype == np.float32
        np.testing.assert_allclose(aligned, reference.roi_align(*case), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(4))
def test_equals_onnx_runtime(backend, seed):
    rng = np.random.default_rng(100 + seed)
    roi_align = backend(ops.roi_align)
    some = 0
    for _ in range(backend.cases(75)):
        features, boxes, index, size, scale, ratio = random_case(rng, 50)
        wanted = onnx_roi_align(*size, scale, ratio)(features, boxes, index)
        got = roi_align(features, boxes, index, size, scale, ratio)
        assert np.array_equal(got, ops.roi_align(features, boxes, index, size, scale, ratio))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)
        some += np.count_nonzero(wanted.any(axis=(1, 2, 3)))
    assert some > backend.cases(75) * 50 / 4  # most of the others lie off the map


@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize(
    ("position", "counts"), [(-1, 1), (-1 - 1e-5, 0), (-1 + 1e-5, 1), (6, 1), (6 + 1e-5, 0), (6 - 1e-5, 1)]
)
def test_where_samples_stop_to_count(backend, position, counts, ratio):
    """A pixel outside the centres of the outer pixels, on that place too; a box of no size has all samples there."""
    x = position + 0.5
    for box, features in (([x, 2, x, 2], np.ones((1, 1, 4, 6))), ([2, x, 2, x], np.ones((1, 1, 6, 4)))):
        boxes = np.array([box], np.float32)
        got = backend(ops.roi_align)(features.astype(np.float32), boxes, np.zeros(1, np.int64), (1, 1), 1.0, ratio)
        assert got.item() == pytest.approx(counts)


def test_a_bin_over_whole_pixels_is_their_mean(backend):
    features = np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6)
    box = np.array([[2, 0, 6, 4]], np.float32)
    got = backend(ops.roi_align)(features, box, np.zeros(1, np.int64), (2, 2), 1.0, 2)
    expected = features[0, 0, :4, 2:].reshape(2, 2, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(got[0, 0], expected, rtol=1e-6)
    half = backend(ops.roi_align)(features, 2 * box, np.zeros(1, np.int64), (2, 2), 0.5, 2)
    assert np.array_equal(half, got)


def test_boxes_keep_their_order_over_images(backend):
    rng = np.random.default_rng(5)
    features, index = rng.random((3, 20, 9, 8), dtype=np.float32), np.array([2, 0, 2, 1, 0])
    boxes = random_boxes(rng, 5, (9, 8), 1.0, False)
    together = backend(ops.roi_align)(features, boxes, index, (3, 2), 1.0)
    for i, image in enumerate(index):
        alone = backend(ops.roi_align)(features[[image]], boxes[[i]], np.zeros(1, np.int64), (3, 2), 1.0)
        assert np.array_equal(alone[0], together[i])


def test_a_huge_box_on_every_pixel(backend):
    """Adaptive sampling of a box far larger than its map: all of the map lies in few bins."""
    features = np.ones((1, 1, 8, 8), np.float32)
    side = 7 * 30_000.0
    box = np.array([[-side / 2, -side / 2, side / 2, side / 2]], np.float32)
    got = backend(ops.roi_align)(features, box, np.zeros(1, np.int64), (7, 7), 1.0, 0)
    # Samples a pixel apart: nine by nine fall on the map, the outer ones of which count fully.
    assert got.sum() == pytest.approx(81 / 30_000**2, rel=0.3)
    for stretch, bins in (((2, 1), "60000 x 30000"), ((1, 2), "30000 x 60000"), ((1e30, 1e30), ".*e.* x .*e.*")):
        boxes = np.concatenate([box, box * np.tile(np.float32(stretch), 2)])
        with pytest.raises(ValueError, match=f"boxes: got bins of {bins} .* at index 1, expected at most 32768"):
            backend(ops.roi_align)(features, boxes, np.zeros(2, np.int64), (7, 7), 1.0, 0)


@pytest.mark.parametrize("ratio", [1, 2])
def test_boxes_that_float32_cannot_hold_lie_nowhere(backend, ratio):
    boxes = np.array([[-3e38, -3e38, 3e38, 3e38], [0, 0, 3e38, 1], [-3e38, 0, -2e38, 1]], np.float32)
    got = backend(ops.roi_align)(np.ones((1, 1, 3, 3), np.float32), boxes, np.zeros(3, np.int64), (2, 2), 16.0, ratio)
    assert not got.any()


@pytest.mark.parametrize(("n", "k"), [(2, 0), (0, 0)])
def test_empty_in_empty_out(backend, n, k):
    got = backend(ops.roi_align)(
        np.ones((n, 5, 4, 4), np.float32), np.zeros((k, 4), np.float32), np.zeros(k, int), (7, 7), 0.1
    )
    assert got.shape == (0, 5, 7, 7)


def test_views_and_any_integers_are_welcome(backend):
    rng = np.random.default_rng(1)
    features = rng.random((4, 8, 12, 10), dtype=np.float32)
    boxes = random_boxes(rng, 8, (12, 10), 1.0, False)
    view = features[::2, 1:6, ::-1, ::2]
    got = backend(ops.roi_align)(view, boxes[::2], np.array([0, 1, 1, 0], np.uint8), (2, 3), 1.0)
    assert np.array_equal(
        got, backend(ops.roi_align)(view.copy(), boxes[::2].copy(), np.array([0, 1, 1, 0]), (2, 3), 1.0)
    )


MAP, BOX, INDEX = np.ones((2, 3, 4, 5), np.float32), np.array([[1, 2, 3, 4]], np.float32), np.zeros(1, np.int64)


def with_value(value):
    features = MAP.copy()
    features[1, 2, 3, 4] = value
    return features


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((with_value(np.nan), BOX, INDEX, (7, 7), 1.0), "features: got NaN or Inf, expected finite values"),
        ((with_value(np.inf), BOX, INDEX, (7, 7), 1.0), "features: got NaN or Inf"),
        ((MAP[0], BOX, INDEX, (7, 7), 1.0), r"features: got float32 .* expected float32 of shape \(n, c, h, w\)"),
        ((MAP.astype(np.float64), BOX, INDEX, (7, 7), 1.0), "features: got float64"),
        ((MAP[:, :0], BOX, INDEX, (7, 7), 1.0), r"features: got shape \(2, 0, 4, 5\), expected at least one channel"),
        ((MAP, BOX[0], INDEX, (7, 7), 1.0), r"boxes: got float32 of shape \(4,\), expected float32 of shape \(k, 4\)"),
        ((MAP, BOX.astype(np.int32), INDEX, (7, 7), 1.0), "boxes: got int32"),
        ((MAP, BOX[:, [2, 1, 0, 3]], INDEX, (7, 7), 1.0), "boxes: got .* at index 0, expected x_max >= x_min"),
        ((MAP, BOX * np.float32("nan"), INDEX, (7, 7), 1.0), "boxes: got .*nan.* finite"),
        ((MAP, BOX, INDEX.astype(np.float32), (7, 7), 1.0), r"batch_index: got float32 .* expected integers"),
        ((MAP, BOX, [0], (7, 7), 1.0), r"batch_index: got list, expected integers of shape \(1,\)"),
        ((MAP, BOX, np.zeros(2, np.int64), (7, 7), 1.0), r"batch_index: got int64 of shape \(2,\)"),
        ((MAP, BOX, np.array([2]), (7, 7), 1.0), r"batch_index: got 2 at index 0, expected 0..1"),
        ((MAP, BOX, np.array([-1]), (7, 7), 1.0), r"batch_index: got -1 at index 0"),
        ((MAP, BOX, np.array([2**64 - 1], np.uint64), (7, 7), 1.0), r"batch_index: got -1 at index 0"),
        ((MAP, BOX, INDEX, (0, 7), 1.0), r"output_size rows: got 0"),
        ((MAP, BOX, INDEX, 7, 1.0), r"output_size: got 7, expected \(rows, cols\)"),
        ((MAP, BOX, INDEX, (7, 2**20), 1.0), r"output_size: got \(7, 1048576\), expected at most"),
        ((MAP, BOX, INDEX, (7, 7), 0.0), "spatial_scale: got 0.0, expected a number above 0"),
        ((MAP, BOX, INDEX, (7, 7), 1e-60), "spatial_scale: got 1e-60"),
        ((MAP, BOX, INDEX, (7, 7), np.nan), "spatial_scale: got nan"),
        ((MAP, BOX, INDEX, (7, 7), 1.0, -1), "sampling_ratio: got -1, expected an integer in 0.."),
        ((MAP, BOX, INDEX, (7, 7), 1.0, 2.0), "sampling_ratio: got 2.0"),
    ],
)
def test_bad_arguments(backend, arguments, message):
    with pytest.raises(ValueError, match=message):
        backend(ops.roi_align)(*arguments)
