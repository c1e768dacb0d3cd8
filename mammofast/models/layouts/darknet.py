"""Darknet's weight files (github.com/pjreddie/darknet, src/parser.c): a header, then every layer's floats in a row.

The header is three int32, major, minor and revision, and the number of images seen: 64 bits from version 0.2 on, 32
before. A convolution with batch normalization follows as shift, scale, mean, variance, kernels; one without as bias,
kernels. Everything is little-endian, and nothing says where a layer ends: the network must be known.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mammofast.models.yolov3 import ANCHORS_PER_HEAD, ConvUnit, YOLOv3

_INT32, _INT64, _FLOAT = 4, 8, 4
_VERSION = 3 * _INT32
# Darknet writes versions of this size or larger into files with transposed fully connected layers, and 32-bit counts.
_TRANSPOSED = 1000


def read(path: Path, network: nn.Module, *, backbone: bool = False) -> dict[str, Tensor]:
    """Return a weight file as the network's state dict, without batch counters.

    backbone: the file ends after Darknet-53 (``darknet53.conv.74``), and so does what is returned.

    Raises
    ------
    ValueError
        When the network is no YOLOv3, or the file's length is not what the network needs.
    OSError
        When the file cannot be read.

    """
    if not isinstance(network, YOLOv3):
        raise ValueError(f"Darknet's layout is for YOLOv3, not for {type(network).__name__}")
    content = path.read_bytes()
    start = _header(content)
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    keys = [key for key in _file_order(network) if not backbone or not key.startswith("scales.")]
    _check_length(len(content) - start, sum(prod(shapes[key]) for key in keys), network)
    floats = np.frombuffer(content, "<f4", offset=start)
    ends = np.cumsum([prod(shapes[key]) for key in keys])
    parts = np.split(floats, ends[:-1])
    return {
        key: torch.from_numpy(part.astype(np.float32).reshape(shapes[key]))
        for key, part in zip(keys, parts, strict=True)
    }


def _header(content: bytes) -> int:
    """Return where the layers begin."""
    if len(content) < _VERSION + _INT32:
        raise ValueError(f"{len(content)} bytes are too few for a header")
    major, minor, _revision = np.frombuffer(content, "<i4", 3).tolist()
    if major < 0 or minor < 0:
        raise ValueError(f"version {major}.{minor} is none of Darknet's: not a weight file")
    long_count = major * 10 + minor >= 2 and max(major, minor) < _TRANSPOSED
    return _VERSION + (_INT64 if long_count else _INT32)


def _file_order(network: YOLOv3) -> Iterator[str]:
    """Yield the keys of the state dict as a file has them; modules already stand in yolov3.cfg's order."""
    for name, module in network.named_modules():
        if isinstance(module, ConvUnit):
            yield from (f"{name}.1.{tensor}" for tensor in ("bias", "weight", "running_mean", "running_var"))
            yield f"{name}.0.weight"
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            yield from (f"{name}.bias", f"{name}.weight")


def _check_length(got: int, floats: int, network: YOLOv3) -> None:
    expected = _FLOAT * floats
    if got == expected:
        return
    trunk = sum(
        tensor.numel()
        for key, tensor in network.state_dict().items()
        if not key.startswith("scales.") and not key.endswith("num_batches_tracked")
    )
    if got == _FLOAT * trunk:
        raise ValueError("it ends after the backbone; the layout for that is 'darknet-backbone'")
    # One class more is a row of kernels and a bias for each anchor of each head.
    heads = (scale.head[-1] for scale in network.scales.values())
    per_class = _FLOAT * ANCHORS_PER_HEAD * sum(head.in_channels + 1 for head in heads)
    more, rest = divmod(got - expected, per_class)
    if rest == 0 and network.classes + more >= 1:
        raise ValueError(
            f"it is of a network with {network.classes + more} classes, and this one has {network.classes}: "
            f"build it with classes={network.classes + more}"
        )
    wrong = "too few: cut off" if got < expected else "too many: of a larger network"
    raise ValueError(f"{got} bytes after the header, expected {expected}; {wrong}, or of another one")
