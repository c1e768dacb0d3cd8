"""How good findings are where the truth is known."""

from mammofast.evaluation.curves import FROC, average_precision, froc
from mammofast.evaluation.evaluate import evaluate
from mammofast.evaluation.masks import dice, iou, precision, sensitivity, specificity
from mammofast.evaluation.matching import match_boxes
from mammofast.evaluation.truth import label_boxes, read_truth

__all__ = [
    "FROC",
    "average_precision",
    "dice",
    "evaluate",
    "froc",
    "iou",
    "label_boxes",
    "match_boxes",
    "precision",
    "read_truth",
    "sensitivity",
    "specificity",
]
