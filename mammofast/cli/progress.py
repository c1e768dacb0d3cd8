"""How far a command is: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]

# Often enough to see that a log file is alive, seldom enough for a night of it to be readable.
_PLAIN_SECONDS = 10.0


@contextmanager
def progress(description: str, total: int | None, quiet: bool = False) -> Iterator[Advance]:
    """Show progress on standard error while the block runs.

    description: what is counted, such as "Screening images". total: how many there are, where known.
    Yields a function to call with the number just finished.
    """
    if quiet:
        yield lambda n: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(description, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, rate="")
        start, done = time.monotonic(), 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            bar.update(task, advance=n, rate=_rate(done, start))

        yield advance


def _plain(description: str, total: int | None) -> Advance:
    start, done, said = time.monotonic(), 0, time.monotonic()

    def advance(n: int) -> None:
        nonlocal done, said
        done += n
        now = time.monotonic()
        if now - said < _PLAIN_SECONDS and done != total:
            return
        said = now
        of = f" of {total}" if total else ""
        left = f", {(now - start) / done * (total - done):.0f} s left" if total and done else ""
        click.echo(f"{description}: {done}{of}, {_rate(done, start)}{left}", err=True)

    return advance


def _rate(done: int, start: float) -> str:
    return f"{done / max(time.monotonic() - start, 1e-9):.1f}/s"
