"""A stage: what is done with an image at one point of its way."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any


def _itself(item: Any) -> Sequence[Any]:
    return (item,)


def _alike(unit: Any) -> Hashable:
    return None


def _outcome(item: Any, outcomes: Sequence[Any]) -> Any:
    (outcome,) = outcomes
    return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is done with an image at one point of its way, and with how many at a time.

    An image comes in as an item, is split into the units that the stage works on (itself, its scales, its candidates),
    and leaves as a new item, joined from the old one and what became of its units. Without units it passes.

    Parameters
    ----------
    name: in traces and messages.
    work: takes at most ``batch`` units of any images and returns an outcome for each, which must not depend on what
        shares the call. An ``Exception`` among them is the error of that unit; one that is raised is somebody's, and
        who it is gets found out. It may be called again on the same units.
        ``MemoryError`` says that there was no room, ``EngineError`` that a network could not be run,
        ``BrokenImage`` with ``Reason.NOT_FINITE`` that it gave NaN or infinity: these are tried once more, alone.
        ``DeviceLostError``, and what is no ``Exception``, end the whole pipeline.
    split: an item's units. join: the next stage's item, from this one's and the outcomes in the units' order; called
        once, when all are there.
    key: only units with equal keys share a batch, say those of one shape.
    batch: units in one call. It waits to be full while more can come.
    workers: calls at a time.
    room: images inside, those waiting and those that cannot move on included.
    device: whether its calls share a device's memory: a unit that is tried alone then has the device to itself. A call
        that never comes back then is a device that is lost; disks may stall and come back.
    """

    name: str
    work: Callable[[Sequence[Any]], Sequence[Any]]
    split: Callable[[Any], Sequence[Any]] = _itself
    join: Callable[[Any, Sequence[Any]], Any] = _outcome
    key: Callable[[Any], Hashable] = _alike
    batch: int = 1
    workers: int = 1
    room: int = 0
    device: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"stage {self.name!r}: {name} is {getattr(self, name)}, expected 1 or more")
        if self.room < 0:
            raise ValueError(f"stage {self.name!r}: room is {self.room}, expected 1 or more, or 0 for enough")
        if self.room == 0:
            # As many as are worked on, and as many again that wait to be.
            object.__setattr__(self, "room", 2 * self.workers * self.batch)


def each(work: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    """Make work on one unit into a stage's work."""
    return lambda units: [work(unit) for unit in units]
