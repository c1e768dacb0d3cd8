"""A bundle's ONNX weights back in the PyTorch network that they were exported from."""

from itertools import pairwise

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def load_folded(network: nn.Module, model: bytes, example: torch.Tensor) -> nn.Module:
    """Give a network of convolutions the weights of its ONNX file, whose batch normalizations are folded into them.

    Both are run in one order, and so are taken one after the other. The network is set to eval.

    Raises
    ------
    ValueError
        When the file's convolutions are not the network's.

    """
    _fold_batch_norms(network)
    with torch.no_grad():
        for conv, (weight, bias) in convolutions(network, model, example):
            assert conv.bias is not None  # folding gave it one
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)
    return network


def convolutions(
    network: nn.Module, model: bytes, example: torch.Tensor
) -> list[tuple[nn.Conv2d, tuple[torch.Tensor, torch.Tensor]]]:
    """Return a network's convolutions as they are run, each with its weight and bias in the ONNX file.

    Raises
    ------
    ValueError
        When the file's convolutions are not the network's.

    """
    run: list[nn.Conv2d] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: run.append(module))
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    graph = onnx.load_from_string(model).graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    shapes = [known[node.input[1]].shape for node in nodes]
    if shapes != [tuple(conv.weight.shape) for conv in run] or any(
        node.op_type.startswith("Batch") for node in graph.node
    ):
        raise ValueError(f"the file has other convolutions than {type(network).__name__}: have the networks changed?")
    weights = [[torch.from_numpy(known[name].copy()) for name in node.input[1:]] for node in nodes]
    return [(conv, (weight, bias)) for conv, (weight, bias) in zip(run, weights, strict=True)]


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch normalization that follows a convolution into it, in place."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for first, second in pairwise(list(module._modules)):
                conv, norm = module._modules[first], module._modules[second]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module._modules[first] = fuse_conv_bn_eval(conv, norm)
                    module._modules[second] = nn.Identity()
