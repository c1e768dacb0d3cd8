"""The same work done in several ways: first shown to give the same, then timed in turns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mammofast.errors import ProfilingError
from mammofast.profiling.doubts import call_bound, doubts
from mammofast.profiling.record import Case
from mammofast.profiling.sampling import Call, Effort, interleave, sample
from mammofast.profiling.statistics import summarize

OURS = "mammofast"
_OVERHEAD = Effort(warm_up=0.05, seconds=0.1)


@dataclass(frozen=True, slots=True)
class Way:
    """Another way of doing what ours does.

    agrees: whether what this way gave (second) is what ours gave (first), each in its own form.
    """

    call: Call
    agrees: Callable[[Any, Any], bool]


@dataclass(frozen=True, slots=True)
class Contest:
    """Our way beside others, ready to be timed.

    name, reason, items, unit, facts: as :class:`mammofast.profiling.record.Case` has them. smallest: our call on the
    smallest input there is, where that is known: what a call costs by itself. left_out: ways whose packages are not
    installed here. called: our way's name.
    """

    name: str
    reason: str
    ours: Call
    others: Mapping[str, Way] = field(default_factory=dict)
    smallest: Call | None = None
    left_out: tuple[str, ...] = ()
    items: float = 1.0
    unit: str = "call"
    facts: Mapping[str, Any] = field(default_factory=dict)
    called: str = OURS

    @property
    def ways(self) -> dict[str, Call]:
        """Ours first, then the others."""
        return {self.called: self.ours, **{name: way.call for name, way in self.others.items()}}

    def check(self) -> None:
        """Run each way once.

        Raises
        ------
        ProfilingError
            When a way gives something else than ours: a time for another result says nothing.

        """
        expected = self.ours()
        for name, way in self.others.items():
            if not way.agrees(expected, way.call()):
                raise ProfilingError(
                    f"{self.name}: {name} gives another result than {self.called}, so that their times say nothing"
                )

    def measure(self, effort: Effort, threads: int | None = None) -> Case:
        """Check, then time all ways in turns; threads: that ours was given, where it was."""
        self.check()
        samples = interleave(self.ways, effort)
        facts, warnings = dict(self.facts), doubts(samples[self.called], effort.seconds, threads)
        if self.left_out:
            facts["left_out"] = list(self.left_out)
        if self.smallest is not None:
            overhead = summarize(sample(self.smallest, _OVERHEAD))["p50"]
            facts["call_overhead_ms"] = overhead
            warnings += call_bound(overhead, summarize(samples[self.called])["p50"])
        return Case(self.name, self.reason, samples, self.called, self.items, self.unit, facts, warnings)
