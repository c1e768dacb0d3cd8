"""How far a command is: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Often enough to see that a log file is alive, seldom enough for a night of it to be readable.
_PLAIN_SECONDS = 10.0


class Advance(Protocol):
    """To be called with the number just finished and, where that was not known before, how many there are."""

    def __call__(self, n: int, total: int | None = None, /) -> None: ...  # noqa: D102


@contextmanager
def progress(description: str, total: int | None = None, quiet: bool = False) -> Iterator[Advance]:
    """Show progress on standard error while the block runs.

    description: what is counted, such as "Screening images". total: how many there are, where known already.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda n, total=None, /: None
    elif console.is_terminal:
        yield from _bar(console, description, total)
    else:
        yield _plain(description, total)


def aside(words: str) -> None:
    """Say something beside the progress."""
    click.echo(f"mammofast: {words}", err=True)


def _bar(console: Console, description: str, total: int | None) -> Iterator[Advance]:
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

        def advance(n: int, total: int | None = None, /) -> None:
            nonlocal done
            done += n
            bar.update(task, advance=n, total=total, rate=_rate(done, start))

        yield advance


def _plain(description: str, total: int | None) -> Advance:
    start, done, said = time.monotonic(), 0, time.monotonic()
    known = total

    def advance(n: int, total: int | None = None, /) -> None:
        nonlocal done, said, known
        done, known = done + n, total or known
        now = time.monotonic()
        if now - said < _PLAIN_SECONDS and done != known:
            return
        said = now
        of = f" of {known}" if known else ""
        left = f", {(now - start) / done * (known - done):.0f} s left" if known and done else ""
        click.echo(f"{description}: {done}{of}, {_rate(done, start)}{left}", err=True)

    return advance


def _rate(done: int, start: float) -> str:
    return f"{done / max(time.monotonic() - start, 1e-9):.1f}/s"
