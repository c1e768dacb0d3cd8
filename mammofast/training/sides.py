"""Which samples train and which choose the epoch; those of a split's test side do neither."""

from dataclasses import dataclass

import numpy as np

from mammofast.datasets import Dataset, Sample, Split
from mammofast.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Sides:
    """A split's training samples, without those that validate, and those."""

    training: tuple[Sample, ...]
    validation: tuple[Sample, ...]


def divide(data: Dataset, split: Split, part: float, seed: int, limit: int | None = None) -> Sides:
    """Set the images of a part of the training patients aside, at least one patient's where there are two.

    limit: at most so many samples on each side, drawn by the same seed.

    Raises
    ------
    TrainingError
        When the split names no training sample of the data set.

    """
    names = set(split.train)
    samples = [sample for sample in data if sample.name in names]
    if not samples:
        raise TrainingError(f"{data.name}: the split has no training image")
    rng = np.random.default_rng(seed)
    patients = sorted({sample.patient for sample in samples})
    most = len(patients) - 1
    count = min(max(round(part * len(patients)), 1), most) if part else 0
    aside = {patients[i] for i in rng.permutation(len(patients))[:count]}
    sides = [[s for s in samples if (s.patient in aside) == validates] for validates in (False, True)]
    if limit is not None:
        drawn = [sorted(rng.permutation(len(side))[:limit]) for side in sides]
        sides = [[side[i] for i in chosen] for side, chosen in zip(sides, drawn, strict=True)]
    return Sides(tuple(sides[0]), tuple(sides[1]))
