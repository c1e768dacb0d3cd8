"""``mammofast bench pipeline``: an archive screened as ``mammofast screen`` does it, and where the time went."""

import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mammofast import tracing
from mammofast.archive import ingest, open_archive
from mammofast.bundles import load_bundle
from mammofast.errors import ProfilingError
from mammofast.machine import cores
from mammofast.methods.screener import open_bundle
from mammofast.phantom import write_studies
from mammofast.profiling.bottleneck import Account, account, bounds, verdict
from mammofast.profiling.doubts import doubts
from mammofast.profiling.gpu import watched_gpus
from mammofast.profiling.record import Case, Interrupted
from mammofast.profiling.sampling import Effort
from mammofast.profiling.timeline import window
from mammofast.screening import ScreenReport, open_results, screen
from mammofast.screening.trace import IN_FLIGHT, TASK, Task, Trace, read_trace
from mammofast.screening.worker import OpenScreener

PACKAGES = ("dask", "distributed", "numpy", "onnxruntime", "openvino", "tensorrt", "tensorstore")
NOTES = (
    "Rates: from the first task's start to the last one's end; starting workers and loading networks is not in it.",
    "A sample is a task's time for an image, freed of what images differ in; a stage's times are as they were.",
    "Results go to the system's folder for temporary files and are synced there as those of a night are.",
    "Bytes read: by workers, of the archive's files, as tensorstore counts them.",
    "Memory: peaks of resident pages, those that processes share counted in each.",
)
SERIES = "an image"
ROUNDS = 3
# No study that is written shares a random stream with the phantoms of training, whatever the seed.
_SEED = 20_000
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Round:
    """One run of ``screen``.

    own_seconds, workers: its steady seconds and how many workers it had, as it keeps them beside the results.
    card_memory: who has what of each card, as :class:`mammofast.methods.admission.CardMemory` has it.
    """

    trace: Trace
    report: ScreenReport
    own_seconds: float
    workers: int
    gpu: dict[str, float] | None
    card_memory: list[dict[str, Any]]

    @property
    def start(self) -> float:
        """When the first task began."""
        return min(task.start for task in self._tasks)

    @property
    def end(self) -> float:
        """When the last task ended."""
        return max(task.end for task in self._tasks)

    @property
    def images(self) -> int:
        """How many images the tasks held."""
        return sum(task.items for task in self._tasks)

    @property
    def images_per_second(self) -> float:
        """From the first task's start to the last one's end."""
        return self.images / (self.end - self.start)

    @property
    def _tasks(self) -> list[tracing.Span]:
        return [span for span in self.trace.spans if span.stage == TASK]


