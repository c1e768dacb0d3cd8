"""Eq. 1, dense: against the NumPy reference, and against what fusion says without a raster."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import reference
from tests.ops import cases


def test_equals_the_reference(backend):
    confidence_mask = backend(ops.confidence_mask)
    rng = np.random.default_rng(0)
    for _ in range(backend.cases(10_000)):
        shape = tuple(int(v) for v in rng.integers(1, 40, 2))
        boxes, scores = cases.some(rng, int(rng.integers(0, 20)), max(shape))
        n_scales = int(rng.integers(1, 7))
        mask = confidence_mask(boxes, scores, n_scales, shape)
        assert mask.dtype == np.float32
        assert np.array_equal(mask, reference.confidence_mask(boxes, scores, n_scales, shape))


def test_many_boxes(backend):
    confidence_mask = backend(ops.confidence_mask)
    rng = np.random.default_rng(1)
    boxes, scores = cases.random_boxes(rng, 700, 300, 0), rng.uniform(0, 1, 700).astype(np.float32)
    mask = confidence_mask(boxes, scores, 5, (311, 257))
    assert np.array_equal(mask, reference.confidence_mask(boxes, scores, 5, (311, 257)))


def test_peaks_are_the_scores_of_fusion(backend):
    confidence_mask = backend(ops.confidence_mask)
    rng = np.random.default_rng(2)
    for _ in range(backend.cases(50)):
        boxes, scores = cases.random_boxes(rng, 12, 40, 0), rng.uniform(0, 1, 12).astype(np.float32)
        fused = ops.fuse_boxes(boxes, scores, 3, (40, 40), 0)
        assert fused.scores.max() == confidence_mask(boxes, scores, 3, (40, 40)).max()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_no_boxes_and_no_pixels(backend, shape):
    confidence_mask = backend(ops.confidence_mask)
    for boxes, scores in [(cases.NO_BOXES, cases.NO_SCORES), (cases.ONE_BOX, cases.ONE_SCORE * 0)]:
        mask = confidence_mask(boxes, scores, 5, shape)
        assert mask.shape == shape
        assert not mask.any()


@pytest.mark.parametrize(("boxes", "scores", "message"), cases.BAD_BOXES_AND_SCORES)
def test_bad_boxes_and_scores(backend, boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        backend(ops.confidence_mask)(boxes, scores, 5, (10, 10))


@pytest.mark.parametrize(("n_scales", "shape"), [(0, (10, 10)), (5, (10,)), (1.5, (10, 10)), (5, (10, -1))])
def test_bad_scales_and_shapes(n_scales, shape):
    with pytest.raises(ValueError, match=r"(n_scales|shape).*: got .* expected"):
        ops.confidence_mask(cases.ONE_BOX, cases.ONE_SCORE, n_scales, shape)


class OnDevice:
    """Looks like an array on a CUDA device; nothing may follow its pointer."""

    def __init__(self, shape, typestr="<f4", strides=None):
        self.interface = {"version": 3, "shape": shape, "typestr": typestr, "strides": strides, "data": (0, False)}

    @property
    def __cuda_array_interface__(self):
        return self.interface


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        (OnDevice((1, 3)), OnDevice((1,)), "boxes: got"),
        (OnDevice((1, 4), "<f8"), OnDevice((1,)), "boxes: got"),
        (OnDevice((1, 4), strides=(32, 8)), OnDevice((1,)), "boxes: got"),
        (OnDevice((0, 4)), OnDevice((2,)), "scores: got"),
        (OnDevice((1, 4)), OnDevice((1,)), "boxes: got memory that no CUDA device knows"),
        (OnDevice((0, 4)), cases.ONE_SCORE, "scores: got ndarray"),
    ],
)
def test_bad_arrays_on_a_device(device_backend, boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        ops.confidence_mask(boxes, scores, 5, (10, 10))


def test_without_kernels_an_array_on_a_device_is_refused_and_the_message_says_how_to_get_them(no_cuda_kernels):
    with pytest.raises(ValueError, match=r"boxes: got an array on a CUDA device, expected a NumPy array: .*nvcc"):
        ops.confidence_mask(OnDevice((1, 4)), OnDevice((1,)), 5, (10, 10))
