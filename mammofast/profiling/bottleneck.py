"""From spans to words: which stage limits a pipeline, and what would raise the limit."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mammofast.profiling.statistics import summarize
from mammofast.tracing import Span

TASK = "task"
# What a worker does when it is in none of the stages, but in a task: Python between them.
BETWEEN = "between stages"
# Above this part of the workers' time spent waiting for tasks, the workers are not the limit.
_IDLE = 0.15
_PYTHON = 0.2

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


@dataclass(frozen=True, slots=True)
class Account:
    """How a run's time was spent.

    seconds: of the steady part, from the first task's start to the last one's end. images: that the tasks held.
    workers: how many processes had tasks. stages: share of the workers' time, by stage, falling; ``idle``: the rest,
    spent without a task. milliseconds: statistics of each stage's spans.
    """

    seconds: float
    images: int
    workers: int
    stages: dict[str, float]
    idle: float
    milliseconds: dict[str, dict[str, float | int]]

    @property
    def images_per_second(self) -> float:
        """The rate of the steady part."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that takes most of the workers' time."""
        return max(self.stages, key=self.stages.__getitem__)


def account(spans: Sequence[Span]) -> Account:
    """Add up spans; stages lie inside tasks and do not overlap within one worker.

    Raises
    ------
    ValueError
        When there is no task among them.

    """
    tasks = [span for span in spans if span.stage == TASK]
    if not tasks:
        raise ValueError("spans: got none of a task, expected at least one")
    start, end = min(task.start for task in tasks), max(task.end for task in tasks)
    workers = {task.process for task in tasks}
    whole = (end - start) * len(workers)
    by_stage: dict[str, list[float]] = defaultdict(list)
    for span in spans:
        if span.stage != TASK and span.process in workers:
            by_stage[span.stage].append(span.seconds)
    busy = sum(task.seconds for task in tasks)
    in_stages = sum(sum(seconds) for seconds in by_stage.values())
    shares = {stage: sum(seconds) / whole for stage, seconds in by_stage.items()}
    shares[BETWEEN] = max(0.0, busy - in_stages) / whole
    return Account(
        seconds=end - start,
        images=sum(task.items for task in tasks),
        workers=len(workers),
        stages=dict(sorted(shares.items(), key=lambda item: -item[1])),
        idle=max(0.0, 1 - busy / whole),
        milliseconds={stage: summarize(seconds) for stage, seconds in sorted(by_stage.items())},
    )


def verdict(found: Account, cpu_share: float) -> str:
    """Say what limits and what would raise it.

    cpu_share: CPU seconds of the workers over their time; well below 1 in the limiting stage means waiting.
    """
    if found.idle > _IDLE:
        return (
            f"The workers wait: {found.idle:.0%} of their time they have no task. Whoever hands out tasks is the "
            "limit: give each task more images, or start fewer workers."
        )
    stage = found.bottleneck
    share = found.stages[stage]
    words = f"The limit is {stage!r}: {share:.0%} of the workers' time. It would go faster with "
    words += f"{_ADVICE.get(stage, _MORE)}."
    if cpu_share < 0.7:
        words += f" The workers' cores are busy {cpu_share:.0%} of the time only: they wait, for the disk or for cores."
    if stage != BETWEEN and found.stages[BETWEEN] > _PYTHON:
        words += f" Another {found.stages[BETWEEN]:.0%} goes into Python between the stages."
    return words
