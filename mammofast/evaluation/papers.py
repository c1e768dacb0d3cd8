"""What the papers report of their own systems, to stand beside a table of one's own.

Never the same data: P1's images are private, P2's and P4's are CBIS-DDSM's and INbreast's, in splits that were not
published.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Reported:
    """One system of a paper. values: by the names of ``mammofast.evaluation.segmentation.MEASURES``, in 0..1."""

    system: str
    values: Mapping[str, float]
    note: str = ""


REPORTED = (
    Reported(
        "P1 ASPP-FC-DenseNet, private",
        MappingProxyType({"dice": 0.7697, "iou": 0.6041, "sensitivity": 0.7983}),
        "this IoU is impossible beside this Dice, per image or pooled; P1's PA is sensitivity",
    ),
    Reported(
        "P2 AUNet, CBIS-DDSM",
        MappingProxyType({"dice": 0.818, "sensitivity": 0.849, "relative_area_difference": 0.269}),
        "P2's HAU, 2.96, grows with the square root of the image's size: it is no distance in pixels",
    ),
    Reported("P2 AUNet, INbreast", MappingProxyType({"dice": 0.791})),
    Reported("P4 v19U-Net++ with fusion, INbreast", MappingProxyType({"dice": 0.8044})),
)
