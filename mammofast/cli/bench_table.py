"""What was measured, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from mammofast.cli.bench_forecast import print_forecasts
from mammofast.cli.bench_stages import print_pipeline
from mammofast.profiling.record import Case

_COLUMNS = ("min", "mean", "p50", "p90", "p95", "p99", "max")
_FILE_WIDTH = 120  # of lines that go to a file or another program


def print_case(case: Case, verbose: bool) -> None:
    """Print a case's times in ms, its rate, what there is to know of it and what speaks against it.

    A forecast has no times of its own; all of a run's are printed together, by :func:`print_forecast`.
    """
    if "forecast" in case.facts:
        return
    console = _console()
    console.print(f"\n[bold]{case.name}[/bold]")
    if verbose:
        console.print(f"  {case.reason}", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  ms", no_wrap=True)
    for name in ("n", *_COLUMNS, f"{case.unit}/s", "× ours"):
        table.add_column(name, justify="right")
    ours = case.statistics[case.ours]["p50"]
    for name, values in case.statistics.items():
        rate = case.items / (values["p50"] / 1e3) if values["p50"] else 0.0
        ratio = "" if name == case.ours else f"{values['p50'] / ours:.2f}"
        table.add_row(f"  {name}", str(values["n"]), *(_number(values[key]) for key in _COLUMNS), _number(rate), ratio)
    if paper := case.facts.get("paper_images_per_s"):
        table.add_row("  the paper", *[""] * (1 + len(_COLUMNS)), _number(paper), "")
    console.print(table)
    if verbose and "left_out" in case.facts:
        console.print(f"  not installed: {', '.join(case.facts['left_out'])}", style="dim")
    if words := _facts(case.facts):
        console.print(f"  {words}")
    if "stages" in case.facts:
        print_pipeline(console, case.facts)
    for warning in case.warnings:
        console.print(f"  ! {warning}", style="yellow")


def print_forecast(cases: Sequence[Case]) -> None:
    """Print what was not measured but forecast, all of it in one table."""
    if forecast := [case for case in cases if "forecast" in case.facts]:
        print_forecasts(_console(), forecast)


def print_papers(cases: Sequence[Case]) -> None:
    """Print images per second beside what the networks' paper says, where it says something."""
    published = [case for case in cases if case.facts.get("paper_images_per_s")]
    if not published:
        return
    console = _console()
    console.print(f"\n{published[0].reason}", style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  images/s")
    for name in ("ours", "the paper", "× the paper"):
        table.add_column(name, justify="right")
    for case in published:
        paper = case.facts["paper_images_per_s"]
        network = f"{case.facts['network']}, {case.ours}, batch {case.facts['batch']}"
        table.add_row(f"  {network}", _number(case.throughput), _number(paper), f"{case.throughput / paper:.3g}")
    console.print(table)


def print_environment(environment: Mapping[str, Any]) -> None:
    """Print where it was measured, on one line."""
    commit = (environment["commit"] or "")[:8]
    changed = " and uncommitted changes" if environment["uncommitted_changes"] else ""
    card = f"{environment['card']}; " if "card" in environment else ""
    _console().print(
        f"\n{card}{environment['cpu'].get('model name', '?')}, {environment['cores']} cores, load "
        f"{environment['load_average'][0]:.1f}; mammofast {environment['mammofast']} {commit}{changed}",
        style="dim",
    )


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


def _facts(facts: Mapping[str, Any]) -> str:
    words = []
    if facts.get("gmac_per_image"):
        words.append(f"{facts['gmac_per_image']:.1f} GMAC an image")
    if facts.get("gflops"):
        words.append(f"{facts['gflops']:.0f} GFLOP/s")
    if facts.get("share_of_ceiling"):
        words.append(f"{facts['share_of_ceiling']:.0%} of this machine's {facts['ceiling_gflops']:.0f}")
    if steps := facts.get("split_ms"):
        words.append(" + ".join(map(_number, steps.values())) + " ms to the card, network and back")
    if "served_from" in facts:
        share = facts["share_of_l2_copy" if facts["served_from"] == "L2 cache" else "share_of_copy"]
        words.append(f"{_number(facts['gb_per_s'])} GB/s, {share:.0%} of a copy in {facts['served_from']}")
    if waits := facts.get("host_waits_ms"):
        words.append("the host waits " + ", ".join(f"{_number(1e3 * ms)} µs ({name})" for name, ms in waits.items()))
    if facts.get("call_overhead_ms"):
        words.append(f"{_number(1e3 * facts['call_overhead_ms'])} µs of it the call itself")
    return ", ".join(words)


def _number(value: float) -> str:
    """Return three digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"
