"""What a board and its drivers hand to each other: images on their way, work on them, what came of it."""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mammofast import tracing
from mammofast.errors import DeviceLostError
from mammofast.pipeline.faults import Fault
from mammofast.pipeline.memory import Lease
from mammofast.pipeline.stage import Stage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image.

    index: its place among those asked for. item: the last stage's. error: why there is none.
    """

    index: int
    item: Any = None
    error: str | None = None


@dataclass(slots=True, eq=False)
class Run:
    """Images asked for together.

    offered: the one that waits to enter. exhausted: whether it was the last one. away: whether who asked is busy with
    results, and brings none meanwhile. left: how many were offered and have no outcome yet.
    """

    exhausted: bool = False
    away: bool = False
    cancelled: bool = False
    offered: "Ticket | None" = None
    left: int = 0
    outcomes: deque[Outcome] = field(default_factory=deque)

    @property
    def is_feeding(self) -> bool:
        """Whether the next image is about to come."""
        return not (self.exhausted or self.away or self.cancelled) and self.offered is None


@dataclass(slots=True, eq=False)
class Ticket:
    """An image on its way.

    leases: what it holds, and the number of the last stage that needs it. left: units without an outcome. in_work:
    units that are being worked on. joining: whether it is being brought from
    one stage to the next. target: the stage it waits for room in.
    """

    run: Run
    index: int
    item: Any
    amounts: tuple[int, ...] = ()
    leases: list[tuple[Lease, int]] = field(default_factory=list)
    stage: int = 0
    units: Sequence[Any] = ()
    keys: Sequence[Hashable] = ()
    outcomes: list[Any] = field(default_factory=list)
    left: int = 0
    in_work: int = 0
    joining: bool = False
    target: int | None = None
    error: str | None = None

    @property
    def is_dead(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.error is not None or self.run.cancelled


Part = tuple[Ticket, int]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One call of a stage's work. parts: tickets and the numbers of their units. alone: whether it is a second try."""

    stage: Stage
    number: int
    parts: tuple[Part, ...]
    alone: bool = False

    def run(self) -> "Report":
        """Do the work; whatever goes wrong with it is in the report, but for a device that is lost: that is raised."""
        units = [ticket.units[i] for ticket, i in self.parts]
        try:
            with tracing.span(self.stage.name, len(units)):
                outcomes = list(self.stage.work(units))
        except DeviceLostError:  # no image's fault, and there is nothing to work on the others with
            raise
        except Exception as error:
            return self._failed(error, whose=len({ticket for ticket, _ in self.parts}) == 1)
        if len(outcomes) != len(units):
            return self._failed(ValueError(f"{len(outcomes)} outcomes for {len(units)} units"), whose=False)
        name = self.stage.name
        kept = [Fault.of(found, name) if isinstance(found, Exception) else found for found in outcomes]
        return Report(self, kept, whose=True)

    def _failed(self, error: Exception, whose: bool) -> "Report":
        return Report(self, [Fault.of(error, self.stage.name)] * len(self.parts), whose)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What came of a task: an outcome or a fault for each part. whose: whether a fault is that part's for certain."""

    task: Task
    outcomes: Sequence[Any]
    whose: bool


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Where an image goes next: a stage's number (that behind the last: out), with which units; or why nowhere."""

    stage: int
    item: Any = None
    units: Sequence[Any] = ()
    keys: Sequence[Hashable] = ()
    error: str | None = None
