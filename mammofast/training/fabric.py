"""Where a training runs, and in what precision: Lightning Fabric."""

import logging
import re

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment

from mammofast.errors import TrainingError

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


def make_fabric(device: str, precision: str) -> Fabric:
    """Return one device's Fabric.

    Parameters
    ----------
    device: "auto", "cpu", "cuda" or "cuda:i"; "auto" is the first card where PyTorch sees one.
    precision: "fp32", or "bf16": weights and losses stay fp32, what lies between runs in bf16 where that is safe.

    Raises
    ------
    TrainingError
        When there is no such device.

    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise TrainingError(f"device: got {device!r}, expected auto, cpu, cuda or cuda:NUMBER")
    cards = torch.cuda.device_count()
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if cards else "cpu"
    if kind == "cuda" and int(number or 0) >= cards:
        raise TrainingError(
            f"device: got {device!r}, PyTorch sees {cards} cards; train with --device cpu, or here on one"
        )
    # It says what precision it was given.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    devices = 1 if kind == "cpu" else [int(number or 0)]
    # A training is one process, wherever it is started: Fabric would else ask Slurm, of which it finds the commands or
    # variables, for its part, and warn or refuse.
    alone = LightningEnvironment()
    return Fabric(accelerator=kind, devices=devices, precision=_PRECISIONS[precision], plugins=alone)
