"""An op on the card beside the CPU's truth and other libraries' ways: first shown to be equal, then timed in turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mammofast.errors import ProfilingError
from mammofast.profiling.contest import OURS, Way
from mammofast.profiling.device.bandwidth import BEYOND_L2, CopyRates
from mammofast.profiling.device.card import Card
from mammofast.profiling.device.timing import stream_times, waiting_times
from mammofast.profiling.doubts import above_ceiling, doubts
from mammofast.profiling.record import Case
from mammofast.profiling.sampling import Call, Effort
from mammofast.profiling.statistics import percentile

# Of less than a thirtieth of what a cache cannot hold there is nothing to gain from memory.
_MOST_SETS = 32
_UNWRITTEN = 0xA5
EMULATED = "emulated: the kernels ran on the host, one thread after the other; the times say nothing of a card"


@dataclass(frozen=True, slots=True)
class DeviceContest:
    """Ours on the card beside others, ready to be timed.

    name, reason, items, unit, facts, left_out: as :class:`mammofast.profiling.contest.Contest` has them.
    ours: the same work on inputs of their own, so many that a cache cannot hold all of them, where that matters.
    read: from what ours gives to NumPy. truth: the same on the CPU. equality: in words, how equal ``truth`` has to be.
    others: other ways on the card; their ``agrees`` takes what ``read`` gives, and what the way itself gives.
    bytes_moved: of one call, each input read once and each output written once.
    """

    name: str
    reason: str
    ours: Sequence[Call]
    read: Callable[[Any], Any]
    truth: Way
    bytes_moved: int
    equality: str = "to the bit"
    others: Mapping[str, Way] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    items: float = 1.0
    unit: str = "call"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Run ours on every set of inputs, and each other way once.

        Raises
        ------
        ProfilingError
            When ours differs from the CPU's, or a way from ours: a time for another result says nothing.

        """
        expected = self.truth.call()
        for call in self.ours:
            found = self.read(call())
            if not self.truth.agrees(expected, found):
                raise ProfilingError(f"{self.name}: the card gives another result than the CPU ({self.equality})")
        for name, way in self.others.items():
            if not way.agrees(found, way.call()):
                raise ProfilingError(
                    f"{self.name}: {name} gives another result than {OURS}, so that their times say nothing"
                )

    def measure(self, card: Card, rates: CopyRates | None, effort: Effort) -> Case:
        """Check, then time all ways in turns. rates: the card's, None where it is emulated."""
        self.check()
        calls = {OURS: self.ours, **{name: [way.call] for name, way in self.others.items()}}
        samples, launches = stream_times(card, calls, effort)
        waits = {name: _median(waiting_times(card, each[0])) for name, each in calls.items()}
        facts = {
            **self.facts,
            "card": card.name,
            "equal_to_cpu": self.equality,
            "bytes_moved": self.bytes_moved,
            "launches_in_a_sample": launches,
            "host_waits_ms": {name: 1e3 * seconds for name, seconds in waits.items()},
        }
        warnings = doubts(samples[OURS], effort.seconds)
        if self.left_out:
            facts["left_out"] = list(self.left_out)
        if card.emulated or rates is None:
            facts["emulated"] = True
            warnings = (EMULATED,)
        else:
            rate = self.bytes_moved / _median(samples[OURS])
            in_l2 = rates.is_in_l2(self.bytes_moved * len(self.ours))
            facts |= {
                "gb_per_s": rate / 1e9,
                "served_from": "L2 cache" if in_l2 else "memory",
                "share_of_copy": rate / rates.memory,
                "share_of_l2_copy": rate / rates.l2,
            }
            warnings += above_ceiling(rate / (rates.l2 if in_l2 else rates.memory))
        return Case(self.name, self.reason, samples, OURS, self.items, self.unit, facts, warnings)


def sets_beyond_cache(card: Card, working_set: int) -> int:
    """Return how many sets of inputs and outputs a cache cannot hold; 1 of such small ones that it always would."""
    wanted = -(-BEYOND_L2 * card.l2_bytes // working_set)
    return wanted if 1 <= wanted <= _MOST_SETS else 1


def room(card: Card, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
    """Return an array on the card to write to, of bytes that no right result has: what is left unwritten shows."""
    array = np.empty(shape, dtype)
    array.reshape(-1).view(np.uint8)[...] = _UNWRITTEN
    return card.put(array)


def _median(seconds: Sequence[float]) -> float:
    return percentile(sorted(seconds), 50)
