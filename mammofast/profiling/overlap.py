"""How busy stages are that work at the same time: the threads of each, and the card that several of them share."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mammofast.tracing import Span

CARD = "the card"
# Stages of a pipeline that are calls on a card (mammofast.methods.*_device).
_ON_CARD = frozenset({"prepare", "detect", "segment", "find"})
_Thread = tuple[int, int]


@dataclass(slots=True)
class Busy:
    """Seconds that stages were at work in threads of their own, and the seconds that these threads had.

    Calls on a card overlap, since one copies while another computes: it is busy while there is at least one.
    """

    busy: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    there: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    on_card: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, spans: Iterable[Span], start: float, end: float) -> None:
        """Add one process's spans of such threads, as far as they lie between start and end."""
        threads: dict[str, set[_Thread]] = defaultdict(set)
        inside = [span for span in outermost(spans) if span.end > start and span.start < end]
        for span in inside:
            threads[span.stage].add((span.process, span.thread))
            self.busy[span.stage] += min(span.end, end) - max(span.start, start)
        for stage, own in threads.items():
            self.there[stage] += len(own) * (end - start)
        on_card = [span for span in inside if span.stage in _ON_CARD]
        for span in on_card:
            self.on_card[span.stage] += span.seconds
        if on_card:
            self.busy[CARD] += covered((max(span.start, start), min(span.end, end)) for span in on_card)
            self.there[CARD] += end - start

    def shares(self) -> dict[str, float]:
        """Return how busy each stage's threads are, and the card, from 0 to 1."""
        return {name: seconds / self.there[name] for name, seconds in self.busy.items()}

    def resources(self) -> dict[str, float]:
        """Return the same of what can be the limit: threads that wait for a card are none."""
        return {name: share for name, share in self.shares().items() if name not in _ON_CARD}

    @property
    def largest_on_card(self) -> str | None:
        """The stage that takes most of the card's time."""
        return max(self.on_card, key=self.on_card.__getitem__, default=None)


def outermost(spans: Iterable[Span]) -> list[Span]:
    """Return the spans that lie inside no other one of their thread."""
    threads: dict[_Thread, list[Span]] = defaultdict(list)
    for span in spans:
        threads[span.process, span.thread].append(span)
    found = []
    for own in threads.values():
        last = float("-inf")
        for span in sorted(own, key=lambda each: (each.start, -each.end)):
            if span.end > last or span.start >= last:
                found.append(span)
                last = span.end
    return found


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds lie in at least one of the intervals."""
    total, last = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total


def apart(spans: Sequence[Span], tasks: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Return spans of the tasks' own threads, and those of other threads, which work while tasks wait for them."""
    own = {(task.process, task.thread) for task in tasks}
    inside = [span for span in spans if (span.process, span.thread) in own]
    return inside, [span for span in spans if (span.process, span.thread) not in own]
