"""What a ledger written by hand is made of."""

import numpy as np

from mammofast.records import Finding
from mammofast.screening.entry import ImageInfo, Run

RUN = Run("b" * 64, "c" * 64)
SHAPE = (60, 50)


def info(number, study=1):
    return ImageInfo(f"1.{study}", "1.9", f"1.2.{number}", "L", "CC", *SHAPE, (0.1, 0.1), f"{number:064x}")


def finding(box, confidence):
    return Finding(box, 1.0, confidence, np.ones((box[3] - box[1], box[2] - box[0]), bool))


def truth_of(*boxes):
    labels = np.zeros(SHAPE, np.uint8)
    for number, (x_min, y_min, x_max, y_max) in enumerate(boxes, start=1):
        labels[y_min:y_max, x_min:x_max] = number
    return labels
