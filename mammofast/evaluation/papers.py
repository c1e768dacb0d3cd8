"""What the papers report of their systems, as their tables have it, to stand beside measures of one's own.

Never the same data: P1's and P3's images are private, P2's and P4's are CBIS-DDSM's and INbreast's in splits that were
not published. ``docs/papers.md`` says how each number that cannot be right was found out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

METHODS = MappingProxyType({"two_stage": ("p4",), "whole_image": ("p1", "p2"), "tiled": ("p3",), "volume": ("p5",)})


@dataclass(frozen=True, slots=True)
class Reported:
    """One row of a paper's table. values: in the order of the table's columns, None where the paper gives none.

    names: words of a bundle's name that say that it is this system.
    """

    system: str
    values: tuple[float | None, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table of a paper, or several of the same columns.

    columns: of measures' names, as ``mammofast evaluate --json`` has them, the paper's headings. notes: what a reader
    would trip over.
    """

    title: str
    columns: Mapping[str, str]
    rows: tuple[Reported, ...]
    notes: tuple[str, ...] = ()


def _percent(*values: float) -> tuple[float, ...]:
    return tuple(round(value / 100, 4) for value in values)


P1 = PaperTable(
    "P1 (Hai et al. 2019), tables 1 to 4: 75 private images with a tumour",
    MappingProxyType({"dice": "DI", "iou": "IOU", "sensitivity": "PA"}),
    (
        Reported("ASPP-FC-DenseNet", (0.7697, 0.6041, 0.7983), ("aspp-fc-densenet",)),
        Reported("FC-DenseNet56", (0.7355, 0.5948, 0.7968), ("fc-densenet56",)),
        Reported("  without weights in the loss", (0.7151, 0.5974, 0.8015)),
        Reported("  Dice loss", (0.7108, 0.5920, 0.7988)),
        Reported("U-Net", (0.6763, 0.5608, 0.7562), ("p1-unet",)),
        Reported("PSPNet", (0.6785, 0.5427, 0.7202), ("pspnet",)),
        Reported("DeepLab v3+", (0.6827, 0.5641, 0.7072), ("deeplabv3plus", "deeplabv3-plus")),
        Reported("level set", (0.5989, 0.4893, 0.6813), ("level-set",)),
        Reported("graph cut", (0.4663, 0.3491, 0.6220), ("graph-cut",)),
        Reported("threshold", (None, None, None), ("threshold",)),
    ),
    (
        "PA is not pixel accuracy but sensitivity, TP / (TP + FN).",
        "ASPP-FC-DenseNet's IOU is impossible beside its DI: a mean DI of .7697 means a mean IOU of .6256 or more, per "
        "image and pooled alike. The other rows are possible.",
        "Level set and graph cut are what P1's text says it gained over them; its table 4 itself was not at hand. Both "
        "are told where the mass is, P1's by a person, `evaluate --baseline`'s by a disc in its middle.",
        "P1 does not say whether DI and IOU are means over images or of all pixels together.",
    ),
)

