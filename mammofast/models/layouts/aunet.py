"""The authors' AUNet file (github.com/lich0031/AUNet, model/AUNet_R16.py)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mammofast.models.layouts.keys import COUNTER, some

_RES_UNIT = {
    "block.conv1": "first.conv",
    "block.bn1": "first.norm",
    "block.conv2": "body.0.conv",
    "block.bn2": "body.0.norm",
    "block.conv3": "body.1.conv",
    "block.bn3": "body.1.norm",
}
_AU_BLOCK = {
    "add_channel_conv.0": "dense.0.conv",
    "add_channel_conv.1": "dense.0.norm",
    "smooth_conv.0": "smooth.conv",
    "smooth_conv.1": "smooth.norm",
    "CA.fc.0": "attention.fc.0",
    "CA.fc.2": "attention.fc.2",
    "block.conv1": "unit.0.conv",
    "block.bn1": "unit.0.norm",
    "block.conv2": "unit.1.conv",
    "block.bn2": "unit.1.norm",
}
_BILINEAR = {"bilinear_up.1": "bilinear.conv", "bilinear_up.2": "bilinear.norm"}
_DECONV = {"bilinear_up.0": "bilinear.conv", "bilinear_up.1": "bilinear.norm"}
_WEIGHTS = ("weight", "bias")
_STATISTICS = ("running_mean", "running_var")


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict for ``AUNet`` that an official one stands for.

    A state dict with ``learned_bilinear`` fits ``AUNet(deconv=True)``. Batch counters, which PyTorch before 0.4.1 did
    not keep, may be missing and are then zero.

    Raises
    ------
    ValueError
        When a key is missing or unknown.

    """
    keys = _keys(deconv="up_block1.bilinear_up.0.weight" in state)
    missing = [key for key in keys if key not in state and not key.endswith(COUNTER)]
    unexpected = [key for key in state if key not in keys]
    if missing or unexpected:
        raise ValueError(
            f"not a state dict of the public AUNet file: missing {some(missing)}, unexpected {some(unexpected)}; "
            "give the state dict of AUNet_R16 itself, without a wrapper's prefix"
        )
    return {ours: state[key] if key in state else torch.tensor(0) for key, ours in keys.items()}


def _keys(deconv: bool) -> dict[str, str]:
    """Return our key for each official one."""
    modules = {"last_conv1": "head"}
    for i in range(5):
        modules |= {f"down_block{i + 1}.{theirs}": f"encoder.{i}.{ours}" for theirs, ours in _RES_UNIT.items()}
    for i in range(4):
        block = _AU_BLOCK | (_DECONV if deconv else _BILINEAR)
        modules |= {f"up_block{i + 1}.{theirs}": f"decoder.{i}.{ours}" for theirs, ours in block.items()}
    return {f"{theirs}.{tensor}": f"{ours}.{tensor}" for theirs, ours in modules.items() for tensor in _tensors(ours)}


def _tensors(module: str) -> tuple[str, ...]:
    return (*_WEIGHTS, *_STATISTICS, COUNTER) if module.endswith("norm") else _WEIGHTS
