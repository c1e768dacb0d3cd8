"""Who is trained on and who is measured: phantoms that are drawn when they are asked for, each study a patient."""

from mammofast.datasets import Dataset, Split
from mammofast.phantom.plan import STANDARD_MIX, Mix, Purpose
from mammofast.training.phantoms import draw_phantoms

# Streams of measured phantoms begin with another word than those of training, so that no seed mixes them up; and no
# other training, benchmark or test has these seeds.
TRAINING_SEED, TEST_SEED = 31_001, 31_002
# P1 and P2 have images with a mass alone; P4 has whole examinations.
ALL_WITH_MASS = Mix(with_mass=1.0, with_two=0.1, subtle=STANDARD_MIX.subtle)


def training_set(studies: int, mix: Mix = ALL_WITH_MASS) -> tuple[Dataset, Split]:
    """Return phantoms to train on, all of them; who chooses the epoch is taken from them by the recipe."""
    data = draw_phantoms(studies, TRAINING_SEED, Purpose.TRAINING, mix)
    return data, Split(tuple(sample.name for sample in data), ())


def measured_set(studies: int, mix: Mix = ALL_WITH_MASS) -> Dataset:
    """Return phantoms to measure on."""
    return draw_phantoms(studies, TEST_SEED, Purpose.VALIDATION, mix)
