"""Which frames make a volume, in which order: decided from geometry and acquisition, never from instance numbers.

Phases are told apart by the first attribute, in the order of ``_KEYS``, under which every phase has every position
once. Where none does, or anything else contradicts itself, there is no volume, and the reason says what is wrong: a
slice that is missing must never become a slice that is not there.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.archive.volumes.record import Frame, MrObject
from mammofast.errors import BrokenImage, ImageError, Reason, UnusableImage

# mm: what rounding in a header may move a slice by, along the normal and across it.
_SAME_PLACE, _SAME_ORIGIN = 0.01, 0.1
_SAME_DIRECTION = 1e-4
# Of a step between slices.
_UNEVEN = 0.01


@dataclass(frozen=True, slots=True)
class Slice:
    """A frame and the object that it is of."""

    object: MrObject
    frame: Frame


@dataclass(frozen=True, slots=True)
class Plan:
    """A volume to be: ``slices[phase][index]``, and mm between slices. times: s since the first phase."""

    slices: tuple[tuple[Slice, ...], ...]
    step: float
    times: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Objects that belong together, and the volume that they make or the reason why they make none."""

    objects: tuple[MrObject, ...]
    plan: Plan | None = None
    error: ImageError | None = None


Key = Callable[[Slice], Any]
# What tells phases apart, and whether its own order is that of time.
_KEYS: tuple[tuple[Key, bool], ...] = (
    (lambda s: s.frame.temporal, True),
    (lambda s: s.frame.acquisition, True),
    (lambda s: s.frame.trigger, True),
    (lambda s: s.object.series_uid, False),
    (lambda s: s.frame.time, True),
    (lambda s: (s.object.series_uid, s.frame.temporal), False),
    (lambda s: (s.object.series_uid, s.frame.acquisition), False),
    (lambda s: (s.object.series_uid, s.frame.trigger), False),
)


def assemble(objects: Iterable[MrObject]) -> list[Group]:
    """Sort a study's objects into groups, and each group into a volume or a reason; in an order that is its own."""
    groups = []
    for group in _groups(sorted(objects, key=lambda o: (o.series_uid, o.sop_uid))):
        try:
            groups.append(Group(group, plan=plan_volume(group)))
        except ImageError as error:
            groups.append(Group(group, error=error))
    return groups


def _groups(objects: Sequence[MrObject]) -> list[tuple[MrObject, ...]]:
    """Join the series of one frame of reference, geometry and sequence that were acquired one after the other.

    Where two of them overlap in time nothing says that they are one: then a series that repeats its positions stands
    alone, and those that have each position once are taken together.
    """
    series: dict[str, list[MrObject]] = defaultdict(list)
    for each in objects:
        series[each.series_uid].append(each)
    alike: dict[Any, list[list[MrObject]]] = defaultdict(list)
    for members in series.values():
        first = members[0]
        frame = first.frames[0]
        near = tuple(round(value, 3) + 0.0 for value in (*frame.orientation, *frame.spacing))
        place = (first.frame_of_reference_uid, first.rows, first.cols, first.dtype, near, first.protocol)
        alike[place].append(members)
    found = []
    for together in alike.values():
        repeating = [members for members in together if _repeats(members)]
        if repeating and not _one_after_the_other(together):
            found += [tuple(members) for members in repeating]
            together = [members for members in together if members not in repeating]
        if together:
            found.append(tuple(each for members in together for each in members))
    return found


def _repeats(objects: Sequence[MrObject]) -> bool:
    return Counter(frame.position for each in objects for frame in each.frames).most_common(1)[0][1] > 1


def _one_after_the_other(together: Sequence[Sequence[MrObject]]) -> bool:
    spans = []
    for members in together:
        times = [frame.time for each in members for frame in each.frames]
        known = [time for time in times if time is not None]
        if len(known) < len(times):
            return len(together) == 1
        spans.append((min(known), max(known)))
    return all(a[1] < b[0] for a, b in pairwise(sorted(spans)))


