"""Names of a data set's files and images: said to whoever asked with --verbose, for they may be patients' names."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mammofast.errors import DatasetError

if TYPE_CHECKING:
    from mammofast.datasets import Dataset

_MAY_NAME = "mammofast.may_name"


def may_name(ctx: click.Context, option: click.Parameter, value: bool) -> bool:
    """Remember whether names may be said: the callback of --verbose, in commands that read data sets."""
    ctx.meta[_MAY_NAME] = value
    return value


def place_in_data(error: BaseException, ctx: click.Context) -> str | None:
    """Return which file or image of a data set an error is about, or how to learn it; None where it is about none."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, DatasetError) and cause.of):
        cause = cause.__cause__
    if cause is None or _MAY_NAME not in ctx.meta:
        return None
    return f"in the data set: {cause.of}" if ctx.meta[_MAY_NAME] else "--verbose names the file or image"


def read_data_set(layout: str, folder: Path, quiet: bool, verbose: bool) -> "Dataset":
    """Read a data set's lists, and say what of it cannot be used: unless quiet, how much; verbose, what, and why."""
    from mammofast.datasets import READERS

    data = READERS[layout](folder)
    if verbose:
        for each in data.left_out:
            click.echo(f"left out: {each.name}: {each.reason}", err=True)
    elif data.left_out and not quiet:
        click.echo(f"{data.name}: {len(data.left_out)} left out, --verbose says why", err=True)
    return data
