"""Masses by kind: how many of each are found, and how well they fit."""

from collections.abc import Sequence
from typing import Any

from mammofast.errors import ResultsError
from mammofast.evaluation.measuring import MeasuredImage, MeasuredMass
from mammofast.evaluation.statistics import ratio_interval

# Besides "size" these are the data sets' attributes of lesions and images, by the names of mammofast.datasets.
BY = ("size", "shape", "margin", "birads", "subtlety", "pathology", "density", "view", "laterality")
NOT_SAID = "not said"
# mm; the TNM classification's T1a-b, T1c, T2 and T3.
_SIZES = (
    (10.0, "10 mm or less"),
    (20.0, "over 10 to 20 mm"),
    (50.0, "over 20 to 50 mm"),
    (float("inf"), "over 50 mm"),
)
# Data sets' spellings of one thing.
_PREFIXES = {"birads": "bi-rads", "density": "density"}
_SAME = {"benign_without_callback": "benign"}


def breakdown(images: Sequence[MeasuredImage], by: str, samples: int, seed: int) -> list[dict[str, Any]]:
    """Return sensitivity and Dice of the masses of each kind, JSON-ready.

    Parameters
    ----------
    by: one of ``BY``. Size is the longer side of a mass's box in mm; the others are what the data set says, in lower
        case.

    Returns
    -------
    For each kind, by rising size or name, what is not said last: group, n_masses, n_images, n_patients, sensitivity,
    dice_mean (of each mass and the finding that found it; 0 where it was missed), and intervals of the two, 95 % by
    bootstrap over patients; None where the kind has fewer than two patients.

    Raises
    ------
    ResultsError
        When nothing is said of any mass by which they could be told apart.

    """
    if by not in BY:
        raise ValueError(f"by: got {by!r}, expected one of {', '.join(BY)}")
    kinds = {_kind(mass, by) for image in images for mass in image.masses}
    if kinds <= {(1, NOT_SAID)}:
        said = {name for image in images for mass in image.masses for name in mass.attributes} & set(BY)
        what = ", ".join(sorted(said)) or "none of these"
        raise ResultsError(
            f"by: got {by!r}, which the truth says of no mass; it says {what}. A data set's own layout says more than "
            "pictures do, see --layout"
        )
    return [{"group": kind[1], **_measures(images, by, kind, samples, seed)} for kind in sorted(kinds, key=_rank)]


def _kind(mass: MeasuredMass, by: str) -> tuple[int, str]:
    """Return a mass's kind: 0 and its name, or 1 where it is not said."""
    if by == "size":
        length = mass.length_mm
        return (1, NOT_SAID) if length is None else (0, next(name for limit, name in _SIZES if length <= limit))
    value = mass.attributes.get(by, "").strip().lower()
    value = value.removeprefix(_PREFIXES.get(by, "")).strip()
    return (0, _SAME.get(value, value)) if value else (1, NOT_SAID)


def _rank(kind: tuple[int, str]) -> tuple[int, int, str]:
    order, name = kind
    names = [size for _, size in _SIZES]
    return order, names.index(name) if name in names else 0, name


def _measures(
    images: Sequence[MeasuredImage], by: str, kind: tuple[int, str], samples: int, seed: int
) -> dict[str, Any]:
    meant = [[mass for mass in image.masses if _kind(mass, by) == kind] for image in images]
    counts, patients = [len(masses) for masses in meant], [image.patient for image in images]
    sums = {
        "sensitivity": [float(sum(mass.found for mass in masses)) for masses in meant],
        "dice_mean": [sum(mass.dice for mass in masses) for masses in meant],
    }
    intervals = {
        name: ratio_interval(parts, counts, patients, samples=samples, seed=seed) for name, parts in sums.items()
    }
    return {
        "n_masses": sum(counts),
        "n_images": sum(count > 0 for count in counts),
        "n_patients": len({patient for patient, count in zip(patients, counts, strict=True) if count}),
        **{name: sum(parts) / sum(counts) for name, parts in sums.items()},
        "intervals": {name: interval and list(interval) for name, interval in intervals.items()},
    }
