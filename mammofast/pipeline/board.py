"""Which image is where, and what may be worked on next: a pipeline's scheduling, without threads and without a clock.

Whoever drives it (threads in :mod:`mammofast.pipeline.flow`, one thread in :mod:`mammofast.pipeline.serial`, virtual
time in :mod:`mammofast.pipeline.virtual`) asks for tasks, runs them, and reports. No two calls may meet, so threads
share a lock. What stages do themselves (``work``, ``split``, ``join``) is in :meth:`Task.run` and :meth:`Board.step`,
which need no lock.

Rules
-----
- An image is in one stage at a time. A stage holds ``room`` images; one that is done there stays until the next stage
  has room, and so on back to the first: nothing is queued without bound. It enters once all its holds could be taken.
- A batch starts when it is full; short of that, only when no image could come to fill it before this stage, or one
  after it, does something: the stages before have nothing that they could do, or this one is full and idle.
- An error stays with its image. Where it is not known whose it is, or may have passed by now, the unit is worked on
  once more, alone; on a device, with no other call at the same time. Then its image fails; the others go on.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mammofast import tracing
from mammofast.errors import BrokenImage, Reason
from mammofast.pipeline.faults import Fault, in_words
from mammofast.pipeline.memory import Hold, Lease
from mammofast.pipeline.stage import Stage
from mammofast.pipeline.tickets import Outcome, Part, Report, Run, Step, Task, Ticket

INSIDE = "images in the pipeline"


@dataclass(slots=True, eq=False)
class _State:
    """What is in a stage. inside: images. waiting: units by key, each with its arrival. outbox: images done here."""

    inside: int = 0
    calls: int = 0
    joining: int = 0
    waiting: dict[Hashable, deque[tuple[int, Part]]] = field(default_factory=dict)
    retries: deque[Part] = field(default_factory=deque)
    outbox: list[Ticket] = field(default_factory=list)

    @property
    def is_active(self) -> bool:
        return bool(self.waiting or self.retries or self.calls or self.joining)

    @property
    def depth(self) -> int:
        return sum(map(len, self.waiting.values())) + len(self.retries)


def _image(image: Any, held: Sequence[Any]) -> Any:
    return image


class Board:
    """The state of a pipeline.

    stages: in the order an image passes them; the first one takes images whole. holds: what an image takes before it
    enters. enter: makes the first stage's item of an image and what it holds, in the holds' order; quick, and it
    raises nothing. sample: told what counts have become.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        holds: Sequence[Hold] = (),
        enter: Callable[[Any, Sequence[Any]], Any] = _image,
        sample: Callable[[str, float], None] = tracing.sample,
    ) -> None:
        self.stages = tuple(stages)
        names = [stage.name for stage in stages]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"stages: got {names}, expected at least one, each with a name of its own")
        if unknown := {hold.until for hold in holds} - {None, *names}:
            raise ValueError(f"holds: until {sorted(map(str, unknown))}, expected one of the stages {names}")
        self._holds = [(hold, len(names) if hold.until is None else names.index(hold.until)) for hold in holds]
        self._enter = enter
        self._sample = sample
        self._states = [_State() for _ in stages]
        self._runs: list[Run] = []
        self._offered: deque[Ticket] = deque()
        self._tickets: set[Ticket] = set()
        self._arrivals = 0
        # Calls of stages on the device; whether one of them is a second try, which runs with no other.
        self._device_calls = 0
        self._device_alone = False

    # Images come and go.

    def open(self) -> Run:
        """Begin to ask for images."""
        run = Run()
        self._runs.append(run)
        return run

    def ticket(self, run: Run, index: int, image: Any) -> Ticket:
        """Ask how much an image needs; without the lock, since ``amount`` is the caller's code."""
        ticket = Ticket(run, index, image)
        try:
            ticket.amounts = tuple(hold.amount(image) for hold, _ in self._holds)
            if any(amount < 0 for amount in ticket.amounts):
                raise ValueError(f"amount: got {ticket.amounts}, expected 0 or more")
        except Exception as error:
            ticket.error = in_words(error, INSIDE)
        return ticket

    def offer(self, ticket: Ticket) -> None:
        """Let an image enter, now or as soon as there is room; a run offers one at a time."""
        run = ticket.run
        run.left += 1
        for (hold, _), amount in zip(self._holds, ticket.amounts, strict=False):
            if ticket.error is None and not hold.supply.suffices(amount):
                words = f"the image needs more {hold.supply.name} than there is: {amount}"
                ticket.error = str(BrokenImage(Reason.TOO_LARGE, words))
        if ticket.is_dead:
            self._out(ticket)
            return
        run.offered = ticket
        self._offered.append(ticket)
        self._move()

    def close(self, run: Run) -> None:
        """Forget a run; what it has on its way is dropped, once nobody works on it."""
        run.cancelled = True
        if run.offered is not None:
            self._offered.remove(run.offered)
            run.offered = None
        for ticket in [ticket for ticket in self._tickets if ticket.run is run]:
            self._drop(ticket)
        self._runs.remove(run)
        self._move()

    @property
    def is_empty(self) -> bool:
        """Whether no image is inside and none waits to enter."""
        return not self._tickets and not self._offered

    # Work is handed out and reported.

    def can_start(self, number: int) -> bool:
        """Whether a stage has work for one more worker."""
        return self._choose(number) is not None

    def task(self, number: int) -> Task | None:
        """Hand out a stage's next task; None where there is none now."""
        chosen = self._choose(number)
        if chosen is None:
            return None
        stage, state = self.stages[number], self._states[number]
        if alone := chosen is state.retries:
            parts = [state.retries.popleft()]
            self._device_alone = stage.device
        else:
            (key,) = (key for key, queue in state.waiting.items() if queue is chosen)
            parts = [state.waiting[key].popleft()[1] for _ in range(min(stage.batch, len(chosen)))]
            if not state.waiting[key]:
                del state.waiting[key]
        for ticket, _ in parts:
            ticket.in_work += 1
        state.calls += 1
        self._device_calls += stage.device
        self._sample(f"waiting for {stage.name}", state.depth)
        return Task(stage, number, tuple(parts), alone)

    def finish(self, report: Report) -> list[Ticket]:
        """Take a report; return the images that are done in this stage and want a :meth:`step`."""
        task = report.task
        state = self._states[task.number]
        state.calls -= 1
        if task.stage.device:
            self._device_calls -= 1
            self._device_alone = False
        done = []
        for (ticket, i), outcome in zip(task.parts, report.outcomes, strict=True):
            ticket.in_work -= 1
            if ticket.is_dead:
                self._drop(ticket)
            elif not isinstance(outcome, Fault):
                ticket.outcomes[i] = outcome
                ticket.left -= 1
                if ticket.left == 0:
                    ticket.joining = True
                    state.joining += 1
                    done.append(ticket)
            elif task.alone or (report.whose and not outcome.may_pass):
                ticket.error = outcome.words
                self._drop(ticket)
            else:
                state.retries.append((ticket, i))
        self._move()
        return done

    def step(self, ticket: Ticket) -> Step:
        """Find out where an image goes next; without the lock, since ``join`` and ``split`` are the stages' code."""
        stage = self.stages[ticket.stage]
        try:
            item = stage.join(ticket.item, ticket.outcomes)
            for number, stage in enumerate(self.stages[ticket.stage + 1 :], ticket.stage + 1):
                if units := list(stage.split(item)):
                    return Step(number, item, units, [stage.key(unit) for unit in units])
                item = stage.join(item, [])
        except Exception as error:
            return Step(ticket.stage, error=in_words(error, stage.name))
        return Step(len(self.stages), item)

    def moved(self, ticket: Ticket, step: Step) -> None:
        """Bring an image where its step says, now or as soon as there is room."""
        state = self._states[ticket.stage]
        ticket.joining = False
        state.joining -= 1
        ticket.error = step.error
        if ticket.is_dead:
            self._drop(ticket)
        else:
            ticket.item, ticket.units, ticket.keys, ticket.target = step.item, step.units, step.keys, step.stage
            ticket.outcomes = []  # what they hold may be a device's memory
            for lease, _ in (held for held in ticket.leases if held[1] < step.stage):
                lease.give_back()
            ticket.leases = [held for held in ticket.leases if held[1] >= step.stage]
            state.outbox.append(ticket)
        self._move()

    # What follows from the rules.

    def _choose(self, number: int) -> deque[Any] | None:
        """Return the queue that a stage's next task is taken from."""
        stage, state = self.stages[number], self._states[number]
        if state.calls >= stage.workers or (self._device_alone and stage.device):
            return None
        if stage.device and any(self._states[i].retries for i in self._on_device()):
            return state.retries if state.retries and not self._device_calls else None
        if state.retries:
            return state.retries
        queues = [queue for queue in state.waiting.values() if len(queue) >= stage.batch]
        if not queues and state.waiting and self._is_all(number):
            queues = list(state.waiting.values())
        return min(queues, key=lambda queue: queue[0][0], default=None)

    def _on_device(self) -> Iterator[int]:
        return (i for i, stage in enumerate(self.stages) if stage.device)

    def _is_all(self, number: int) -> bool:
        """Whether nothing comes to a stage until it, or one after it, does something."""
        state = self._states[number]
        if state.inside >= self.stages[number].room:
            # With the call at work images will leave, and others come.
            return not state.calls and not state.joining
        # A run whose image waits to enter does not count: if it could, it would be in.
        return not any(run.is_feeding for run in self._runs) and not any(s.is_active for s in self._states[:number])

    def _move(self) -> None:
        """Bring images on while there is room, the last ones first, so that others can follow."""
        for state in reversed(self._states):
            for ticket in list(state.outbox):
                assert ticket.target is not None
                if ticket.target == len(self.stages):
                    state.outbox.remove(ticket)
                    self._out(ticket)
                elif self._states[ticket.target].inside < self.stages[ticket.target].room:
                    state.outbox.remove(ticket)
                    state.inside -= 1
                    self._put(ticket, ticket.target)
        while self._offered and self._admit(self._offered[0]):
            self._offered.popleft()

    def _admit(self, ticket: Ticket) -> bool:
        """Let an image in if there is room and all that it needs; the next one waits for it, however small."""
        if self._states[0].inside >= self.stages[0].room:
            return False
        leases: list[tuple[Lease, int]] = []
        for (hold, until), amount in zip(self._holds, ticket.amounts, strict=True):
            lease = hold.supply.take(amount)
            if lease is None:
                for taken, _ in leases:
                    taken.give_back()
                return False
            leases.append((lease, until))
        ticket.leases = leases
        ticket.item = self._enter(ticket.item, [lease.value for lease, _ in leases])
        ticket.units, ticket.keys = (ticket.item,), (None,)
        ticket.run.offered = None
        self._tickets.add(ticket)
        self._put(ticket, 0)
        self._sample_holds()
        return True

    def _put(self, ticket: Ticket, number: int) -> None:
        """Place an image in a stage, its units in the stage's queues."""
        state = self._states[number]
        ticket.stage, ticket.target = number, None
        ticket.left, ticket.outcomes = len(ticket.units), [None] * len(ticket.units)
        state.inside += 1
        for i, key in enumerate(ticket.keys):
            self._arrivals += 1
            state.waiting.setdefault(key, deque()).append((self._arrivals, (ticket, i)))
        self._sample(f"waiting for {self.stages[number].name}", state.depth)

    def _drop(self, ticket: Ticket) -> None:
        """Take a dead image out: its waiting units now, itself once nobody works on it."""
        state = self._states[ticket.stage]
        for key in set(ticket.keys) & set(state.waiting):
            kept = deque(entry for entry in state.waiting[key] if entry[1][0] is not ticket)
            if kept:
                state.waiting[key] = kept
            else:
                del state.waiting[key]
        state.retries = deque(part for part in state.retries if part[0] is not ticket)
        if ticket in state.outbox:
            state.outbox.remove(ticket)
        if not ticket.in_work and not ticket.joining and ticket in self._tickets:
            self._out(ticket)

    def _out(self, ticket: Ticket) -> None:
        """Let an image go, with its outcome."""
        run = ticket.run
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            self._states[ticket.stage].inside -= 1
        for lease, _ in ticket.leases:
            lease.give_back()
        ticket.leases = []
        run.left -= 1
        if not run.cancelled:
            item = None if ticket.error is not None else ticket.item
            run.outcomes.append(Outcome(ticket.index, item, ticket.error))
        self._sample_holds()

    def _sample_holds(self) -> None:
        self._sample(INSIDE, len(self._tickets))
        for hold, _ in self._holds:
            self._sample(hold.supply.name, hold.supply.taken)