@contextmanager
def phantom_archive(studies: int, progress: Progress = lambda n: None) -> Iterator[tuple[Path, float]]:
    """Make an archive of phantoms, kept while the block runs; yield it and the seconds that it took.

    progress: called with the number of images just written, and again with those ingested.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mammofast-") as folder:
        out = Path(folder)
        write_studies(out, studies=studies, seed=_SEED, progress=progress)
        ingest([out / "dicom"], out / "archive.zarr", progress=progress)
        yield out / "archive.zarr", time.monotonic() - start


def pipeline_case(
    archive: Path,
    what: str,
    effort: Effort,
    *,
    bundle: str | Path = "demo",
    workers: int | None = None,
    rounds: int = ROUNDS,
    images_per_task: int | None = None,
    trace: Path | None = None,
    opener: OpenScreener = open_bundle,
    progress: Callable[[int, int], None] = lambda n, total: None,
) -> Case:
    """Screen an archive several times, each into a new folder.

    Parameters
    ----------
    archive, bundle, workers, opener: as :func:`mammofast.screening.screen` takes them.
    what: the archive's name in the case's.
    effort: rounds go on until their steady parts add up to ``effort.seconds``; with a warm-up above 0 the first one is
        not counted, so that no other starts with files that were never read.
    rounds: how many at least. images_per_task: as ``screen`` takes it.
    trace: where to write the last round for Perfetto. progress: called after each round with 1
        and how many there will be, as far as known.

    Raises
    ------
    ProfilingError
        When no image of the archive is one that the bundle screens.
    Interrupted
        When somebody presses Ctrl-C after a round: with the case of the rounds that are done.

    """
    done: list[Round] = []
    warm = 0
    if effort.warm_up:
        _round(archive, bundle, workers, images_per_task, opener)
        warm = 1
        progress(1, rounds + warm)
    interrupted = False
    while not interrupted and len(done) < _wanted(done, rounds, effort.seconds):
        try:
            done.append(_round(archive, bundle, workers, images_per_task, opener))
        except KeyboardInterrupt:
            if not done:
                raise
            interrupted = True
        progress(1, max(_wanted(done, rounds, effort.seconds), len(done)) + warm)
    if trace is not None:
        _write_chrome(done[-1].trace, trace)
    workers = done[-1].workers
    found = account(*(each.trace.spans for each in done))
    samples = alike([each.trace.tasks for each in done])
    rate = statistics.median(each.images_per_second for each in done)
    in_study = _images_in_study(archive)
    name = load_bundle(bundle).name
    facts = {
        "bundle": name,
        "workers": workers,
        "rounds": len(done),
        "images": done[-1].images,
        "images_per_s": rate,
        "studies_per_h": 3600 * rate / in_study,
        "images_per_s_of_each_round": [each.images_per_second for each in done],
        "images_per_s_by_screen_itself": statistics.median(each.images / each.own_seconds for each in done),
        "bytes_read_per_image": sum(task.bytes_read for each in done for task in each.trace.tasks) / found.images,
        "stages": {**found.stages, "between tasks": found.idle, "before and after": found.unfilled},
        "milliseconds": found.milliseconds,
        "driver": found.driver,
        "busy": found.busy,
        "timeline": window(done[-1].trace.spans, _names(done[-1].trace)),
        "queues": _queues(done),
        "cpu": _cpu(done, found),
        "memory": _memory(done),
        "gpu": _gpu(done),
        "card_memory": done[-1].card_memory,
        "verdict": verdict(found, _cpu_of_tasks(done)),
    }
    case = Case(
        name=f"screening {what}, bundle {name}, {workers} workers",
        reason="what a night with this archive would do, and what limits it",
        samples={SERIES: samples},
        ours=SERIES,
        unit="images of a worker",
        facts=facts,
        warnings=(*doubts(samples, found.seconds, workers), *bounds(found), *_failures(done), *_fewer(found, workers)),
    )
    if interrupted:
        raise Interrupted(case)
    return case


def _wanted(done: Sequence[Round], rounds: int, seconds: float) -> int:
    """Return how many rounds it takes until their steady parts add up to the seconds."""
    steady = sum(found.end - found.start for found in done)
    return max(rounds, math.ceil(len(done) * seconds / steady)) if done else rounds


def _round(
    archive: Path, bundle: str | Path, workers: int | None, images_per_task: int | None, opener: OpenScreener
) -> Round:
    with tempfile.TemporaryDirectory(prefix="mammofast-") as scratch, watched_gpus() as gpus:
        folder = Path(scratch)
        report = screen(
            archive,
            folder / "results",
            bundle,
            workers=workers,
            images_per_task=images_per_task,
            opener=opener,
            trace=folder / "trace",
        )
        trace = read_trace(folder / "trace")
        if not trace.tasks:
            raise ProfilingError("bench pipeline: got an archive without an image that the bundle screens")
        (run,) = open_results(folder / "results").runs()
        start, end = trace.tasks[0].before.time, max(task.after.time for task in trace.tasks)
        timing = run["timings"][-1]
        memory = timing.get("card_memory", [])
        return Round(trace, report, timing["steady_seconds"], timing["workers"], gpus.between(start, end), memory)


def alike(rounds: Sequence[Sequence[Task]]) -> list[float]:
    """Return seconds an image of every task, round by round, freed of what images differ in.

    Images take different times, and always the same ones: a task's time is divided by the mean of the same task in all
    rounds, and multiplied by that of all tasks. What is left is how the machine's speed varied. The mean is of the
    samples themselves, which draws them together; they are spread again as that many independent samples would be.
    Of a single round, or where tasks did not stay the same, the times are given as they are.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for tasks in rounds:
        for task in tasks:
            times[task.first_image].append(task.seconds / task.images)
    several = len(rounds)
    if several < 2 or any(len(values) != several for values in times.values()):
        return [task.seconds / task.images for tasks in rounds for task in tasks]
    means = {image: statistics.fmean(values) for image, values in times.items()}
    mean = statistics.fmean(means.values())
    spread = (several / (several - 1)) ** 0.5
    deviations = (
        task.seconds / task.images / means[task.first_image] - 1 for number in range(several) for task in rounds[number]
    )
    # A time stays above 0, however far from the mean.
    return [mean * max(1 + spread * deviation, 0.01) for deviation in deviations]


def _images_in_study(archive: Path) -> float:
    studies = [image.record.study_uid for image in open_archive(archive).images()]
    return len(studies) / len(set(studies))


