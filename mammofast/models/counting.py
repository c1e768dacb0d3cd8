"""What a network costs, counted on the network itself."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
LAYERS = (*_CONVOLUTIONS, nn.Linear)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable scalars; each shared one counts once."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_layers(network: nn.Module) -> int:
    """Return the number of convolutions, transposed ones too, and fully connected layers that have weights to train."""
    return sum(isinstance(module, LAYERS) and module.weight.requires_grad for module in network.modules())


def count_macs(network: nn.Module, *shapes: Sequence[int]) -> int:
    """Return the multiply-adds of a network's layers in one run; biases, norms and resampling are not counted.

    shapes: of the inputs, batch axis included. The network's weights are not touched: give one built on the device
    "meta" (``with torch.device("meta")``) and nothing is computed at all.
    """
    macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Linear):
            macs += output.numel() * layer.in_features
        elif isinstance(layer, nn.ConvTranspose2d):
            # Every input value meets each of its kernels' weights once.
            macs += inputs[0].numel() * layer.out_channels // layer.groups * prod(layer.kernel_size)
        elif isinstance(layer, nn.Conv2d):
            macs += output.numel() * layer.in_channels // layer.groups * prod(layer.kernel_size)

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, LAYERS)]
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.eval()(*(torch.zeros(*shape, device=device) for shape in shapes))
    finally:
        for hook in hooks:
            hook.remove()
    return macs
