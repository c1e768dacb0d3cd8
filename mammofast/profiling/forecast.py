"""``mammofast bench pipeline --simulate``: how fast P4's pipeline would be on a card that is not here, and why."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from mammofast.pipeline.model import CARDS, Assumptions, Forecast, forecast
from mammofast.pipeline.rehearsal import rehearse
from mammofast.pipeline.virtual import Timeline
from mammofast.profiling.record import Case
from mammofast.screening.job import RECORDERS
from mammofast.screening.run import CARD_IMAGES_PER_TASK
from mammofast.tracing import write_chrome_trace

GPUS = (1, 8, 64)
SHARES = (0.21, 0.5)
# How far the rehearsal may stay behind the sums before somebody should ask why.
BOUND = 0.05
NOTES = (
    "A forecast: nothing ran on a GPU. Which resource allows how many images a second is added up from stated costs; "
    "the rate beside it is that of the real scheduling in virtual time, with the same costs.",
    "The first and the last quarter of the images are left out: filling and emptying the pipeline is not in it.",
    "Of more GPUs than a machine has, one machine is played, with its part of what all share.",
)
SERIES = "an image"
_IMAGES = 240
_WINDOWS = 8


def forecast_cases(card: str, trace: Path | None = None) -> Iterator[Case]:
    """Yield a case for each share of the card's ceiling and each number of GPUs.

    card: one of :data:`mammofast.pipeline.model.CARDS`. trace: where to write the first one for Perfetto.
    """
    for share, gpus in product(SHARES, GPUS):
        assumptions = Assumptions(CARDS[card], share=share, recorders=RECORDERS, images_per_task=CARD_IMAGES_PER_TASK)
        timeline = rehearse(assumptions, gpus, _IMAGES)
        if trace is not None:
            write_chrome_trace(timeline.spans, trace, timeline.samples, {0: f"{CARDS[card].name}, simulated"})
            trace = None
        yield _case(forecast(assumptions, gpus), timeline)


def _case(found: Forecast, timeline: Timeline) -> Case:
    a = found.assumptions
    machines = max(1.0, found.gpus / a.gpus_a_machine)
    rate = timeline.images_per_second() * machines
    reached = rate / found.images_per_second
    return Case(
        name=f"P4 on {found.gpus} × {a.card.name}, {a.share:.0%} of its ceiling",
        reason="which part of the pipeline limits it, and how many cores a GPU needs",
        samples={SERIES: [seconds / machines for seconds in _seconds(timeline)]},
        ours=SERIES,
        unit="images",
        facts={
            "forecast": True,
            "gpus": found.gpus,
            "share": a.share,
            "images_per_s": found.images_per_second,
            "images_per_s_in_virtual_time": rate,
            "limit": found.limit,
            "stage": found.stage,
            "images_per_s_by_resource": dict(found.allows),
            "used": found.used,
            "cores_a_gpu_needs": found.cores_needed,
            "assumptions": a.sources(),
        },
        warnings=() if abs(reached - 1) <= BOUND else (f"the scheduling reaches {reached:.0%} of what the sums say",),
    )


def _seconds(timeline: Timeline) -> list[float]:
    """Return seconds an image in equal parts of the steady time; images may be done in bunches."""
    done = timeline.done_at[len(timeline.done_at) // 4 : len(timeline.done_at) * 3 // 4]
    length = (done[-1] - done[0]) / _WINDOWS
    counts = Counter(min(int((at - done[0]) / length), _WINDOWS - 1) for at in done[1:])
    return [length / count for count in counts.values()]
