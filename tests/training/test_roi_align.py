"""RoI Align in PyTorch is the op that screening uses, and its gradient that of what it computes."""

import numpy as np
import pytest
import torch

from mammofast import ops
from mammofast.training.roi_align import roi_align


@pytest.mark.parametrize("sampling", [1, 2, 3])
@pytest.mark.parametrize("size", [(7, 7), (3, 5)])
@pytest.mark.parametrize("shape", [(5, 24, 31), (2, 1, 1), (3, 2, 9)])
def test_it_is_the_op(shape, size, sampling):
    rng = np.random.default_rng(sampling)
    features = rng.normal(size=shape).astype(np.float32)
    rows, cols = 16 * shape[1], 16 * shape[2]
    # Within, across every edge, far outside, as small as nothing, and as large as everything.
    low = rng.uniform(-0.3, 1, (60, 2)) * [cols, rows]
    boxes = np.concatenate([low, low + rng.uniform(0, 0.8, (60, 2)) * [cols, rows]], axis=1)
    edges = [[0, 0, cols, rows], [-40, -40, -30, -30], [cols + 40, 0, cols + 60, 9], [8, 8, 8, 8], [-8, -8, 8, 8]]
    boxes = np.concatenate([boxes, edges]).astype(np.float32)
    expected = ops.roi_align(features[None], boxes, np.zeros(len(boxes), np.int64), size, 1 / 16, sampling)
    got = roi_align(torch.from_numpy(features), torch.from_numpy(boxes), size, 1 / 16, sampling)
    assert got.shape == expected.shape
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    features = torch.rand(2, 5, 6, requires_grad=True)
    boxes = torch.tensor([[3.0, 5.0, 70.0, 60.0], [-20.0, 30.0, 40.0, 100.0]])
    weights = torch.rand(2, 2, 3, 3)
    (roi_align(features, boxes, (3, 3), 1 / 16) * weights).sum().backward()
    step = 0.25
    for index in np.ndindex(2, 5, 6):
        sides = []
        for sign in (-step, step):
            moved = features.detach().clone()
            moved[index] += sign
            sides.append(float((roi_align(moved, boxes, (3, 3), 1 / 16) * weights).sum()))
        assert float(features.grad[index]) == pytest.approx((sides[1] - sides[0]) / (2 * step), abs=1e-4)
