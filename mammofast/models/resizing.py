"""Bilinear resizing between pixel centres, in forms that every compiler takes."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional


def size_of(image: Tensor) -> tuple[int, int]:
    """Return rows and columns as constants: of a compiled network only the batch can vary, and it needs no shapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return int(image.shape[-2]), int(image.shape[-1])


def stretch(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a batch of images resized to (rows, cols)."""
    (rows, cols), (from_rows, from_cols) = size, size_of(image)
    if rows % from_rows or cols % from_cols:
        return functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
    # Whole factors export as constants, sizes as arithmetic on the batch's shape.
    factors = (rows // from_rows, cols // from_cols)
    return functional.interpolate(image, scale_factor=factors, mode="bilinear", align_corners=False)


def fill_bilinear(deconvolution: nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    """Set a transposed convolution to the bilinear upsampling of each channel, in place (Long et al. 2015).

    With a kernel of twice the stride and a padding of half of it, the result is ``stretch``'s but at the edges, which
    fade to 0.
    """
    size, groups = deconvolution.kernel_size[0], deconvolution.groups
    ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() * 2 / size
    inputs, outputs = deconvolution.weight.shape[:2]
    channels = torch.eye(inputs, outputs) if groups == 1 else torch.ones(inputs, outputs)
    with torch.no_grad():
        deconvolution.weight.copy_(channels[:, :, None, None] * torch.outer(ramp, ramp))
        if deconvolution.bias is not None:
            deconvolution.bias.zero_()
    return deconvolution
