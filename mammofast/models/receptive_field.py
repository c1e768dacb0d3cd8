"""How far a network looks: which input pixels its layers let an output pixel depend on."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor

from torch import nn


def halo(stride: int, *paths: Iterable[nn.Module], margin: int = 0) -> int:
    """Return the pixels of input on each side of an output pixel that it can depend on, up to a multiple of ``stride``.

    Every layer's output positions a..b depend on an interval of its input positions, so an interval of one pixel is
    walked back from the output to the input along each path, for each of the ``stride`` places that an output pixel
    can have in the coarsest cell, and the farthest end found counts.

    Parameters
    ----------
    stride
        Of the coarsest layer.
    paths
        Of modules from input to output, in the order they run, nested ones too; several where the network branches.
    margin
        How far the first output pixel lies inside the input (networks without padding).
    """
    reach = 0
    for path in paths:
        layers = [leaf for module in path for leaf in module.modules() if not list(leaf.children())]
        for position in range(stride):
            first, last = interval(layers, position, position)
            reach = max(reach, position + margin - first, last - position - margin)
    return -(-reach // stride) * stride


def in_turn(*lists: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the first module of each list, then the second of each, and so on: the order in which they run."""
    return [module for step in zip(*lists, strict=True) for module in step]


def interval(layers: Sequence[nn.Module], first: int, last: int) -> tuple[int, int]:
    """Return the first and last input positions, on one axis, that output positions first..last depend on."""
    for layer in reversed(layers):
        first, last = _back(layer, first, last)
    return first, last


def _back(layer: nn.Module, first: int, last: int) -> tuple[int, int]:
    if isinstance(layer, nn.ConvTranspose2d):
        # Input i touches outputs i·stride - padding + 0..reach.
        stride, padding, reach = _one(layer.stride), _one(layer.padding), _reach(layer)
        return -((reach - padding - first) // stride), (last + padding) // stride
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        stride, padding, reach = _one(layer.stride), _one(layer.padding), _reach(layer)
        return first * stride - padding, last * stride - padding + reach
    if isinstance(layer, nn.Upsample):
        if layer.align_corners:
            raise ValueError("align_corners=True lets an output pixel's place depend on the whole image's size")
        if layer.mode == "nearest":
            return floor(first / layer.scale_factor), floor(last / layer.scale_factor)
        return floor(_between(first, layer)), floor(_between(last, layer)) + 1
    return first, last


def _between(position: int, layer: nn.Upsample) -> Fraction:
    """Return where an output pixel's centre lies between the input pixels' centres."""
    half = Fraction(1, 2)
    return (position + half) / Fraction(layer.scale_factor) - half


def _reach(layer: nn.Module) -> int:
    return (_one(layer.kernel_size) - 1) * _one(getattr(layer, "dilation", 1))


def _one(value: int | tuple[int, ...]) -> int:
    """Return the number of both axes."""
    return value if isinstance(value, int) else value[1]
