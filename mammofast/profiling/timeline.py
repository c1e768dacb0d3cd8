"""What every thread of a run did, and when: a window of its spans, small enough to lie in a record, and its picture."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

from mammofast.profiling.overlap import outermost
from mammofast.screening.trace import TASK
from mammofast.tracing import Span

# More than this many spans are a smear in a picture, and too much in a record.
_MOST_SPANS = 1500
_COLOURS = (
    "#2f6f9f",
    "#c8752d",
    "#5b8c5a",
    "#8d5b8c",
    "#a33b3b",
    "#7a7a7a",
    "#8fbbd9",
    "#f0b98a",
    "#a9cfa8",
    "#c9a9c8",
)
_BACKGROUND = "#e4e4e4"


def window(spans: Iterable[Span], names: Mapping[int, str]) -> dict[str, Any]:
    """Return a window of a run, around its middle, in JSON's own types.

    names: what processes are called, by their ids; others are left out.

    Returns
    -------
    dict
        ``seconds``: how long the window is. ``of_seconds``: the whole run. ``lanes``: threads, each with its process'
        name, its own (its stage, where it has only one) and ``spans``, (stage, start, end) in seconds of the window.

    """
    known = [span for span in spans if span.process in names]
    if not known:
        return {"seconds": 0.0, "of_seconds": 0.0, "lanes": []}
    first, last = min(span.start for span in known), max(span.end for span in known)
    # The middle is steady; the window is as long as spans are few enough.
    start, end = first, last
    inside = known
    while len(inside) > _MOST_SPANS:
        middle, half = (start + end) / 2, (end - start) / 2 * 0.8
        start, end = middle - half, middle + half
        inside = [span for span in inside if span.end > start and span.start < end]
    threads: dict[tuple[int, int], list[Span]] = defaultdict(list)
    for span in inside:
        threads[span.process, span.thread].append(span)
    lanes: list[dict[str, Any]] = []
    for (process, _), own in sorted(threads.items(), key=lambda item: (names[item[0][0]], _stages(item[1]), item[0])):
        stages = _stages(own)
        lanes.append(
            {
                "process": names[process],
                "thread": stages[0] if len(stages) == 1 else "",
                "spans": [
                    [span.stage, max(span.start, start) - start, min(span.end, end) - start]
                    for span in sorted(own, key=lambda span: (span.start, -span.end))
                ],
            }
        )
    return {"seconds": end - start, "of_seconds": last - first, "lanes": lanes}


def _stages(spans: Iterable[Span]) -> list[str]:
    return sorted({span.stage for span in outermost(spans)})


def draw_timeline(axis: Any, shown: Mapping[str, Any]) -> None:
    """Draw a window: a lane for each thread, a bar for each span, tasks behind their stages."""
    stages = sorted({stage for lane in shown["lanes"] for stage, *_ in lane["spans"]} - {TASK})
    colours = {TASK: _BACKGROUND} | dict(zip(stages, cycle(_COLOURS), strict=False))
    for row, lane in enumerate(shown["lanes"]):
        for stage, own in _by_stage(lane["spans"]).items():
            height = 0.9 if stage == TASK else 0.6
            axis.broken_barh(
                [(start, end - start) for start, end in own], (row - height / 2, height), facecolors=colours[stage]
            )
    for stage in stages:
        axis.broken_barh([], (0, 0), facecolors=colours[stage], label=stage)
    axis.set_yticks(range(len(shown["lanes"])), [_called(lane) for lane in shown["lanes"]], fontsize=6)
    axis.set_ylim(len(shown["lanes"]) - 0.5, -0.5)
    axis.set_xlim(0, shown["seconds"])
    axis.set_xlabel(f"s, of a run of {shown['of_seconds']:.0f} s", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.legend(fontsize=6, ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _by_stage(spans: Iterable[tuple[str, float, float]]) -> dict[str, list[tuple[float, float]]]:
    """Return intervals by stage, tasks first: they are drawn behind."""
    found: dict[str, list[tuple[float, float]]] = {TASK: []}
    for stage, start, end in spans:
        found.setdefault(stage, []).append((start, end))
    return {stage: own for stage, own in found.items() if own}


def _called(lane: Mapping[str, Any]) -> str:
    return ", ".join(word for word in (lane["process"], lane["thread"]) if word)
