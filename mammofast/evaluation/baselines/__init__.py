"""P1's table 4: classic segmentation, each a function of an image that gives a mask.

    mask = BASELINES["level-set"](image, view="MLO")

Images are presentation values (rows, cols), brighter is denser, at any size; P1 works at 512 × 512.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from mammofast.evaluation.baselines.breast import Image, Mask
from mammofast.evaluation.baselines.graph_cut import graph_cut
from mammofast.evaluation.baselines.level_set import level_set
from mammofast.evaluation.baselines.threshold import threshold


class Baseline(Protocol):
    """A way from an image to a mask."""

    def __call__(self, image: Image, view: str | None = None, told: Mask | None = None) -> Mask:
        """Return the mask, bool (rows, cols).

        view: "MLO" has its pectoral muscle taken out. told: where a mass is, roughly, as a person would point it out;
        P1's level set and graph cut are told so. None: the threshold's result stands for it.
        """


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {"threshold": threshold, "level-set": level_set, "graph-cut": graph_cut}
)

__all__ = ["BASELINES", "Baseline", "Image", "Mask", "graph_cut", "level_set", "threshold"]