def plan_volume(objects: Sequence[MrObject]) -> Plan:
    """Return the volume that objects make.

    Raises
    ------
    UnusableImage
        MIXED_GEOMETRY, MIXED_ORIENTATION, ONE_PHASE.
    BrokenImage
        MISSING_SLICES, MISSING_PHASES, DUPLICATE_SLICES, UNEVEN_SLICES, PHASE_ORDER.

    """
    slices = [Slice(each, frame) for each in objects for frame in each.frames]
    _check_parts(objects)
    _check_alike(slices)
    places, heights = _places(slices)
    step = _step(heights)
    if Counter(places).most_common(1)[0][1] == 1:
        words = f"each of {len(heights)} positions is there once; expected a baseline and one phase after it or more"
        raise UnusableImage(Reason.ONE_PHASE, words)
    phases, in_order = _phases(slices, places, len(heights))
    times = [_earliest(phase) for phase in phases]
    if not in_order:
        if None in times or len(set(times)) < len(times):
            raise BrokenImage(Reason.PHASE_ORDER, f"nothing says in which order {len(phases)} phases were acquired")
        phases = [phases[i] for i in sorted(range(len(phases)), key=lambda i: times[i] or 0.0)]
        times = [_earliest(phase) for phase in phases]
    elif any(a is not None and b is not None and a > b for a, b in pairwise(times)):
        raise BrokenImage(Reason.PHASE_ORDER, "the phases' numbers contradict their acquisition times")
    _check_expected(objects, len(phases), len(heights))
    return Plan(tuple(tuple(phase) for phase in phases), step, _since_first(phases, times))


def _check_alike(slices: Sequence[Slice]) -> None:
    first = slices[0]
    objects = (s.object for s in slices)
    stored = {(each.rows, each.cols, each.dtype, each.bits_stored, each.photometric) for each in objects}
    if len(stored) > 1:
        words = " and ".join(" ".join(map(str, kind)) for kind in sorted(stored)[:2])
        raise UnusableImage(Reason.MIXED_GEOMETRY, f"slices of different rows, columns or types: {words}")
    directions = np.array([s.frame.orientation for s in slices])
    if np.abs(directions - first.frame.orientation).max() > _SAME_DIRECTION:
        raise UnusableImage(Reason.MIXED_ORIENTATION, "slices of one series lie in different directions")
    spacings = np.array([s.frame.spacing for s in slices])
    if np.abs(spacings / first.frame.spacing - 1).max() > _SAME_DIRECTION:
        raise UnusableImage(Reason.MIXED_GEOMETRY, "slices of different Pixel Spacing")
    if len({s.object.frame_of_reference_uid for s in slices}) > 1:
        raise UnusableImage(Reason.MIXED_GEOMETRY, "slices of different frames of reference")


def normal(frame: Frame) -> npt.NDArray[np.float64]:
    """Return the direction of row x column, along which slices are sorted."""
    return np.cross(frame.orientation[:3], frame.orientation[3:])


def _places(slices: Sequence[Slice]) -> tuple[list[int], list[float]]:
    """Return which position, counted along the normal, each slice has, and where these lie, in mm."""
    along = normal(slices[0].frame)
    points = np.array([s.frame.position for s in slices])
    heights = points @ along
    across = points - heights[:, None] * along
    if np.abs(across - across[0]).max() > _SAME_ORIGIN:
        raise UnusableImage(Reason.MIXED_GEOMETRY, "slices do not lie upon one another: their corners move sideways")
    order = np.argsort(heights, kind="stable")
    # A new position begins wherever the next slice lies further up.
    rises = np.concatenate([[0], np.diff(heights[order]) > _SAME_PLACE])
    places = np.empty(len(slices), int)
    places[order] = np.cumsum(rises)
    return places.tolist(), heights[order][np.flatnonzero(np.concatenate([[1], rises[1:]]))].tolist()


def _step(heights: Sequence[float]) -> float:
    """Return mm between slices."""
    if len(heights) < 2:
        raise BrokenImage(Reason.MISSING_SLICES, "one slice only; a volume has two and more")
    steps = np.diff(heights)
    usual = float(np.median(steps))
    far = np.abs(steps - usual) > _UNEVEN * usual + _SAME_PLACE
    if far.any():
        at = int(np.argmax(far))
        times = steps[at] / usual
        where = f"between slices {at + 1} and {at + 2} of {len(heights)} lie {steps[at]:.2f} mm, elsewhere {usual:.2f}"
        if times > 1.5 and abs(times - round(times)) * usual <= _UNEVEN * steps[at] + _SAME_PLACE:
            raise BrokenImage(Reason.MISSING_SLICES, f"{where}: {round(times) - 1} missing in every phase")
        raise BrokenImage(Reason.UNEVEN_SLICES, where)
    return float((heights[-1] - heights[0]) / (len(heights) - 1))


