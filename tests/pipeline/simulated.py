"""A device that only pretends: stated latencies, memory that can run out, networks that fail for chosen images.

What it computes is trivial, but it is computed, so that results can be compared. On :class:`RealTime` it sleeps, under
a :class:`mammofast.pipeline.flow.Flow`; in virtual time nothing does.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mammofast.errors import BrokenImage, EngineError, Reason
from mammofast.pipeline.virtual import Clock, Server


class RealTime:
    """A clock that sleeps. scale: seconds slept for one that is spent."""

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._lock = threading.Lock()
        self._lines: dict[Server, threading.Semaphore] = {}

    def spend(self, server: Server, seconds: float, then: Callable[[], None] | None = None) -> None:
        """Sleep, as many at a time as the server has lines."""
        with self._lock:
            line = self._lines.setdefault(server, threading.Semaphore(server.lines))
        with line:
            time.sleep(seconds * self._scale)
        if then is not None:
            then()


@dataclass(slots=True)
class Faults:
    """What goes wrong, by image.

    nan: the network's output is not finite. raises: what a call that holds the image raises, each time; passing: how
    many times an error is raised before it is over. wait: a call that holds the image waits for that event.
    """

    nan: frozenset[Hashable] = frozenset()
    raises: Mapping[Hashable, BaseException] = field(default_factory=dict)
    passing: dict[Hashable, int] = field(default_factory=dict)
    wait: Mapping[Hashable, threading.Event] = field(default_factory=dict)


class SimulatedDevice:
    """A device with so many bytes of memory; peak: the most that calls held together."""

    def __init__(self, clock: Clock, memory: int, name: str = "gpu") -> None:
        self.server = Server(name)
        self.peak = 0
        self._clock = clock
        self._memory = memory
        self._held = 0
        self._lock = threading.Lock()

    def engine(
        self,
        compute: Callable[[Any], Any],
        seconds: Callable[[int], float],
        *,
        image: Callable[[Any], Hashable],
        unit_bytes: Callable[[Any], int] = lambda unit: 0,
        faults: Faults | None = None,
    ) -> Callable[[Sequence[Any]], list[Any]]:
        """Return a network as a stage's work.

        compute: a unit's outcome. seconds: that a batch of so many units takes. image: which image a unit is of, as
        ``faults`` names it. unit_bytes: memory that a unit needs while it is worked on.
        """
        faults = faults or Faults()

        def work(units: Sequence[Any]) -> list[Any]:
            needed = sum(map(unit_bytes, units))
            with self._lock:
                if self._held + needed > self._memory:
                    raise MemoryError(f"{needed} bytes")
                self._held += needed
                self.peak = max(self.peak, self._held)
            try:
                for unit in units:
                    _fail(faults, image(unit))
            except BaseException:
                self._give_back(needed)
                raise
            self._clock.spend(self.server, seconds(len(units)), lambda: self._give_back(needed))
            return [
                BrokenImage(Reason.NOT_FINITE, "the network gave NaN") if image(unit) in faults.nan else compute(unit)
                for unit in units
            ]

        return work

    def _give_back(self, amount: int) -> None:
        with self._lock:
            self._held -= amount


def _fail(faults: Faults, image: Hashable) -> None:
    if image in faults.wait:
        faults.wait[image].wait()
    if image in faults.raises:
        raise faults.raises[image]
    if faults.passing.get(image, 0) > 0:
        faults.passing[image] -= 1
        raise EngineError("the driver had other things to do")
