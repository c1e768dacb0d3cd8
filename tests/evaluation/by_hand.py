"""What a ledger written by hand is made of, and matching and tests by counting."""

import itertools
from fractions import Fraction

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


def cells(box):
    """Return the pixels or voxels of a box, (x_min, y_min, x_max, y_max) or (x_min, y_min, z_min, x_max, ...)."""
    sides = len(box) // 2
    return set(itertools.product(*(range(box[axis], box[axis + sides]) for axis in range(sides))))


def match_by_hand(boxes, confidences, truth, strict=False):
    """Match by sets of cells and fractions; strict: P5's rule, "greater than 0.5"."""
    candidates, masses = [cells(box) for box in boxes], [cells(box) for box in truth]
    free, matched = set(range(len(masses))), [-1] * len(candidates)
    for i in sorted(range(len(candidates)), key=lambda i: (-confidences[i], i)):
        best = None
        for j in sorted(free):
            union = len(candidates[i] | masses[j])
            overlap = Fraction(len(candidates[i] & masses[j]), union) if union else Fraction(0)
            enough = overlap > Fraction(1, 2) if strict else overlap >= Fraction(1, 2)
            if enough and (best is None or overlap > best[0]):
                best = (overlap, j)
        if best is not None:
            matched[i] = best[1]
            free.remove(best[1])
    return matched


def exact_wilcoxon(a, b):
    """Return the two-sided p-value over all signs of the differences' ranks; for few pairs."""
    d = np.array([x - y for x, y in zip(a, b, strict=True) if x != y])
    if not len(d):
        return 1.0
    ranks = np.array([sum(abs(d) < abs(x)) + (sum(abs(d) == abs(x)) + 1) / 2 for x in d])
    plus = ranks[d > 0].sum()
    sums = np.array(list(itertools.product([0, 1], repeat=len(d)))) @ ranks
    return min(1.0, 2 * min((sums <= plus).mean(), (sums >= plus).mean()))
