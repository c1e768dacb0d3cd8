"""What a pipeline would do on a card that is not here, for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mammofast.profiling.record import Case


def print_forecasts(console: Console, cases: Sequence[Case]) -> None:
    """Print which resource limits at how many GPUs, and all that was assumed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  GPUs", no_wrap=True)
    for name in ("share", "images/s", "played", "limit", "next", "cores", "GPU busy"):
        table.add_column(name, justify="right", no_wrap=True)
    for case in cases:
        facts = case.facts
        later = min((rate, name) for name, rate in facts["images_per_s_by_resource"].items() if name != facts["limit"])
        table.add_row(
            f"  {facts['gpus']}",
            f"{facts['share']:.0%}",
            f"{facts['images_per_s']:,.0f}",
            f"{facts['images_per_s_in_virtual_time']:,.0f}",
            f"{facts['limit']}: {facts['stage']}",
            f"{later[1]} {later[0]:,.0f}",
            f"{facts['cores_a_gpu_needs']:.1f}",
            f"{facts['used']['GPU']:.0%}",
        )
    console.print("\n[bold]A forecast, from stated costs; nothing ran on a GPU[/bold]")
    console.print(table)
    console.print(
        "  share: of the card's ceiling, that the networks reach.\n"
        "  played: by the real scheduling in virtual time, with the same costs.\n"
        "  next: what would limit if that did not. cores: that read and encode for one GPU that never waits."
    )
    for case in cases:
        for warning in case.warnings:
            console.print(f"  ! {case.name}: {warning}", style="yellow")
    console.print("  Assumed, for an image of 4096 × 3328:")
    for name, known in cases[0].facts["assumptions"].items():
        if name != "share":
            console.print(f"  {name} = {_short(known['value'])}: {known['source']}", style="dim", highlight=False)


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
