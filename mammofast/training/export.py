"""Trained networks as ONNX files with the bundle's interface."""

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mammofast.compilation.export import export
from mammofast.models.compact_yolo import CHANNELS, CompactYolo
from mammofast.models.interfaces import Probabilities
from mammofast.models.yolov3 import ANCHORS_PER_HEAD, STRIDES

_OBJECTNESS = 4


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Fold each batch normalization that follows a convolution into it, in place; the network is set to eval."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            names = list(module._modules)
            for first, second in pairwise(names):
                conv, norm = module._modules[first], module._modules[second]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module._modules[first] = fuse_conv_bn_eval(conv, norm)
                    module._modules[second] = nn.Identity()
    return network


def sharpen(network: CompactYolo, slope: float, centre: float) -> None:
    """Replace the objectness logit x by slope·(x - centre), in the heads' last convolutions: the ranking stays."""
    with torch.no_grad():
        for head in network.heads.values():
            weight = head[1].weight.view(ANCHORS_PER_HEAD, CHANNELS, -1)
            bias = head[1].bias.view(ANCHORS_PER_HEAD, CHANNELS)
            weight[:, _OBJECTNESS] *= slope
            bias[:, _OBJECTNESS] = slope * (bias[:, _OBJECTNESS] - centre)


def export_detector(network: CompactYolo, path: Path) -> None:
    """Write the detector: "image" (n, 1, rows, cols) to "stride_8", "stride_16", "stride_32"; all axes but 1 free."""
    names = [f"stride_{stride}" for stride in STRIDES]
    axes = {0: "n", 2: "rows", 3: "cols"}
    dynamic = {"image": axes} | {name: {0: "n", 2: f"rows_{name}", 3: f"cols_{name}"} for name in names}
    path.write_bytes(export(fold_batch_norms(network), torch.zeros(1, 1, 320, 160), "image", names, dynamic))


def export_segmenter(network: nn.Module, shape: tuple[int, int], path: Path) -> None:
    """Write the segmenter: "crop" (n, 1, rows, cols) to "mask", probabilities of the same shape; n free."""
    network = Probabilities(fold_batch_norms(network), "logits")
    path.write_bytes(export(network, torch.zeros(1, 1, *shape), "crop", ["mask"], {"crop": {0: "n"}, "mask": {0: "n"}}))
