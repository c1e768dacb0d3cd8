"""What each method is compiled from unless it is told otherwise: the paper's networks and numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Size = tuple[int, int]
Made = Mapping[str, "RoleMade"]

# As the demo's: DICOM's grey-scale steps, and the percentiles of the breast's values that become 0 and 1.
_GREY = {"modality": True, "voi": True, "invert": True}
_CONTRAST = {"low_percentile": 1.0, "high_percentile": 99.5}
# YOLOv3's on COCO: (width, height) for strides 8, 16 and 32. P4 fits its own to its masses and does not print them.
_COCO_ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
_MSP_SIZES = ((320, 160), (512, 256), (640, 320), (832, 416), (960, 480))
# Of the range of grey: P2 cuts rows and columns off that are all darker, and gives no number.
_BACKGROUND = 0.02
# P3's largest crops, and pixels so large that a whole mammogram (24 x 30 cm) is one of them: the context network sees
# 1222 pixels to each side, and beside such a halo little of a tile would be left.
_TILE, _PIXEL_SIZE_MM = (1400, 1400), 0.25
# P5's matrix, 1 mm to a pixel there, and anchors of 16, 32 and 64 of them: its masses are 11 to 67 mm.
_P5_SIZE, _P5_SCALES = (320, 320), [1, 2, 4]


@dataclass(frozen=True, slots=True)
class RoleMade:
    """What a role's network turned out to be: the sizes it runs at, its channels and its geometry.

    paper: that it is from, "P1" to "P5"; None where it is not of the catalogue.
    """

    sizes: tuple[Size, ...]
    channels: int
    geometry: Mapping[str, Any]
    paper: str | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """A network's place in a method.

    network: the default, a name of the catalogue. input: the method's name for its input.
    outputs: those that the method reads. sizes: (rows, cols) that it runs at; none takes the catalogue's.
    channels: that the method gives; None takes the network's own. options: of the default network.
    """

    network: str
    input: str
    outputs: tuple[str, ...]
    sizes: tuple[Size, ...] = ()
    channels: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MethodDefaults:
    """A method: its roles, and its parameters from what the networks turned out to be.

    accepts: what its images must be, see ``mammofast.bundles.Bundle``.
    """

    roles: Mapping[str, Role]
    parameters: Callable[[Made], dict[str, Any]]
    accepts: Mapping[str, list[str]] = field(default_factory=lambda: {"presentation_intent": ["FOR PRESENTATION"]})


def _two_stage(made: Made) -> dict[str, Any]:
    return {
        "grey": _GREY,
        "contrast": _CONTRAST,
        "scales": _lists(made["detector"].sizes),
        "strides": [8, 16, 32],
        "anchors": _lists(_COCO_ANCHORS),
        "confidence_threshold": 0.3,
        "nms_iou": 0.45,
        "fusion_threshold": 0.6,
        "crop_margin": 0.0,
        "crop_shape": list(made["segmenter"].sizes[0]),
        "mask_threshold": 0.5,
    }


def _whole_image(made: Made) -> dict[str, Any]:
    segmenter = made["segmenter"]
    return {
        "grey": _GREY,
        "scaling": {"contrast": "minmax", "channels": segmenter.channels},
        "threshold": 0.5,
        "shape": list(segmenter.sizes[0]),
        "background": None if segmenter.paper == "P1" else _BACKGROUND,
    }


def _tiled(made: Made) -> dict[str, Any]:
    segmenter = made["segmenter"]
    return {
        "grey": _GREY,
        "scaling": {"contrast": "minmax", "mean": 0.5, "channels": segmenter.channels},
        "threshold": 0.5,
        "pixel_size_mm": _PIXEL_SIZE_MM,
        "tile": list(segmenter.sizes[0]),
        "stride": segmenter.geometry.get("stride", 1),
        "halo": segmenter.geometry.get("halo"),  # none where a network sees its whole input: one tile must hold it
        "margin": segmenter.geometry.get("margin", 0),
    }


def _volume(made: Made) -> dict[str, Any]:
    region, detector = made["region"], made["detector"]
    enhancement = {"phase": 1, "minus": 0}
    return {
        "region": {"shape": list(region.sizes[0]), "channels": [{"phase": 0}] * region.channels},
        "region_threshold": 0.5,
        "detection": {"shape": list(detector.sizes[0]), "channels": [enhancement] * detector.channels},
        "anchors": {"scales": _P5_SCALES},
        "linking": {"min_iou": 0.5, "max_gap": 0, "min_slices": 1},
    }


def _lists(pairs: Sequence[Sequence[float]]) -> list[list[float]]:
    return [list(pair) for pair in pairs]


METHODS: Mapping[str, MethodDefaults] = MappingProxyType(
    {
        "two_stage": MethodDefaults(
            {
                "detector": Role("yolov3", "image", ("stride_8", "stride_16", "stride_32"), _MSP_SIZES, 1),
                "segmenter": Role("v19-unet-pp", "crop", ("mask",), ((256, 256),), 1),
            },
            _two_stage,
        ),
        "whole_image": MethodDefaults({"segmenter": Role("aunet", "image", ("mask",))}, _whole_image),
        "tiled": MethodDefaults(
            {"segmenter": Role("dilation10-context", "image", ("mask",), (_TILE,))},
            _tiled,
        ),
        "volume": MethodDefaults(
            {
                "region": Role("unet-pp", "image", ("mask",), (_P5_SIZE,)),
                "detector": Role("faster-rcnn-r101-c4", "image", (), (_P5_SIZE,)),
            },
            _volume,
            accepts={},
        ),
    }
)
