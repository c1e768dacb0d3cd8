"""How good findings are where the truth is known."""

from mammofast.evaluation.classes import (
    class_accuracies,
    class_ious,
    confusion_matrix,
    mean_class_accuracy,
    mean_iou,
    pixel_accuracy,
)
from mammofast.evaluation.comparison import compare
from mammofast.evaluation.curves import FROC, average_precision, froc
from mammofast.evaluation.detection import Detections
from mammofast.evaluation.distances import hausdorff
from mammofast.evaluation.evaluate import evaluate, summarize
from mammofast.evaluation.masks import dice, iou, precision, relative_area_difference, sensitivity, specificity
from mammofast.evaluation.matching import match_boxes
from mammofast.evaluation.measuring import Measured, measure
from mammofast.evaluation.statistics import bootstrap_interval, cumulative, ratio_interval, sums_interval, wilcoxon
from mammofast.evaluation.truth import label_boxes, open_truth, read_truth

__all__ = [
    "FROC",
    "Detections",
    "Measured",
    "average_precision",
    "bootstrap_interval",
    "class_accuracies",
    "class_ious",
    "compare",
    "confusion_matrix",
    "cumulative",
    "dice",
    "evaluate",
    "froc",
    "hausdorff",
    "iou",
    "label_boxes",
    "match_boxes",
    "mean_class_accuracy",
    "mean_iou",
    "measure",
    "open_truth",
    "pixel_accuracy",
    "precision",
    "ratio_interval",
    "read_truth",
    "relative_area_difference",
    "sensitivity",
    "specificity",
    "summarize",
    "sums_interval",
    "wilcoxon",
]
