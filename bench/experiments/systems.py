"""What is compared with what: each system as its changes to ``recipe.toml``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems that differ in one thing.

    systems: by name, the changes to the recipe. claims: (better, worse, in the paper's words), the paper's conclusions.
    paper: its numbers, mean Dice in %, where it has them.
    """

    title: str
    systems: Mapping[str, Changes]
    claims: tuple[tuple[str, str, str], ...]
    paper: Mapping[str, float]


def _network(name: str, width: float, **options: Any) -> Changes:
    return {"network.name": name, "network.options": {"width": width, **options}}


# P2's order: the unit of the U-Net, then the upsampling block; beside the networks that it compares with. Widths are a
# part of the papers', such that each network takes about as long.
ABLATION = Comparison(
    "P2: which unit, which upsampling, which network",
    {
        "U-Net (Basic-Basic)": _network("unet-p2", 1 / 8),
        "Deep-Deep-UNet": _network("unet-p2", 1 / 8, encoder="deep", decoder="deep"),
        "Res-Res-UNet": _network("unet-p2", 1 / 8, encoder="res", decoder="res"),
        "Res-Basic-UNet": _network("unet-p2", 1 / 8, encoder="res", decoder="basic"),
        "FusionNet": _network("fusionnet", 1 / 8),
        "AUNet": _network("aunet", 1 / 8),
        "FC-DenseNet103": _network("fc-densenet103-p2", 1 / 8),
    },
    (
        ("Res-Basic-UNet", "U-Net (Basic-Basic)", "res units down and basic ones up beat basic ones both ways"),
        ("Res-Basic-UNet", "Res-Res-UNet", "the asymmetric backbone beats the symmetric one of its units"),
        ("Res-Basic-UNet", "Deep-Deep-UNet", "the asymmetric backbone beats deep units both ways"),
        ("AUNet", "Res-Basic-UNet", "the attention-guided upsampling block beats bilinear upsampling"),
        ("AUNet", "FusionNet", "AUNet beats FusionNet"),
        ("AUNet", "FC-DenseNet103", "AUNet beats FC-DenseNet103"),
        ("FusionNet", "FC-DenseNet103", "FusionNet beats the deeper FC-DenseNet103"),
        ("FC-DenseNet103", "U-Net (Basic-Basic)", "FC-DenseNet103 beats the U-Net"),
    ),
    {
        "U-Net (Basic-Basic)": 73.6,
        "Deep-Deep-UNet": 77.3,
        "Res-Res-UNet": 76.2,
        "Res-Basic-UNet": 77.5,
        "FusionNet": 79.8,
        "FC-DenseNet103": 78.2,
        "AUNet": 81.8,
    },
)

_P1: Changes = {
    **_network("aspp-fc-densenet", 1 / 8),
    # As P1 has it: plain Adam and no schedule; grey 0..1 less the training images' mean.
    "optimizer": {"name": "adam", "rate": 1e-3},
    "schedule": {"name": "constant"},
    "examples": {"subtract_mean": True},
}
LOSSES = Comparison(
    "P1: which loss",
    {
        "weighted cross-entropy": {**_P1, "loss": {"name": "cross-entropy", "weights": "inverse-frequency"}},
        "cross-entropy": {**_P1, "loss": {"name": "cross-entropy"}},
        "Dice": {**_P1, "loss": {"name": "dice"}},
    },
    (
        ("weighted cross-entropy", "cross-entropy", "weights by frequency help cross-entropy"),
        ("weighted cross-entropy", "Dice", "weighted cross-entropy beats the Dice loss"),
        ("cross-entropy", "Dice", "plain cross-entropy beats the Dice loss"),
    ),
    {"weighted cross-entropy": 76.97, "cross-entropy": 71.51, "Dice": 71.08},
)

# P4's group A: the segmenter of the demo's second stage, given whole images instead of candidates.
ONE_STAGE: Changes = {
    "network.name": "compact-nested-unet",
    "network.options": {},
    "network.sizes": [[192, 192]],
}
