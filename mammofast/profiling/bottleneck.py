"""From spans to words: which stage limits a pipeline, and what would raise the limit."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mammofast.profiling.overlap import CARD, Busy, apart, covered
from mammofast.profiling.statistics import summarize
from mammofast.screening.trace import LIST, RECORD, SEND, TASK
from mammofast.tracing import Span

# What a worker does when it is in none of the stages, but in a task: Python between them.
BETWEEN = "between stages"
# Above this part of the workers' time spent waiting for tasks, the workers are not the limit.
_IDLE = 0.15
_PYTHON = 0.2
_TRANSFER = 0.4
# What works at the same time as others is the limit only where it is hardly ever idle.
_BUSY = 0.7
# Stages that wait for bytes.
_READING = ("read", "read native")

# What would help, by stage.
_ADVICE = {
    "read": "faster or more local storage for the archive, or more workers to overlap reading",
    "read native": "faster or more local storage for the archive, or fewer candidates (a higher threshold)",
    "detect": "more cores, a faster backend (`--to openvino --precision bf16`), or fewer or smaller scales",
    "segment": "more cores, a faster backend (`--to openvino --precision bf16`), or a smaller segmenter",
    "prepare": "more cores: the contrast window and resampling are bound by them",
    "crop": "more cores: resampling and equalization are bound by them",
    "decode": "a higher confidence threshold, so that fewer boxes come out of the detector",
    "fuse": "fewer boxes: a higher confidence threshold",
    "paste": "fewer or smaller candidates",
    BETWEEN: "larger tasks: the time goes into Python between the stages",
}
_MORE = "more cores, or less work in this stage"
# What the program that hands out tasks does, and what would help.
_DRIVING = {
    LIST: ("looking up what to screen", "faster storage for the archive's records"),
    SEND: ("sending tasks", "more images a task"),
    RECORD: ("putting results on record", "a faster disk for the results: each one is synced"),
}


@dataclass(frozen=True, slots=True)
class Account:
    """How the time of one run, or of several, was spent.

    seconds: of the steady part, from the first task's start to the last one's end. images: that the tasks held.
    workers: how many processes had tasks, at most. stages: share of the workers' time, by stage, falling. idle: share
    that they spent between tasks, without one. unfilled: share before a worker's first task and after its last one.
    milliseconds: statistics of each stage's spans, and of the tasks. driver: share of the steady part, by what the
    program that hands out tasks did, of its threads that do so.
    busy: where stages work at the same time, in threads of their own: how busy each of what they share is, threads of a
    stage, the card, the program that hands out tasks; the one nearest to 1 limits. stages then has shares of the time
    of each stage's own threads. on_card: the stage that takes most of the card's time.
    """

    seconds: float
    images: int
    workers: int
    stages: dict[str, float]
    idle: float
    unfilled: float
    milliseconds: dict[str, dict[str, float | int]]
    driver: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    on_card: str | None = None

    @property
    def images_per_second(self) -> float:
        """The rate of the steady part."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that takes most of the workers' time; where stages overlap, what is busiest."""
        shares = self.busy or self.stages
        return max(shares, key=shares.__getitem__)

    @property
    def reading(self) -> float:
        """Share of the workers' time that goes into reading the archive."""
        return sum(self.stages.get(stage, 0.0) for stage in _READING)


def account(*runs: Sequence[Span]) -> Account:
    """Add up spans.

    Stages that run in a task's own thread do not overlap within one worker. Those in other threads, a pipeline's, do:
    a second of one is not taken from another, so that they are held against the time of their own threads.

    runs: the spans of one run each.

    Raises
    ------
    ValueError
        When there is a run without a task.

    """
    sums = _Sums()
    for spans in runs:
        sums.add(spans)
    return sums.account()