def _queues(done: Sequence[Round]) -> dict[str, dict[str, float]]:
    """Return mean and p90 over time of tasks in flight, of those not begun, and of those not recorded."""
    depths: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in done:
        sent: list[float] = []
        recorded: list[float] = []
        before = 0.0
        in_flight = [sample for sample in each.trace.samples if sample.name == IN_FLIGHT]
        for sample in in_flight:
            (sent if sample.value > before else recorded).append(sample.time)
            before = sample.value
        begun = [task.before.time for task in each.trace.tasks]
        ended = [task.after.time for task in each.trace.tasks]
        for name, more, less in (
            ("in flight", sent, recorded),
            ("waiting for a worker", sent, begun),
            ("waiting to be recorded", ended, recorded),
        ):
            depths[name] += _depths(more, less, each.start, each.end)
    return {name: _over_time(values) for name, values in depths.items()}


def _depths(more: Sequence[float], less: Sequence[float], start: float, end: float) -> list[tuple[float, float]]:
    """Return (depth, seconds) between the times at which a queue grew and shrank by one."""
    changes = sorted([(at, 1) for at in more] + [(at, -1) for at in less])
    edges = [start, *(min(max(at, start), end) for at, _ in changes), end]
    depth, depths = 0, []
    for (a, b), change in zip(pairwise(edges), [*(change for _, change in changes), 0], strict=True):
        # Clocks are read a little after what they stand for: one may seem to begin before it was sent.
        depths.append((float(max(depth, 0)), b - a))
        depth += change
    return depths


def _over_time(depths: Sequence[tuple[float, float]]) -> dict[str, float]:
    whole = sum(seconds for _, seconds in depths)
    passed, p90 = 0.0, 0.0
    for depth, seconds in sorted(depths):
        passed += seconds
        p90 = depth
        if passed >= 0.9 * whole:
            break
    return {"mean": sum(depth * seconds for depth, seconds in depths) / whole, "p90": p90}


def _cpu(done: Sequence[Round], found: Account) -> dict[str, float]:
    """Return shares: of all cores by all processes, of the workers' time in tasks, of one core by the driver."""
    workers = sum(
        max(task.after.cpu for task in tasks) - min(task.before.cpu for task in tasks)
        for each in done
        for tasks in _by_process(each).values()
    )
    driver = sum(after.cpu - before.cpu for before, after in _driver_usages(done))
    return {
        "share_of_cores": (workers + driver) / found.seconds / cores(),
        "share_of_tasks": _cpu_of_tasks(done),
        "driver_cores": driver / found.seconds,
    }


def _cpu_of_tasks(done: Sequence[Round]) -> float:
    tasks = [task for each in done for task in each.trace.tasks]
    return sum(task.cpu for task in tasks) / sum(task.seconds for task in tasks)


def _memory(done: Sequence[Round]) -> dict[str, float]:
    """Return peaks in MiB; pages that processes share count in each of them."""
    peaks = [[max(task.after.peak_bytes for task in tasks) for tasks in _by_process(each).values()] for each in done]
    return {
        "worker_mib": max(max(values) for values in peaks) / 2**20,
        "all_workers_mib": max(sum(values) for values in peaks) / 2**20,
        "driver_mib": max(after.peak_bytes for _, after in _driver_usages(done)) / 2**20,
    }


def _gpu(done: Sequence[Round]) -> dict[str, float] | None:
    seen = [each.gpu for each in done if each.gpu is not None]
    if not seen:
        return None
    return {
        "share_busy": statistics.fmean(gpu["share_busy"] for gpu in seen),
        "memory_mib": max(gpu["memory_mib"] for gpu in seen),
    }


def _by_process(each: Round) -> dict[int, list[Task]]:
    tasks: dict[int, list[Task]] = defaultdict(list)
    for task in each.trace.tasks:
        tasks[task.process].append(task)
    return tasks


def _driver_usages(done: Sequence[Round]) -> list[Any]:
    return [each.trace.driver_usage for each in done if each.trace.driver_usage is not None]


def _failures(done: Sequence[Round]) -> tuple[str, ...]:
    failed = done[-1].images - done[-1].report.done
    return (f"{failed} images failed: their time is in it",) if failed > 0 else ()


def _fewer(found: Account, workers: int) -> tuple[str, ...]:
    if found.workers >= workers:
        return ()
    return (f"{found.workers} of {workers} workers got a task: too few images for so many workers",)


def _names(trace: Trace) -> dict[int, str]:
    """Return what a run's processes are called."""
    names = {process: f"worker {number}" for number, process in enumerate(sorted({t.process for t in trace.tasks}), 1)}
    if trace.driver is not None:
        names[trace.driver] = "mammofast screen"
    return names


def _write_chrome(trace: Trace, path: Path) -> None:
    tracing.write_chrome_trace(trace.spans, path, trace.samples, _names(trace))
