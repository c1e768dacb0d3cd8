"""Arrays in, arrays out: what is too slow or too delicate for NumPy.

Boxes are ``(x_min, y_min, x_max, y_max)``, half-open, origin at the outer corner of the first pixel; images are
``(rows, cols)``. Every op checks its arguments and raises ``ValueError`` naming the argument, what it got and what it
expects. ``reference`` holds the same ops in plain NumPy.
"""

from mammofast.ops._boxes import FusedBoxes, confidence_mask, fuse_boxes, nms
from mammofast.ops._detection import decode_yolo
from mammofast.ops._features import roi_align
from mammofast.ops._masks import LabelledMask, label_mask, paste_masks
from mammofast.ops._preprocessing import detection_inputs, placement, pool, segmentation_inputs

__all__ = [
    "FusedBoxes",
    "LabelledMask",
    "confidence_mask",
    "decode_yolo",
    "detection_inputs",
    "fuse_boxes",
    "label_mask",
    "nms",
    "paste_masks",
    "placement",
    "pool",
    "roi_align",
    "segmentation_inputs",
]
