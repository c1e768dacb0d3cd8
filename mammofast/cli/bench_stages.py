"""What was measured of a pipeline, for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from mammofast.methods.admission import CardMemory

_MS = ("p50", "p90", "p99")


def print_pipeline(console: Console, facts: Mapping[str, Any]) -> None:
    """Print rates, stages, queues, what was used, and what limits."""
    console.print(
        f"  [bold]{facts['images_per_s']:.2f} images/s[/bold], {facts['studies_per_h']:,.0f} studies/h, "
        f"{facts['bytes_read_per_image'] / 1e6:.2f} MB read an image; "
        f"{facts['rounds']} rounds of {facts['images']} images"
    )
    console.print(_stages(facts))
    queues = ", ".join(
        f"{name} {depth['mean']:.1f} (p90 {depth['p90']:.0f})" for name, depth in facts["queues"].items()
    )
    console.print(f"  Tasks: {queues}")
    cpu, memory = facts["cpu"], facts["memory"]
    console.print(
        f"  CPU: {cpu['share_of_cores']:.0%} of all cores; {cpu['share_of_tasks']:.0%} of a core within tasks; the "
        f"program that hands them out {cpu['driver_cores']:.0%} of one"
    )
    console.print(
        f"  Memory, at most: {memory['worker_mib']:.0f} MiB a worker, {memory['all_workers_mib']:.0f} all of them, "
        f"{memory['driver_mib']:.0f} the program that hands out tasks"
    )
    if facts.get("gpu"):
        console.print(f"  GPU: {facts['gpu']['share_busy']:.0%} busy, {facts['gpu']['memory_mib']:.0f} MiB at most")
    for stated in sorted({str(CardMemory(**memory)) for memory in facts.get("card_memory", ())}):
        console.print(f"  A card: {stated}")
    console.print(f"  [bold]{facts['verdict']}[/bold]")


def _stages(facts: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  stage, ms")
    # Stages that overlap have threads of their own.
    for name in ("n", *_MS, "of its threads' time" if facts.get("busy") else "of the workers' time"):
        table.add_column(name, justify="right")
    milliseconds = facts["milliseconds"]
    rows = [name for name in milliseconds if name not in facts["stages"]] + list(facts["stages"])
    for name in rows:
        values = milliseconds.get(name)
        times = ("", "", "", "") if values is None else (str(values["n"]), *(f"{values[key]:.1f}" for key in _MS))
        share = f"{facts['stages'][name]:.1%}" if name in facts["stages"] else ""
        table.add_row(f"  {name}", *times, share)
    return table
