"""Who holds what in a set of studies, and the random streams that make each view its own, whatever is drawn first."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from mammofast.phantom.anatomy import Breast
from mammofast.phantom.masses import Mass
from mammofast.phantom.view import DETECTORS, Detector, View, draw_view

SIDES = ("L", "R")
VIEWS = ("CC", "MLO")
# Part of every UID: to be raised whenever the same plan gives other pixels, or other pixels would bear old names.
VERSION = 2


@dataclass(frozen=True, slots=True)
class Mix:
    """Parts of a set: breasts with a mass, of these with two, and subtle ones of all masses."""

    with_mass: float = 0.40
    with_two: float = 0.20
    subtle: float = 0.25


STANDARD_MIX = Mix()


class Purpose(IntEnum):
    """First word of every random stream: phantoms for training can never be phantoms that are written to be read."""

    STUDIES = 1
    TRAINING = 2
    VALIDATION = 3


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """A set of studies, by all that its images depend on: who holds what is drawn for the set as a whole."""

    purpose: Purpose
    seed: int
    studies: int
    mix: Mix = STANDARD_MIX

    def words(self) -> tuple[int | float, ...]:
        """Return what tells the set's images from those of any other set and of any other version."""
        mix = (self.mix.with_mass, self.mix.with_two, self.mix.subtle)
        return (VERSION, int(self.purpose), self.seed, self.studies, *(float(part) for part in mix))


@dataclass(frozen=True, slots=True)
class PlannedView:
    """One image to be made: where it stands in its set, and what it shows."""

    of: PlannedSet
    study: int
    side: str
    view: str
    detector: Detector
    breast: Breast
    masses: tuple[Mass, ...]

    def stream(self, *words: int) -> np.random.Generator:
        """Return this view's own generator; ``words`` part further streams from the first."""
        place = (self.study, SIDES.index(self.side), VIEWS.index(self.view))
        return np.random.default_rng([self.of.purpose, self.of.seed, *place, *words])

    def draw(self) -> View:
        """Draw it, chest wall at the left edge."""
        return draw_view(self.detector, self.breast, self.view, self.masses, self.stream(0))


def plan_studies(
    studies: int, seed: int, purpose: Purpose = Purpose.STUDIES, mix: Mix = STANDARD_MIX
) -> list[tuple[PlannedView, ...]]:
    """Plan a set of four-view studies: L and R, CC and MLO.

    The parts of ``mix`` hold exactly for the set, up to rounding; who they fall on is drawn.

    Raises
    ------
    ValueError
        When ``studies`` or ``seed`` is negative.

    """
    if studies < 0 or seed < 0:
        raise ValueError(f"studies and seed: got {studies} and {seed}, expected 0 or more")
    rng = np.random.default_rng([purpose, seed])
    breasts = 2 * studies
    counts = np.zeros(breasts, int)
    holders = rng.permutation(breasts)[: round(mix.with_mass * breasts)]
    counts[holders] = 1
    counts[holders[: round(mix.with_two * len(holders))]] = 2
    total = int(counts.sum())
    subtle = iter((rng.permutation(total) < round(mix.subtle * total)).tolist())
    masses = [tuple(Mass.draw(rng, next(subtle)) for _ in range(count)) for count in counts]
    whole = PlannedSet(purpose, seed, studies, mix)
    return [
        _study(whole, study, masses[2 * study : 2 * study + 2], DETECTORS[rng.integers(len(DETECTORS))])
        for study in range(studies)
    ]


def _study(
    whole: PlannedSet, study: int, masses: Sequence[tuple[Mass, ...]], detector: Detector
) -> tuple[PlannedView, ...]:
    breast = Breast.draw(np.random.default_rng([whole.purpose, whole.seed, study]))
    return tuple(
        PlannedView(whole, study, side, view, detector, breast, masses[i])
        for i, side in enumerate(SIDES)
        for view in VIEWS
    )
