"""Eq. 1, dense: against the NumPy reference, and against what fusion says without a raster."""

import numpy as np
import pytest

from mammofast import ops
from mammofast.ops import reference
from mammofast.ops._native import kernels
from tests.ops import cases


def on_cpu(boxes, scores, n_scales, shape):
    return ops.confidence_mask(boxes, scores, n_scales, shape)


def on_cuda(boxes, scores, n_scales, shape):
    torch = pytest.importorskip("torch", reason="CUDA KERNELS NOT TESTED: the test hands arrays over with torch")
    if not kernels().has_cuda or not torch.cuda.is_available():
        pytest.skip("CUDA KERNELS NOT TESTED: no CUDA device, or an extension built without CUDA")
    mask = ops.confidence_mask(torch.tensor(boxes).cuda(), torch.tensor(scores).cuda(), n_scales, shape)
    return torch.as_tensor(mask, device="cuda").cpu().numpy()


BACKENDS = [pytest.param(on_cpu, id="cpu"), pytest.param(on_cuda, id="cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("confidence_mask", BACKENDS)
def test_equals_the_reference(confidence_mask):
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        shape = tuple(int(v) for v in rng.integers(1, 40, 2))
        boxes, scores = cases.some(rng, int(rng.integers(0, 20)), max(shape))
        n_scales = int(rng.integers(1, 7))
        mask = confidence_mask(boxes, scores, n_scales, shape)
        assert mask.dtype == np.float32
        assert np.array_equal(mask, reference.confidence_mask(boxes, scores, n_scales, shape))


@pytest.mark.parametrize("confidence_mask", BACKENDS)
def test_many_boxes(confidence_mask):
    rng = np.random.default_rng(1)
    boxes, scores = cases.random_boxes(rng, 700, 300, 0), rng.uniform(0, 1, 700).astype(np.float32)
    mask = confidence_mask(boxes, scores, 5, (311, 257))
    assert np.array_equal(mask, reference.confidence_mask(boxes, scores, 5, (311, 257)))


@pytest.mark.parametrize("confidence_mask", BACKENDS)
def test_peaks_are_the_scores_of_fusion(confidence_mask):
    rng = np.random.default_rng(2)
    for _ in range(50):
        boxes, scores = cases.random_boxes(rng, 12, 40, 0), rng.uniform(0, 1, 12).astype(np.float32)
        fused = ops.fuse_boxes(boxes, scores, 3, (40, 40), 0)
        assert fused.scores.max() == confidence_mask(boxes, scores, 3, (40, 40)).max()


@pytest.mark.parametrize("confidence_mask", BACKENDS)
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_no_boxes_and_no_pixels(confidence_mask, shape):
    for boxes, scores in [(cases.NO_BOXES, cases.NO_SCORES), (cases.ONE_BOX, cases.ONE_SCORE * 0)]:
        mask = confidence_mask(boxes, scores, 5, shape)
        assert mask.shape == shape
        assert not mask.any()


@pytest.mark.parametrize(("boxes", "scores", "message"), cases.BAD_BOXES_AND_SCORES)
def test_bad_boxes_and_scores(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        ops.confidence_mask(boxes, scores, 5, (10, 10))


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
        (OnDevice((1, 4)), OnDevice((2,)), "scores: got" if kernels().has_cuda else "boxes: got"),
        (OnDevice((1, 4)), cases.ONE_SCORE, "scores: got" if kernels().has_cuda else "boxes: got"),
    ],
)
def test_bad_arrays_on_a_device(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        ops.confidence_mask(boxes, scores, 5, (10, 10))


def test_an_array_on_a_device_is_refused_where_there_is_no_kernel_for_it():
    with pytest.raises(ValueError, match="boxes: got OnDevice"):
        ops.nms(OnDevice((1, 4)), OnDevice((1,)), 0.5)
