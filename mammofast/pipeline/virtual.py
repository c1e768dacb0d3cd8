"""A pipeline in virtual time: a discrete-event simulation of the very scheduling that runs in threads.

Nothing sleeps: a call of a stage's work says what it costs by :meth:`Clock.spend`, and its outcomes come so much later.
The same images and costs give the same course of events, every time.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from mammofast.pipeline.board import Board
from mammofast.pipeline.tickets import Outcome, Report, Run, Task
from mammofast.tracing import Sample, Span


@dataclass(slots=True, eq=False)
class Server:
    """What work is done on, in the order in which it comes: cores, a GPU, a link, a disk.

    lines: how many things at a time. busy: seconds that its lines were at work, added up.
    """

    name: str
    lines: int = 1
    busy: float = 0.0
    at_work: int = 0
    queue: deque[Callable[[], None]] = field(default_factory=deque)


class Clock(Protocol):
    """How a stage that only pretends to work says how long it takes."""

    def spend(self, server: Server, seconds: float, then: Callable[[], None] | None = None) -> None:
        """Keep a server busy; after that ``then`` happens."""


@dataclass(slots=True)
class Timeline:
    """What happened. seconds: until the last outcome. spans: of calls while servers were at work on them."""

    seconds: float = 0.0
    spans: list[Span] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    done_at: list[float] = field(default_factory=list)

    def images_per_second(self, skip: float = 0.25) -> float:
        """Return the rate of all outcomes but the first and last part ``skip``: without filling and emptying."""
        start, end = (self.done_at[int(len(self.done_at) * part)] for part in (skip, 1 - skip))
        # Several may be done at the same time.
        return sum(start < at <= end for at in self.done_at) / (end - start)


Cost = tuple[Server, float, Callable[[], None] | None]


@dataclass(slots=True, eq=False)
class _Place:
    """A board and what is to be sent through it. slots: of each stage, the numbers of its workers at work."""

    number: int
    board: Board
    run: Run
    left: Iterator[tuple[int, Any]]
    outcomes: list[Outcome]
    slots: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))


@dataclass(slots=True, eq=False)
class _Call:
    """A task at work. costs: what is left to be spent. slot: which of its stage's workers it has."""

    place: _Place
    report: Report
    slot: int
    costs: deque[Cost]
    start: float | None = None


class VirtualTime:
    """A clock, and what drives boards by it. Use one for a whole simulation."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._costs: deque[Cost] = deque()
        self._timeline = Timeline()

    def spend(self, server: Server, seconds: float, then: Callable[[], None] | None = None) -> None:
        """Have the call that runs now keep a server busy, after what it spends already."""
        self._costs.append((server, seconds, then))

    def sampler(self, place: int) -> Callable[[str, float], None]:
        """Return what keeps samples of a board, for its ``sample``."""
        return lambda name, value: self._timeline.samples.append(Sample(name, self.now, value, place))

    def run(self, boards: Sequence[Board], images: Sequence[Iterable[Any]]) -> Timeline:
        """Send each board's images through, all boards at the same time.

        Raises
        ------
        RuntimeError
            When images are left and nothing happens any more: the scheduling is wrong.

        """
        places = [
            _Place(number, board, board.open(), enumerate(each), [])
            for number, (board, each) in enumerate(zip(boards, images, strict=True))
        ]
        self._timeline.outcomes = [place.outcomes for place in places]
        for place in places:
            self._settle(place)
        while self._events:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        if not all(place.run.exhausted and not place.run.left for place in places):
            raise RuntimeError("the pipeline stands still with images inside")
        self._timeline.seconds = self.now
        return self._timeline

    def _settle(self, place: _Place) -> None:
        """Do all that can be done now."""
        board, run = place.board, place.run
        while not run.exhausted and run.offered is None:
            index, image = next(place.left, (-1, None))
            if index < 0:
                run.exhausted = True
            else:
                board.offer(board.ticket(run, index, image))
        for number in range(len(board.stages)):
            while (task := board.task(number)) is not None:
                self._start(place, task)
        while run.outcomes:
            place.outcomes.append(run.outcomes.popleft())
            self._timeline.done_at.append(self.now)

    def _start(self, place: _Place, task: Task) -> None:
        self._costs = deque()
        report = task.run()
        slot = next(i for i in count() if i not in place.slots[task.number])
        place.slots[task.number].add(slot)
        self._go_on(_Call(place, report, slot, self._costs))

    def _go_on(self, call: _Call) -> None:
        """Spend a call's next cost; after the last one, report."""
        if not call.costs:
            # Even what costs nothing is done after all that began before it.
            self._at(0.0, lambda: self._end(call))
            return
        server, seconds, then = call.costs.popleft()

        def begin() -> None:
            server.at_work += 1
            call.start = self.now if call.start is None else call.start
            self._at(seconds, end)

        def end() -> None:
            server.at_work -= 1
            server.busy += seconds
            if then is not None:
                then()
            if server.queue:
                server.queue.popleft()()
            self._go_on(call)

        if server.at_work < server.lines:
            begin()
        else:
            server.queue.append(begin)

    def _end(self, call: _Call) -> None:
        task, place = call.report.task, call.place
        place.slots[task.number].remove(call.slot)
        start = self.now if call.start is None else call.start
        row = task.number * 1000 + call.slot
        self._timeline.spans.append(Span(task.stage.name, start, self.now, len(task.parts), place.number, row))
        for ticket in place.board.finish(call.report):
            place.board.moved(ticket, place.board.step(ticket))
        self._settle(place)

    def _at(self, later: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + later, next(self._order), happen))