@dataclass(slots=True)
class _Sums:
    """Seconds of several runs. whole: the workers' time. between: the part of it that lies between tasks."""

    seconds: float = 0.0
    whole: float = 0.0
    between: float = 0.0
    images: int = 0
    workers: int = 0
    tasks: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    within: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    driver: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    in_tasks: float = 0.0
    overlapping: Busy = field(default_factory=Busy)

    def add(self, spans: Sequence[Span]) -> None:
        """Add a run."""
        tasks: dict[int, list[Span]] = defaultdict(list)
        for span in spans:
            if span.stage == TASK:
                tasks[span.process].append(span)
        if not tasks:
            raise ValueError("spans: got none of a task, expected at least one")
        start = min(task.start for own in tasks.values() for task in own)
        end = max(task.end for own in tasks.values() for task in own)
        self.seconds += end - start
        self.whole += (end - start) * len(tasks)
        self.workers = max(self.workers, len(tasks))
        for own in tasks.values():
            seconds = [task.seconds for task in own]
            self.tasks += seconds
            self.images += sum(task.items for task in own)
            at_work = max(task.end for task in own) - min(task.start for task in own)
            # Tasks of one process overlap where its pipeline is fed by several.
            in_tasks = covered((task.start, task.end) for task in own)
            self.in_tasks += in_tasks
            self.between += at_work - in_tasks
        threads: dict[str, set[tuple[int, int]]] = defaultdict(set)
        for span in spans:
            threads[span.stage].add((span.process, span.thread))
        for span in spans:
            if span.process not in tasks:
                # Several threads put results on record: as long as one of them has time, none is the limit.
                within = max(0.0, min(span.end, end) - max(span.start, start))
                self.driver[span.stage] += within / len(threads[span.stage])
            elif span.stage != TASK:
                self.stages[span.stage].append(span.seconds)
        for process, own in tasks.items():
            inside, outside = apart([span for span in spans if span.process == process], own)
            for span in inside:
                if span.stage != TASK:
                    self.within[span.stage] += span.seconds
            self.overlapping.add(outside, start, end)

    def account(self) -> Account:
        """Return the shares."""
        shares = {stage: seconds / self.whole for stage, seconds in self.within.items()}
        overlapping = self.overlapping.resources()
        # A task that waits for a pipeline's threads is not busy between stages.
        shares[BETWEEN] = 0.0 if overlapping else max(0.0, self.in_tasks / self.whole - sum(shares.values()))
        shares |= {name: share for name, share in self.overlapping.shares().items() if name != CARD}
        driver = {stage: value / self.seconds for stage, value in sorted(self.driver.items())}
        return Account(
            seconds=self.seconds,
            images=self.images,
            workers=self.workers,
            stages=dict(sorted(shares.items(), key=lambda item: -item[1])),
            idle=self.between / self.whole,
            unfilled=max(0.0, 1 - (self.in_tasks + self.between) / self.whole),
            milliseconds={
                TASK: summarize(self.tasks),
                **{stage: summarize(values) for stage, values in sorted(self.stages.items())},
            },
            driver=driver,
            busy=overlapping | {stage: driver[stage] for stage in _DRIVING if stage in driver} if overlapping else {},
            on_card=self.overlapping.largest_on_card,
        )


def verdict(found: Account, cpu_share: float) -> str:
    """Say what limits and what would raise it.

    cpu_share: CPU seconds of the workers' tasks over their time; well below 1 means waiting.
    """
    if found.busy:
        return _busiest(found)
    if found.idle > _IDLE:
        return _waiting(found)
    stage = found.bottleneck
    share = found.stages[stage]
    words = f"The limit is {stage!r}: {share:.0%} of the workers' time. It would go faster with "
    words += f"{_ADVICE.get(stage, _MORE)}."
    if cpu_share < 0.7:
        words += f" The workers' cores are busy {cpu_share:.0%} of the time only: they wait, for the disk or for cores."
    if stage != BETWEEN and found.stages[BETWEEN] > _PYTHON:
        words += f" Another {found.stages[BETWEEN]:.0%} goes into Python between the stages."
    if found.unfilled > _IDLE:
        words += (
            f" In {found.unfilled:.0%} of their time workers had nothing to do yet, or no more: too few images for a "
            "long run's rate."
        )
    return words


def _busiest(found: Account) -> str:
    """Say what limits stages that work at the same time."""
    name = found.bottleneck
    share = found.busy[name]
    if share < _BUSY:
        return (
            f"Nothing is busy all the time, {name!r} is most, {share:.0%} of it: images wait for one another. It would "
            "go faster with more images a task, or more tasks at a time."
        )
    if name == CARD:
        return (
            f"The limit is the card: a call is at work on it {share:.0%} of the time, mostly {found.on_card!r}. It "
            f"would go faster with a lower precision, fewer or smaller inputs of {found.on_card!r}, or another card."
        )
    if name in _DRIVING:
        does, helps = _DRIVING[name]
        return f"The limit is {does}: {share:.0%} of the time. It would go faster with {helps}."
    return (
        f"The limit is {name!r}: its threads are busy {share:.0%} of the time. It would go faster with "
        f"{_ADVICE.get(name, _MORE)}."
    )


def _waiting(found: Account) -> str:
    words = f"The workers wait: {found.idle:.0%} of their time between tasks. Whoever hands out tasks is the limit"
    known: Mapping[str, float] = {stage: share for stage, share in found.driver.items() if stage in _DRIVING}
    stage = max(known, key=known.__getitem__, default=None)
    if stage is not None and known[stage] > _IDLE:
        does, helps = _DRIVING[stage]
        return f"{words}: {known[stage]:.0%} of its time goes into {does}. It would go faster with {helps}."
    return f"{words}: give each task more images, or start fewer workers."


def bounds(found: Account) -> tuple[str, ...]:
    """Return in words what a reader of the rate must know: that it is the storage's, or Python's."""
    words = []
    if found.busy:
        return () if found.bottleneck not in _READING else ("transfer-bound: readers' threads are the busiest",)
    if found.reading > _TRANSFER:
        words.append(f"transfer-bound: {found.reading:.0%} of the workers' time goes into reading the archive")
    if found.stages[BETWEEN] > _PYTHON:
        words.append(f"Python-bound: {found.stages[BETWEEN]:.0%} of the workers' time lies between the stages")
    return tuple(words)
