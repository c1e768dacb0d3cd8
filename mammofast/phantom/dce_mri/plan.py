"""Who holds what in a set of DCE-MRI studies, how each is acquired, and the random streams that make it its own."""

from dataclasses import dataclass

import numpy as np

from mammofast.phantom.dce_mri.masses import Mass
from mammofast.phantom.plan import Purpose

# Part of every UID, as ``mammofast.phantom.plan.VERSION`` is of mammograms'.
VERSION = 1
# Third word of every random stream, where mammography has a study's number, which never becomes so large.
_KIND = 0xDCE_0001


@dataclass(frozen=True, slots=True)
class Matrix:
    """What is acquired: slices, rows, columns, and their distances in mm (between slices; between pixels)."""

    slices: int
    rows: int
    cols: int
    slice_spacing: float
    pixel_spacing: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return self.slices, self.rows, self.cols

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between slices, rows and columns."""
        return self.slice_spacing, self.pixel_spacing, self.pixel_spacing


# P5's field of view is 32 cm in 320 pixels and slices of 1.4 mm; these are coarser, so that two cores make and screen
# a case in seconds.
MATRICES = (Matrix(40, 160, 160, 3.0, 2.0), Matrix(34, 176, 176, 3.6, 1.9))
# Every so many cases one is an enhanced multi-frame object.
ENHANCED_EVERY = 4


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a case is acquired and written.

    times: s from the baseline to each phase, the baseline's 0 first. series_per_phase: else all phases are one series.
    enhanced: one Enhanced MR object, else single-frame ones. shuffled: Instance Numbers say nothing of the place.
    """

    matrix: Matrix
    times: tuple[float, ...]
    enhanced: bool
    series_per_phase: bool
    shuffled: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, enhanced: bool) -> "Protocol":
        """Draw one: a baseline and three or four phases after the injection."""
        matrix = MATRICES[int(rng.choice(len(MATRICES), p=(0.7, 0.3)))]
        posts = int(rng.integers(3, 5))
        first, step = float(rng.integers(85, 110)), float(rng.integers(60, 80))
        times = (0.0, *(first + k * step for k in range(posts)))
        return cls(matrix, times, enhanced, not enhanced and bool(rng.random() < 0.4), bool(rng.random() < 0.35))


@dataclass(frozen=True, slots=True)
class Mix:
    """Parts of a set: cases with a mass, and of these with two."""

    with_mass: float = 0.85
    with_two: float = 0.20


STANDARD_MIX = Mix()


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """A set of cases, by all that their images depend on."""

    purpose: Purpose
    seed: int
    studies: int
    mix: Mix

    def words(self) -> tuple[str | int | float, ...]:
        """Return what tells the set's images from those of any other set, kind and version."""
        return ("dce-mri", VERSION, int(self.purpose), self.seed, self.studies, self.mix.with_mass, self.mix.with_two)


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """One DCE-MRI study to be made: where it stands in its set, how it is acquired, and its masses."""

    of: PlannedSet
    study: int
    protocol: Protocol
    masses: tuple[Mass, ...]

    def stream(self, *words: int) -> np.random.Generator:
        """Return the case's own generator; ``words`` part further streams from the first."""
        return np.random.default_rng([self.of.purpose, self.of.seed, _KIND, 1 + self.study, *words])


def plan_cases(
    studies: int, seed: int, purpose: Purpose = Purpose.STUDIES, mix: Mix = STANDARD_MIX
) -> list[PlannedCase]:
    """Plan a set of cases.

    The parts of ``mix`` hold exactly for the set, up to rounding; who they fall on is drawn.

    Raises
    ------
    ValueError
        When ``studies`` or ``seed`` is negative.

    """
    if studies < 0 or seed < 0:
        raise ValueError(f"studies and seed: got {studies} and {seed}, expected 0 or more")
    rng = np.random.default_rng([purpose, seed, _KIND, 0])
    counts = np.zeros(studies, int)
    holders = rng.permutation(studies)[: round(mix.with_mass * studies)]
    counts[holders] = 1
    counts[holders[: round(mix.with_two * len(holders))]] = 2
    whole = PlannedSet(purpose, seed, studies, mix)
    return [
        PlannedCase(
            whole,
            study,
            Protocol.draw(rng, study % ENHANCED_EVERY == ENHANCED_EVERY - 1),
            tuple(Mass.draw(rng) for _ in range(count)),
        )
        for study, count in enumerate(counts)
    ]
