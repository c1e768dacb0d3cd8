"""DCE-MRI as training data: phantoms that are drawn when they are asked for, and volumes of an archive."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mammofast.datasets import Dataset, Sample
from mammofast.methods.volume_inputs import ArrayVolume
from mammofast.phantom.dce_mri.case import draw_case
from mammofast.phantom.dce_mri.plan import STANDARD_MIX, Mix, PlannedCase, plan_cases
from mammofast.phantom.plan import Purpose

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnVolume(Sample):
    """A phantom case that is drawn on demand; ``image`` is where it would be, were it a file."""

    planned: PlannedCase

    def volume(self) -> tuple[ArrayVolume, Labels]:
        """Return its phases as methods see them, and its labels (slices, rows, cols): see ``Case``."""
        case = draw_case(self.planned)
        return ArrayVolume(case.phases, case.grid.spacing), case.labels

    def fingerprint(self) -> str:
        """Return what the case depends on, as a hash."""
        return hashlib.sha256(json.dumps([*self.planned.of.words(), self.planned.study]).encode()).hexdigest()


def draw_volumes(studies: int, seed: int, purpose: Purpose = Purpose.TRAINING, mix: Mix = STANDARD_MIX) -> Dataset:
    """Return a set of DCE-MRI cases as a data set; each is a patient.

    Raises
    ------
    ValueError
        When ``studies`` or ``seed`` is negative.

    """
    name = f"{purpose.name.lower()}-dce-mri-{seed}"
    samples = []
    for planned in plan_cases(studies, seed, purpose, mix):
        patient = f"{name}-{planned.study:05}"
        samples.append(DrawnVolume(name=patient, patient=patient, image=Path(f"{patient}.drawn"), planned=planned))
    return Dataset(name, tuple(samples))