def _phases(slices: Sequence[Slice], places: Sequence[int], count: int) -> tuple[list[list[Slice]], bool]:
    """Return phases of slices by position, and whether their order is known from what tells them apart.

    Raises
    ------
    BrokenImage
        MISSING_SLICES, DUPLICATE_SLICES, by the attribute under which least is wrong.

    """
    best: tuple[int, BrokenImage] | None = None
    contradictions: dict[int, BrokenImage] = {}
    for key, in_order in _KEYS:
        values = [key(s) for s in slices]
        if any(value is None or (isinstance(value, tuple) and None in value) for value in values):
            continue
        number = {value: phase for phase, value in enumerate(sorted(set(values)))}
        there = Counter((number[value], place) for value, place in zip(values, places, strict=True))
        wrong = len(slices) - len(there) + len(number) * count - len(there)
        if not wrong:
            if len(number) in contradictions:  # as many phases by another attribute, but of other slices
                raise contradictions[len(number)]
            found: list[list[Slice]] = [[slices[0]] * count for _ in number]
            for value, place, each in zip(values, places, slices, strict=True):
                found[number[value]][place] = each
            return found, in_order
        error = _what_is_wrong(there, len(number), count)
        contradictions.setdefault(len(number), error)
        if best is None or wrong < best[0]:
            best = wrong, error
    if best is None:
        words = "positions are there several times, and nothing tells their phases apart"
        raise BrokenImage(Reason.DUPLICATE_SLICES, words)
    raise best[1]


def _what_is_wrong(there: Counter[tuple[int, int]], phases: int, count: int) -> BrokenImage:
    """Name the first slice that is there twice, or else the first that is not there; one of both must be so."""
    if twice := sorted(at for at, times in there.items() if times > 1):
        phase, place = twice[0]
        words = f"slice {place + 1} of {count} is there several times in phase {phase + 1} of {phases}"
        return BrokenImage(Reason.DUPLICATE_SLICES, words)
    phase, place = next((p, z) for p in range(phases) for z in range(count) if (p, z) not in there)
    left = sum(at[0] == phase for at in there)
    words = f"phase {phase + 1} of {phases} has {left} of {count} slices, the first that it lacks is {place + 1}"
    return BrokenImage(Reason.MISSING_SLICES, words)


def _check_parts(objects: Sequence[MrObject]) -> None:
    """Look whether all parts of divided objects are there: whole phases may be in what is not."""
    parts: dict[str, dict[int, int]] = defaultdict(dict)
    for each in objects:
        if each.part is not None:
            whole, number, count = each.part
            parts[whole][number] = count
    for found in parts.values():
        if len(found) < max(found.values()):
            words = f"{len(found)} of {max(found.values())} parts of an object (In-concatenation Total Number)"
            raise BrokenImage(Reason.MISSING_SLICES, words)


def _check_expected(objects: Sequence[MrObject], phases: int, count: int) -> None:
    """Hold what is there against what the headers announce."""
    expected = max((each.expected_phases or 0 for each in objects), default=0)
    if phases < expected:
        raise BrokenImage(Reason.MISSING_PHASES, f"{phases} of {expected} phases (Number of Temporal Positions)")
    images = max((each.expected_images or 0 for each in objects), default=0)
    # Makers count an acquisition's images with and without its phases.
    if images > count and images > phases * count:
        raise BrokenImage(Reason.MISSING_SLICES, f"{phases * count} of {images} images (Images in Acquisition)")


def _earliest(phase: Sequence[Slice]) -> float | None:
    times = [s.frame.time for s in phase]
    known = [time for time in times if time is not None]
    return min(known) if len(known) == len(times) else None


def _since_first(phases: Sequence[Sequence[Slice]], times: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return seconds since the first phase, from acquisition times, or trigger times where those do not tell."""
    if None in times or len(set(times)) < len(times):
        triggers = [phase[0].frame.trigger for phase in phases]
        times = [None if trigger is None else trigger / 1000 for trigger in triggers]
    if None in times or any(a >= b for a, b in pairwise(time or 0.0 for time in times)):
        return (None,) * len(phases)
    first = times[0] or 0.0
    return tuple(round((time or 0.0) - first, 6) for time in times)