P2 = PaperTable(
    "P2 (Sun et al. 2020), tables 1 to 4: 168 images of CBIS-DDSM; INbreast where it says so",
    MappingProxyType({"dice": "DSC", "sensitivity": "SEN", "relative_area_difference": "ΔA", "hausdorff_px": "HAU"}),
    (
        Reported("AUNet", (*_percent(81.8, 84.9, 26.9), 2.96), ("aunet",)),
        Reported("  reduction ratio 2", (*_percent(80.6, 83.7, 29.1), 3.02), ("aunet-r2",)),
        Reported("  reduction ratio 4", (*_percent(80.8, 84.6, 28.5), 2.97), ("aunet-r4",)),
        Reported("  reduction ratio 8", (*_percent(81.0, 84.4, 29.1), 2.97), ("aunet-r8",)),
        Reported("  reduction ratio 32", (*_percent(80.8, 84.1, 28.5), 2.98), ("aunet-r32",)),
        Reported("FusionNet", (*_percent(79.8, 83.9, 31.3), 3.01), ("fusionnet",)),
        Reported("FC-DenseNet103", (*_percent(78.2, 84.2, 40.2), 3.13), ("fc-densenet103",)),
        Reported("U-Net (Basic-Basic)", (*_percent(73.6, 79.4, 42.7), 3.38), ("unet-p2", "p2-unet")),
        Reported("Basic-Deep", (*_percent(74.3, 78.8, 37.7), 3.28), ("basic-deep",)),
        Reported("Basic-Res", (*_percent(74.6, 80.0, 42.0), 3.31), ("basic-res",)),
        Reported("Deep-Basic", (*_percent(77.3, 82.5, 36.6), 3.16), ("deep-basic",)),
        Reported("Deep-Deep", (*_percent(77.3, 81.3, 35.7), 3.19), ("deep-deep",)),
        Reported("Deep-Res", (*_percent(76.9, 81.6, 36.4), 3.16), ("deep-res",)),
        Reported("Res-Basic", (*_percent(77.5, 82.3, 35.2), 3.18), ("res-basic",)),
        Reported("Res-Deep", (*_percent(76.3, 81.9, 38.4), 3.23), ("res-deep",)),
        Reported("Res-Res", (*_percent(76.2, 80.4, 34.7), 3.19), ("res-res",)),
        Reported("AUNet, INbreast, 5 folds", (0.791, None, None, None), ("aunet-inbreast",)),
        Reported("FC-DenseNet103, INbreast", (0.761, None, None, None)),
        Reported("FusionNet, INbreast", (0.732, None, None, None)),
        Reported("U-Net, INbreast", (0.693, None, None, None)),
    ),
    (
        "HAU: P2's is no Hausdorff distance in pixels, though eq. 13 defines one. It grows from 2.96 at 256 × 256 to "
        "4.30 at 512 × 512, with the square root of the size; such a distance doubles. Ours is eq. 13 in native "
        "pixels, in mm above; the two columns cannot be compared.",
        "The 168 images chose the model and report it.",
        "Native masks, not masks of 256 × 256, are compared here.",
    ),
)

P3 = PaperTable(
    "P3 (FCN, U-Net, Dilation10 and DeepLabv3), mammography",
    MappingProxyType({"pixel_accuracy": "PA", "mean_iou": "mIoU", "mean_class_accuracy": "mPA"}),
    (
        Reported("FCN32", _percent(80.37, 40.06, 49.20), ("fcn32",)),
        Reported("FCN16", _percent(78.90, 41.75, 53.13), ("fcn16",)),
        Reported("FCN8", _percent(78.17, 45.12, 57.03), ("fcn8",)),
        Reported("U-Net", _percent(80.49, 43.47, 53.78), ("p3-unet", "p3-u-net")),
        Reported("Dilation10 front", _percent(93.03, 47.65, 60.74), ("dilation10-front",)),
        Reported("Dilation10 context", _percent(93.46, 50.26, 64.39), ("dilation10-context",)),
        Reported("Dilation10 global", _percent(93.69, 57.91, 67.97), ("dilation10-global", "p3-dilation10")),
        Reported("DeepLabv3", _percent(92.17, 51.34, 62.01), ("deeplabv3-r18-gn", "p3-deeplabv3")),
    ),
    (
        "P3's text says two classes, yet no share of mass pixels gives PA, mIoU and mPA of all rows (FCN16 would "
        "need 4.3 %, FCN8 10.6 %, FCN32 has none): it is not one set of two classes. Ours are two, mass and not.",
        "Almost all pixels of a mammogram are not mass: a result without a single finding has PA .99 and mPA .50.",
    ),
)

P4_AP = PaperTable(
    "P4 (Yan et al. 2020), table 1: average precision at IoU .5, INbreast",
    MappingProxyType({"average_precision": "AP@.5"}),
    (Reported("YOLOv3, mean of T1 to T5", (0.7546,), ("yolov3",)),),
    (
        "T1 to T5: 78.64, 70.24, 76.11, 79.05, 73.28; its ± 1.7 is the standard error of the five. AP is the step sum "
        "Σ (R_k - R_k-1) · P_k, not interpolated, as P4's.",
    ),
)

