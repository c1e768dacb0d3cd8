"""torchvision's classifiers of ImageNet: VGG16 and VGG19 (without batch normalization), ResNet-18 to ResNet-101."""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from mammofast.models.layouts.keys import COUNTER, some
from mammofast.models.resnet import ResNet

_FULLY_CONNECTED = {"head.fc6": "classifier.0", "head.fc7": "classifier.3"}
_IMAGENET_ONLY = ("fc.", "classifier.")


def convert(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the part of ``network``'s state dict that one of torchvision's has, to load with ``strict=False``.

    The network is one with VGG's convolutions (``features``) or with a ``ResNet`` in it. What its trunk does not have
    is left out: ResNet's ``fc``, VGG's ``classifier``; but FCN and Dilation10 take VGG16's first two fully connected
    layers as the convolutions fc6 (7×7) and fc7 (1×1). Batch counters, which PyTorch before 0.4.1 did not keep, may be
    missing and are then zero.

    Raises
    ------
    ValueError
        When a key is missing or unknown, a shape is not the network's, or the network has no such trunk.
    """
    theirs = _keys(network)
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    missing = [key for key in theirs.values() if key not in state and not key.endswith(COUNTER)]
    used = set(theirs.values())
    unexpected = [key for key in state if key not in used and not key.startswith(_IMAGENET_ONLY)]
    wrong = [
        f"{key} {tuple(state[key].shape)} for {shapes[ours]}"
        for ours, key in theirs.items()
        if key in state and not _fits(tuple(state[key].shape), shapes[ours])
    ]
    if missing or unexpected or wrong:
        raise ValueError(
            f"not torchvision's state dict for the trunk of {type(network).__name__}: missing {some(missing)}, "
            f"unexpected {some(unexpected)}, of another shape {some(wrong)}; give the model's state dict itself, and "
            "build the network with its depth, three channels, full width and (ResNet) batch normalization"
        )
    return {ours: state[key].reshape(shapes[ours]) if key in state else torch.tensor(0) for ours, key in theirs.items()}


def _keys(network: nn.Module) -> dict[str, str]:
    """Return torchvision's key for each key of the network that it has."""
    ours = list(network.state_dict())
    for name, module in network.named_modules():
        if isinstance(module, ResNet):
            parts = {f"{name}." if name else "": ""}
            # Faster R-CNN's trunk ends before the last stage: that is its head's.
            parts |= {f"{head}.": "layer4." for head, _ in network.named_modules() if head.endswith("head.layer4")}
            return {
                key: theirs + key.removeprefix(part)
                for part, theirs in parts.items()
                for key in ours
                if key.startswith(part)
            }
    if not isinstance(getattr(network, "features", None), nn.Sequential):
        raise ValueError(f"{type(network).__name__} has neither VGG's convolutions nor a ResNet: nothing to import")
    keys = {key: key for key in ours if key.startswith("features.")}
    for key in ours:
        module_name, _, tensor = key.rpartition(".")
        if module_name in _FULLY_CONNECTED:
            keys[key] = f"{_FULLY_CONNECTED[module_name]}.{tensor}"
    return keys


def _fits(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Tell whether shapes are equal, or a fully connected layer's matrix is a convolution seen flat."""
    return theirs == ours or (len(theirs) == 2 and len(ours) == 4 and theirs == (ours[0], prod(ours[1:])))
