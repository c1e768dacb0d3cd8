"""The same work done in several ways: first shown to give the same, then timed in turns."""

from collections.abc import Callable, Mapping
from typing import Any

from mammofast.errors import ProfilingError
from mammofast.profiling.doubts import doubts
from mammofast.profiling.record import Case
from mammofast.profiling.sampling import Call, Effort, interleave

OURS = "mammofast"


def contest(
    name: str,
    reason: str,
    ways: Mapping[str, Call],
    effort: Effort,
    *,
    agree: Callable[[Any, Any], bool],
    ours: str = OURS,
    items: float = 1.0,
    unit: str = "call",
    facts: Mapping[str, Any] | None = None,
) -> Case:
    """Time ways of doing the same in turns.

    ways: name to a call without arguments; ``ours`` is one of them. agree: whether what another way gave (second) is
    what ours gave (first).

    Raises
    ------
    ProfilingError
        When a way gives something else: a time for another result says nothing.

    """
    expected = ways[ours]()
    for other, way in ways.items():
        if other != ours and not agree(expected, way()):
            raise ProfilingError(f"{name}: {other} gives another result than {ours}, so that their times say nothing")
    samples = interleave(ways, effort)
    return Case(name, reason, samples, ours, items, unit, facts or {}, doubts(samples[ours], effort.seconds))
