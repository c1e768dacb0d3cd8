"""Random weights whose network computes something: for trying the software where there are no trained ones."""

from typing import Any

import torch
from torch import Tensor, nn

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def settle(network: nn.Module, images: Tensor) -> None:
    """Scale every layer and norm, in one run, so that what they give has a root mean square of 1.

    As initialized, a deep network's output hardly depends on its input, or grows past fp16's range: agreement of an
    engine with such a network would show nothing. (The idea of Mishkin & Matas 2016, arXiv 1511.06422, without its
    orthogonal start.) The network is set to eval; what does not train stays.
    """
    network.eval()
    hooks = [module.register_forward_hook(_scale) for module in network.modules() if isinstance(module, _LAYERS)]
    hooks += [module.register_forward_pre_hook(_measure) for module in network.modules() if isinstance(module, _NORMS)]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()


def _scale(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    size = _root_mean_square(output)
    if not layer.weight.requires_grad or size == 0:
        return None
    layer.weight /= size
    if layer.bias is not None:
        layer.bias /= size
    return output / size


def _measure(norm: Any, inputs: tuple[Tensor, ...]) -> None:
    if norm.running_var is not None:
        norm.running_mean.zero_()
        norm.running_var.fill_(max(_root_mean_square(inputs[0]), 1e-3) ** 2)


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
