"""``mammofast models``: the papers' networks."""

import json
from typing import Any

import click

from mammofast.errors import ModelError
from mammofast.models.catalogue import OUTPUTS, Entry, find, names


@click.command("models")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
@click.option("--quiet", is_flag=True, help="Names only.")
@click.option("--verbose", is_flag=True, help="Every network with all that is known of it.")
def models_command(name: str | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the networks: parameters, layers, multiply-adds, paper and the paper's number.

    \b
    Example: mammofast models aunet

    Layers are convolutions and fully connected ones; GMAC are 10⁹ multiply-adds for one image of the paper's size.
    """  # noqa: D301
    try:
        entries = [find(name)] if name else [find(each) for each in names()]
    except ModelError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        rows = [entry.as_dict() for entry in entries]
        click.echo(json.dumps(rows[0] if name else rows, indent=1, ensure_ascii=False))
    elif quiet:
        click.echo("\n".join(entry.name for entry in entries))
    elif name or verbose:
        click.echo("\n\n".join(map(_page, entries)))
    else:
        click.echo(_table(entries))


def _table(entries: list[Entry]) -> str:
    head = ("network", "parameters", "layers", "GMAC", "at", "paper", "the paper's number")
    rows = [head] + [
        (
            entry.name,
            f"{entry.parameters:,}",
            str(entry.layers),
            f"{entry.gmac:.1f}",
            _size(entry),
            entry.paper,
            entry.headline,
        )
        for entry in entries
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    right = (1, 2, 3)
    lines = (
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _page(entry: Entry) -> str:
    facts: dict[str, Any] = {
        "parameters": f"{entry.parameters:,}",
        "layers": entry.layers,
        "GMAC": f"{entry.gmac:.1f} at {_size(entry)}",
        "the paper says": entry.stated,
        "returns": OUTPUTS[entry.output],
        "options": ", ".join(f"{key}={value}" for key, value in entry.options.items()),
        "source": f"{entry.source} ({entry.paper})" if entry.paper != "-" else entry.source,
        "its number": entry.headline,
        "note": entry.note,
    }
    return "\n".join([entry.name, *(f"  {key:<16}{value}" for key, value in facts.items() if value)])


def _size(entry: Entry) -> str:
    channels, rows, cols = entry.input
    return f"{channels}×{rows}×{cols}"