P4_FUSION = PaperTable(
    "P4, table 2: TPR@FPavg of fused boxes, INbreast, means of T1 to T5 (taken here)",
    MappingProxyType({"sensitivity": "TPR", "fp_per_image": "FPavg"}),
    (
        Reported("λ = 0", (0.936, 1.338), ("0.0",)),
        Reported("λ = 0.5", (0.942, 0.222), ("0.5",)),
        Reported("λ = 0.6", (0.936, 0.18), ("0.6",)),
        Reported("λ = 0.7", (0.92, 0.15), ("0.7",)),
    ),
    (
        "In T1, T3 and T4 P4's TPR rises from λ = 0 to .5. Raw boxes could only lose: at λ = 0 it must be the union of "
        "all boxes, whose outlines may reach too far to hit a mass; so it is here.",
        "A hit is IoU .5 or more here; P4 does not say what it took.",
    ),
)

P4_DICE = PaperTable(
    "P4, table 4: Dice on the whole image, INbreast, means of T1 to T5",
    MappingProxyType({"dice": "Dice"}),
    (
        Reported("C, two stages with fusion: v19U-Net++", (0.8044,), ("v19-unet-pp", "v19")),
        Reported("C: U-Net", (0.7924,)),
        Reported("C: cGAN", (0.7898,), ("cgan",)),
        Reported("C: cascaded U-Net", (0.7918,), ("cascaded",)),
        Reported("B, two stages, one scale: v19U-Net++", (0.7096,)),
        Reported("B: U-Net", (0.7007,)),
        Reported("B: cGAN", (0.6922,)),
        Reported("B: cascaded U-Net", (0.6941,)),
        Reported("A, one stage: v19U-Net++", (0.5217,)),
        Reported("A: U-Net", (0.4437,)),
        Reported("A: cGAN", (0.2892,)),
        Reported("A: cascaded U-Net", (0.6549,)),
    ),
    (
        "B, cascaded U-Net: P4 prints 69.81; its five values average 69.41, which stands here. Group B's mean, printed "
        "70.02, is 69.91.",
        "On crops of true masses P4 reports .8920 (U-Net), .9002 (cGAN), .8949 (cascaded) and .9086 (v19U-Net++): no "
        "results of whole images.",
    ),
)

P5_REGION = PaperTable(
    "P5 (Faster R-CNN and U-Net++, DCE-MRI), tables 1 and 2: breast region, 75 private cases, means of 5 folds",
    MappingProxyType({"region_dice": "DSC", "region_iou": "Jaccard", "region_sensitivity": "SS"}),
    (
        Reported("U-Net++", (0.951, 0.908, 0.948), ("p5-unet-pp",)),
        Reported("U-Net", (0.941, 0.891, 0.941), ("p5-unet",)),
    ),
    ("Ours are means over volumes. P5 says of each image, and of 15 cases in each fold; it does not say which.",),
)

P5_DETECTION = PaperTable(
    "P5, figure 12: masses found, 75 private cases, mean of 5 folds",
    MappingProxyType({"sensitivity_at_3.4": "TPR @ 3.4", "sensitivity": "TPR", "fp_per_image": "FP/case"}),
    (Reported("U-Net++, Faster R-CNN ResNet-101", (0.874, 0.874, 3.4), ("p5-faster-rcnn",)),),
    ("A hit is an IoU in three dimensions above 0.5, of boxes. P5 counts false positives per case, a volume here.",),
)

TABLES: Mapping[str, tuple[PaperTable, ...]] = MappingProxyType(
    {"p1": (P1,), "p2": (P2,), "p3": (P3,), "p4": (P4_AP, P4_FUSION, P4_DICE), "p5": (P5_REGION, P5_DETECTION)}
)
