"""RoI Align that gradients go through: what ``mammofast.ops.roi_align`` computes, as three matrices multiplied.

A bin's average of bilinear samples is linear in the features' rows and in their columns, so each box is a matrix over
the rows, the features, and a matrix over the columns.
"""

import torch
from torch import Tensor


def roi_align(
    features: Tensor, boxes: Tensor, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int = 2
) -> Tensor:
    """Return float32 (k, c, rows, cols) of one image's features (c, h, w) under its boxes (k, 4).

    The mean in each bin of ``sampling_ratio``² bilinear samples; ONNX RoiAlign, half_pixel. Gradients go to features.
    """
    _, rows, cols = features.shape
    boxes = boxes.float()
    over_rows = _taps(boxes[:, [1, 3]], output_size[0], rows, spatial_scale, sampling_ratio)
    over_cols = _taps(boxes[:, [0, 2]], output_size[1], cols, spatial_scale, sampling_ratio)
    return torch.einsum("kyh,chw,kxw->kcyx", over_rows, features.float(), over_cols)


def _taps(sides: Tensor, bins: int, size: int, scale: float, samples: int) -> Tensor:
    """Return the weights (k, bins, size) of features along one axis, from boxes' sides (k, 2)."""
    start, end = (sides * scale - 0.5).unbind(dim=1)
    width = ((end - start) / bins)[:, None, None]
    bin_, sample = (torch.arange(n, device=sides.device, dtype=torch.float32) for n in (bins, samples))
    places = start[:, None, None] + bin_[:, None] * width + (sample + 0.5) * width / samples
    # More than a pixel outside there is nothing; less than that, what the edge has.
    inside = (places >= -1) & (places <= size)
    within = places.clamp(0, size - 1)
    pixels = torch.arange(size, device=sides.device, dtype=torch.float32)
    weights = (1 - (within[..., None] - pixels).abs()).clamp(min=0) * inside[..., None]
    return weights.mean(dim=2)
