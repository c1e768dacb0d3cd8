"""Pictures of what was measured."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mammofast.errors import ProfilingError
from mammofast.profiling.record import Case, Record
from mammofast.profiling.timeline import draw_timeline

_SUFFIXES = (".png", ".svg")
_COLOURS = (
    *("#2f6f9f", "#c8752d", "#5b8c5a", "#8d5b8c", "#a33b3b", "#7a7a7a"),
    *("#8fbbd9", "#f0b98a", "#a9cfa8", "#c9a9c8", "#dd9a9a", "#c8c8c8"),
)


def refuse_undrawable(path: Path) -> None:
    """Say before anything is measured that it could not be drawn.

    Raises
    ------
    ProfilingError
        When the name ends neither in .png nor in .svg.
    ImportError
        When matplotlib is missing.

    """
    if path.suffix not in _SUFFIXES:
        raise ProfilingError(f"plot: got a name that ends in {path.suffix!r}, expected one of {list(_SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise ImportError("drawing needs matplotlib: pip install matplotlib")


def draw(record: Record, path: Path) -> None:
    """Draw a record as PNG or SVG, by the file's name.

    Latency distributions for all of it; beside them throughput against batch and the roofline for engines, shares of
    the workers' time and the timeline of a round for a pipeline. Raises what :func:`refuse_undrawable` does.
    """
    refuse_undrawable(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [_latencies]
    if len({case.facts.get("batch") for case in record.cases}) > 1:
        panels.append(_throughput)
    if any(map(_is_on_roofline, record.cases)):
        panels.append(_ceiling)
    if any(map(_is_serial, record.cases)):
        panels.append(_stages)
    if any(case.facts.get("busy") for case in record.cases):
        panels.append(_busy)
    if _timelines(record):
        panels.append(_timeline)
    figure = Figure(figsize=(7, 0.8 + sum(_height(panel, record) for panel in panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(panels), squeeze=False, gridspec_kw={"height_ratios": [_height(panel, record) for panel in panels]}
    )
    for panel, axis in zip(panels, axes[:, 0], strict=True):
        panel(axis, record)
    commit = (record.environment.get("commit") or "")[:8]
    figure.suptitle(f"mammofast bench {record.kind} {commit}", fontsize=10)
    # Without a date, and with ids that do not depend on chance, the same record gives the same file.
    metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
    with rc_context({"svg.hashsalt": "mammofast"}):
        figure.savefig(path, metadata=metadata, dpi=150)


def _height(panel: Any, record: Record) -> float:
    if panel is _timeline:
        return 1.2 + 0.16 * len(_timelines(record)[0]["lanes"])
    return 0.7 + 0.3 * len(record.cases) if panel is _latencies else 2.6


def _latencies(axis: Any, record: Record) -> None:
    """Draw each case's samples as a box from the quartiles, whiskers from the 5th to the 95th percentile."""
    cases = list(reversed(record.cases))
    data = [np.asarray(case.samples[case.ours]) * 1e3 for case in cases]
    axis.boxplot(data, orientation="horizontal", whis=(5, 95), widths=0.6, flierprops={"markersize": 2})
    axis.set_yticks(range(1, len(cases) + 1), [_short(case.name) for case in cases], fontsize=7)
    axis.set_xscale("log")
    axis.set_xlabel("ms", fontsize=8)
    axis.tick_params(axis="x", which="both", labelsize=7)


def _throughput(axis: Any, record: Record) -> None:
    for colour, (name, cases) in zip(_cycle(), _series(record).items(), strict=False):
        points = sorted((case.facts["batch"], case.throughput) for case in cases)
        axis.plot(*zip(*points, strict=True), "o-", color=colour, label=_short(name), markersize=3, linewidth=1)
    axis.set_xlabel("batch", fontsize=8)
    axis.set_ylabel("images/s", fontsize=8)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6)


def _ceiling(axis: Any, record: Record) -> None:
    """Draw arithmetic rates against operations a byte, and the ceilings they are held against: the roofline."""
    for colour, (name, cases) in zip(_cycle(), _series(record).items(), strict=False):
        points = [(case.facts["flop_per_byte"], case.facts["gflops"]) for case in cases if _is_on_roofline(case)]
        if points:
            axis.plot(*zip(*points, strict=True), "o", color=colour, label=_short(name), markersize=3)
    ceilings = {
        case.facts["precision"]: case.facts["ceiling_gflops"]
        for case in record.cases
        if case.facts.get("ceiling_gflops")
    }
    for precision, ceiling in ceilings.items():
        axis.axhline(ceiling, color="#444444", linewidth=0.8, linestyle="--")
        axis.annotate(
            f"ceiling, {precision}",
            (0.99, ceiling),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=6,
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    if ceilings:
        axis.set_ylim(top=1.5 * max(ceilings.values()))
    axis.set_xlabel("FLOP a byte of weights and activations", fontsize=8)
    axis.set_ylabel("GFLOP/s", fontsize=8)
    axis.tick_params(which="both", labelsize=7)
    axis.legend(fontsize=6)


def _is_on_roofline(case: Case) -> bool:
    return bool(case.facts.get("gflops") and case.facts.get("flop_per_byte"))


def _timelines(record: Record) -> list[Any]:
    return [case.facts["timeline"] for case in record.cases if case.facts.get("timeline", {}).get("lanes")]


def _timeline(axis: Any, record: Record) -> None:
    draw_timeline(axis, _timelines(record)[0])


def _is_serial(case: Case) -> bool:
    """Whether its stages take the workers' time in turns; shares of those that overlap add up to nothing."""
    return "stages" in case.facts and not case.facts.get("busy")


def _busy(axis: Any, record: Record) -> None:
    """Draw how busy each of what overlapping stages share is: the one nearest to 1 limits."""
    busy = [(_short(case.name), case.facts["busy"]) for case in record.cases if case.facts.get("busy")]
    for colour, (name, shares) in zip(_cycle(), busy, strict=False):
        axis.barh(list(shares), list(shares.values()), height=0.6, color=colour, label=name, alpha=0.8)
    axis.set_xlim(0, 1)
    axis.set_xlabel("share of the time that it is busy", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.3))


def _stages(axis: Any, record: Record) -> None:
    """Draw how the workers' time is spent, a bar for each case."""
    names: dict[str, None] = {}
    cases = list(filter(_is_serial, record.cases))
    for case in cases:
        names |= dict.fromkeys(case.facts["stages"])
    left = np.zeros(len(cases))
    for colour, stage in zip(_cycle(), names, strict=False):
        shares = np.array([case.facts["stages"].get(stage, 0.0) for case in cases])
        axis.barh([_short(case.name) for case in cases], shares, left=left, color=colour, label=stage)
        left += shares
    axis.set_xlim(0, 1)
    axis.set_xlabel("share of the workers' time", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.3))


def _series(record: Record) -> dict[str, list[Case]]:
    """Return engine cases by network, size and backend: what a line joins."""
    series: dict[str, list[Case]] = {}
    for case in record.cases:
        if "batch" in case.facts:
            facts = case.facts
            rows, cols = facts["size"]
            key = f"{facts['network']}, {rows} × {cols}, {facts['backend']} {facts['precision']}"
            series.setdefault(key, []).append(case)
    return series


def _cycle() -> Any:
    while True:
        yield from _COLOURS


def _short(name: str, length: int = 60) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
